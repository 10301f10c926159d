"""Compact: the newest set, the pool's index, and the features and images they name become plain data in data/base.

    data/base/curated.parquet  moments.h5  pool.parquet  truth.parquet  features/<batch>.h5  raw/<batch>/…

The stage ``base`` puts the tables where the next round looks for them; the stages of the rounds and batches so far are
gone, and with them the time that ``dvc repro`` takes to look at each. Core and test set stay as they are. Earlier
versions keep what they hold. A purge does the same without the samples that were taken down, and takes them out of the
core, too; it begins a new major version.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl
from ruamel.yaml import YAML

from diva.store import atomic, curated, digests, documents, index, ledger, manifest, parts, paths, tables
from diva.versions import cache, published, purge, repository, rounds, takedowns
from diva.versions.contents import sweep
from diva.versions.operations import recorded, removable
from diva.versions.pipeline import dvc, up_to_date
from diva.versions.processes import git

FRESH = paths.DATA / ".base.tmp"
WRITTEN = (PurePosixPath("data/raw"), PurePosixPath("data/base/raw"))  # images that ``download`` wrote


def compact(gone: Collection[str] = ()) -> str:
    """Start the chains anew at the newest set, and publish that; return the new version's name.

    What leaves the work tree lies in DVC's cache, so a run that was killed is undone by the next command or night.

    Args:
        gone: samples that nothing here is to hold any longer: a purge.

    Raises:
        ValueError: changes that are not committed or not published, stages that have not run, files that are not here.
    """
    repository.require_clean("before it is compacted")
    book = ledger.read()
    version = _newest(book) if gone else published.current()
    if version is None:
        raise ValueError("the ledger must be published before it is compacted, got one that no version has.")
    if not up_to_date(*(("--with-deps", "evaluate") if gone else ())):  # the report is made anew after a takedown
        raise ValueError("the pipeline must be up to date before it is compacted; see `dvc status`, run `dvc repro`.")
    extends = book.rounds or (book.base and book.pool)
    short = book if gone and not extends else ledger.compacted(book, version)
    lock, leaving = split(cache.LOCK.read_text(encoding="utf-8"), book)
    stale = removable({out["path"]: out["md5"] for stage in leaving.values() for out in stage["outs"]})
    if not gone:
        takedowns.require_absent(book.latest)
    name = published.next_major(book.latest) if gone else published.next_name(version)
    what = "Purge" if gone else "Compact"
    with recorded(f"{version}, {'purged' if gone else 'compacted'}", publishes=name, purges=gone):
        trimmed = bool(gone) and purge.trim_core(gone)
        dvc("add", gather(book, gone).as_posix())
        ledger.write(paths.LEDGER, short)
        purge.trim_records(short, gone)
        atomic.write_text(cache.LOCK, lock)
        git("add", "--", cache.LOCK.as_posix())  # or what is shorter than the index's counts as cut short
        if trimmed:
            dvc("commit", "--quiet", "--force", "download@core", "extract@core")
        sweep(stale)
        rounds.tidy(short)  # metrics of the newest round stay: they tell the next run whether candidates were left
        dvc("repro")
        takedowns.require_absent(book.latest)
        if back := sorted(purge.present(gone)):
            raise ValueError(
                f"data/ must hold no sample that was taken down, got {back[0]}, which its delivery brings back until a "
                "round has drawn from it: `diva night`, then `diva forget --purge`."
            )
        dvc("push")
        repository.commit(f"{what} {version}: the history starts at {book.latest} ({name})")
    return name


def _newest(book: ledger.Ledger) -> str | None:
    """The version of the newest round, which a review after it does not take away."""
    number = published.by_round().get(ledger.number(book.latest))
    return number.tag if number else None


def split(lock: str, book: ledger.Ledger) -> tuple[str, dict[str, Any]]:
    """The lock without the stages that go, as text, and these stages."""
    content = YAML(typ="safe", pure=True).load(lock)
    keys = {*book.pool, *book.rounds, *book.base}
    gone = {name: stage for name, stage in content["stages"].items() if name.partition("@")[2] in keys}
    content["stages"] = {name: stage for name, stage in content["stages"].items() if name not in gone}
    return documents.dumped(content), gone


def gather(book: ledger.Ledger, gone: Collection[str] = ()) -> Path:
    """data/base, built anew from the newest set and the pool, but for these samples; whole or not at all.

    Raises:
        ValueError: a table, a file of features or an image is missing, or features are not those of the index.
    """
    state, pool = curated.read(book.latest), index.whole(paths.pool(ledger.newest_pool(book)), further=True)
    for path, checksum in pool.select("features", "checksum").unique(maintain_order=True).iter_rows():
        if digests.sha256(Path(path)) != checksum:
            raise ValueError(f"{path} must be what the pool was indexed with, got other bytes; `dvc checkout` it.")
    state, pool = (purge.without(frame, gone) for frame in (state, pool))
    shutil.rmtree(FRESH, ignore_errors=True)
    files = [(paths.features("core").as_posix(), paths.features("core"))]
    for source, target in moves(pl.concat([frame.select("batch", "features", "path") for frame in (state, pool)])):
        fresh = FRESH / target.relative_to(paths.BASE)
        if gone and target.parent == paths.BASE / "features":
            purge.trim(source, fresh, gone)
            files.append((target.as_posix(), fresh))
        elif not (gone and source.suffix == ".tar" and purge.erase(source, fresh, gone)):
            _link(source, fresh)
    if not gone:  # the next round sums those of the smaller set anew
        _link(paths.moments(book.latest), FRESH / "moments.h5")
    state, pool = (purge.renumbered(moved(frame), files if gone else []) for frame in (state, pool))
    curated.write(FRESH / "curated.parquet", state)
    index.write(FRESH / "pool.parquet", pool)
    truths = [paths.truth(name) for name in ledger.truths(book) if name not in ("core", "test")]
    truth = [tables.empty(manifest.TRUTH), *(tables.read(path, manifest.TRUTH) for path in truths)]
    tables.write(FRESH / "truth.parquet", purge.without(pl.concat(truth), gone), manifest.TRUTH)
    shutil.rmtree(paths.BASE, ignore_errors=True)
    FRESH.replace(paths.BASE)
    return paths.BASE


def moves(rows: pl.DataFrame) -> Iterator[tuple[Path, Path]]:
    """Each file of features or images that moves, and where to; files outside data/ stay where they are."""
    before, after = rows.select("features", "path"), moved(rows).select("features", "path")
    for column in ("features", "path"):
        pairs = pl.DataFrame({"old": before[column], "new": after[column], "into": rows["batch"]})
        inside = pl.col("new").str.starts_with(f"{paths.BASE.as_posix()}/") & ~pl.col("into").is_in(["core", "test"])
        files = [(parts.file_of(old), parts.file_of(new)) for old, new, _ in pairs.filter(inside).iter_rows()]
        yield from dict.fromkeys(files)


def moved(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of an index or a set with the paths of the pool's features and images in data/base."""
    pooled = ~pl.col("batch").is_in(["core", "test"])
    features = pl.format(f"{paths.BASE.as_posix()}/features/{{}}.h5", "batch")
    images = pl.col("path")
    for folder in WRITTEN:
        inside = pl.col("path").str.starts_with(f"{folder}/")
        rest = pl.col("path").str.slice(len(f"{folder}/"))
        images = pl.when(inside).then(pl.format(f"{paths.BASE.as_posix()}/raw/{{}}", rest)).otherwise(images)
    return rows.with_columns(
        features=pl.when(pooled).then(features).otherwise("features"),
        path=pl.when(pooled).then(images).otherwise("path"),
    )


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the disk cannot do that."""
    if not source.is_file():
        raise ValueError(f"{source} must be here, got nothing; `dvc pull` brings it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
