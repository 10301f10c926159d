"""Files without samples that were taken down: what a work tree holds of them, and what DVC's cache does.

Tables lose their rows, files of features too, images that ``download`` wrote are deleted, or zeroed where they lie in a
tar of its own. Images in place, and files of ready features or shards that hold other samples too, belong to whoever
delivered them.
"""

import hashlib
import shutil
import tarfile
from collections.abc import Collection, Iterable
from pathlib import Path

import h5py
import numpy as np
import polars as pl

from diva.ingest import annotations
from diva.store import atomic, curated, digests, index, ledger, manifest, paths, tables
from diva.store.features import SLAB, FeatureFile
from diva.store.slabs import read_rows
from diva.versions import cache, contents, takedowns
from diva.versions.processes import git

PAGE = b"<!doctype html"  # of a report: its samples and pictures are packed


def present(gone: Collection[str]) -> set[str]:
    """Which of these samples core, pool or the newest set have."""
    rows = [takedowns.indexed(), curated.read(ledger.read().latest)]
    return set(pl.concat([frame["sample_id"] for frame in rows])) & set(gone)


def trim_core(gone: Collection[str]) -> bool:
    """Manifest, features, images and tables of the core without these samples; whether it had any."""
    listing, features = paths.manifest("core"), paths.features("core")
    aside = [paths.quarantine(stage, "core") for stage in ("download", "extract")]
    rows = pl.concat([pl.read_parquet(path, columns=["sample_id", "path"]) for path in (listing, *aside)])
    lost = rows.filter(_of(gone))["path"]
    if lost.is_empty():
        return False
    shared = set(without(rows, gone)["path"])
    for path in set(lost.drop_nulls()) - shared:
        if paths.raw("core") in Path(path).parents:
            Path(path).unlink(missing_ok=True)
    for shard in paths.raw("core").glob("*.tar"):
        erase(shard, shard, gone)
    schemas = {listing: manifest.SCHEMA, paths.truth("core"): manifest.TRUTH}
    for path, schema in (schemas | dict.fromkeys(aside, manifest.QUARANTINE)).items():
        tables.write(path, without(tables.read(path, schema, further=True), gone), schema)
    trim(features, features, gone, manifest_sha256=manifest.checksum(listing))
    return True


def without(frame: pl.DataFrame, gone: Collection[str]) -> pl.DataFrame:
    """Rows of other samples, and of what nobody could read."""
    return frame.filter(~_of(gone))


def _of(gone: Collection[str]) -> pl.Expr:
    return pl.col("sample_id").is_in(pl.Series(list(gone), dtype=pl.String).implode()).fill_null(value=False)


def erase(source: Path, target: Path, gone: Collection[str]) -> bool:
    """A tar with zeros for these images, the others where they were; False, and nothing written, where it has none."""
    stretches = _stretches(source, gone)
    if not stretches:
        return False
    with atomic.replacing(target) as temporary:  # a copy: the source may be DVC's cache under another name
        shutil.copyfile(source, temporary)
        with temporary.open("r+b") as stream:
            for start, size in stretches:
                stream.seek(start)
                stream.write(bytes(size))
    return True


def _stretches(shard: Path, gone: Collection[str]) -> list[tuple[int, int]]:
    """Start and size of each member of a tar whose content is one of these samples."""
    lost = []
    with tarfile.open(shard, "r:") as file, shard.open("rb") as stream:
        for member in file:
            stream.seek(member.offset_data)
            if member.isreg() and hashlib.sha256(stream.read(member.size)).hexdigest()[: manifest.ID_LENGTH] in gone:
                lost.append((member.offset_data, member.size))
    return lost


def trim_records(book: ledger.Ledger, gone: Collection[str]) -> None:
    """Records of labels without these samples, but for those of batches that are still to be read."""
    used = {Path(delivery.source) for batch in book.batches.values() for delivery in batch.deliveries}
    for path in set(paths.LABELS.glob("*.csv")) - used:
        record = annotations.stored(path)
        rest = without(record, gone)
        if len(rest) < len(record):
            atomic.write_text(path, rest.write_csv())


def trim(source: Path, target: Path, gone: Collection[str], **attributes: str) -> None:
    """A file of features without the rows of these samples; codes of classes stay."""
    stored = FeatureFile(source)
    rows = np.flatnonzero(~np.isin(stored.sample_id, list(gone)))
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(target) as temporary, h5py.File(source) as old, h5py.File(temporary, "w") as new:
        new.attrs.update({**stored.attributes, **{name: attributes[name] for name in attributes if name in old.attrs}})
        shape = (len(rows), stored.shape[1])
        features = new.create_dataset("features", shape, stored.dtype, track_times=False)
        for start in range(0, len(rows), SLAB):
            features[start : start + SLAB] = read_rows(old["features"], rows[start : start + SLAB])
        for name in ("labels", "sample_id"):
            new.create_dataset(name, data=old[name][:][rows], track_times=False)
        old.copy("classes", new)


def renumbered(frame: pl.DataFrame, files: Iterable[tuple[str, Path]]) -> pl.DataFrame:
    """Rows of an index or a set, by where each sample lies now in these files, which rows know by the first name."""
    for name, path in files:
        where = {"features": pl.lit(name), "checksum": pl.lit(digests.sha256(path))}
        rows = index.rows_in(FeatureFile(path)).with_columns(**where)
        columns = [column for column in rows.columns if column in frame.columns]
        frame = frame.update(rows.select(columns), on=["features", "sample_id"])
    return frame


def sweep_cache(gone: Collection[str]) -> None:
    """Delete what DVC's cache has of these samples in versions before the last commit."""
    used = set(contents.outputs(git("rev-parse", "HEAD")).values())
    for folder in [md5 for md5 in used if md5.endswith(".dir")]:
        used.update(cache.listing(cache.cached(folder)).values())
    shutil.rmtree(contents.FETCHED, ignore_errors=True)
    paths.THUMBNAILS.unlink(missing_ok=True)
    files = [file for file in cache.cached("00").parents[1].glob("*/*/*") if file.parent.name + file.name not in used]
    for file in files:
        if holds(file, gone):
            file.unlink()


def places(gone: Collection[str]) -> list[str]:
    """Files that samples were read from, as far as indices here know them, and that a purge leaves as they are."""
    files = takedowns.indexed().filter(_of(gone))["path"].unique(maintain_order=True)
    return [path for path in files if not (paths.is_features(path) or paths.is_written(path))]


def beyond(gone: Collection[str]) -> list[str]:
    """What no purge here reaches, and the commands that do, in words."""
    tags = git("tag", "--list", "curated@v*").split()
    lines = git("grep", "-lF", *(f"-e{name}" for name in gone), *tags, "--", paths.DATA.as_posix(), check=False)
    named = sorted({line.partition(":")[2] for line in lines.splitlines()})
    records = [name for name in named if Path(name).parent == paths.LABELS]
    ids = [name for name in named if name not in records]
    said = [f"git's history, by id alone ({', '.join(ids)})"] if ids else []
    said += [f"git's history, with path and label ({', '.join(records)})"] if records else []
    if remote := cache.setting("core", "remote"):
        said.append(
            f"DVC's remote {remote}, in earlier versions: `dvc gc --workspace --cloud --force` deletes all of these, "
            "there and here; until then `diva rollback`, `verify --all` and the like bring them back"
        )
    remotes = " ".join(git("remote").split())
    return said + ([f"other clones of {remotes}, until `diva forget --purge` in each"] if remotes else [])


def holds(file: Path, gone: Collection[str]) -> bool:
    """Whether a table or a file of features has one of these samples, or a file is one, or any report's page."""
    with file.open("rb") as stream:
        head = stream.read(tarfile.BLOCKSIZE)
    try:
        if head.startswith(b"PAR1"):
            return not set(pl.read_parquet(file, columns=["sample_id"])["sample_id"]).isdisjoint(gone)
        if head.startswith(b"\x89HDF"):
            return not set(FeatureFile(file).sample_id).isdisjoint(gone)
        if head[257:262] == b"ustar" and _stretches(file, gone):
            return True
    except (ValueError, pl.exceptions.PolarsError):  # moments, and tables of other things
        return False
    except tarfile.TarError:  # a file like any other
        pass
    return head.lower().startswith(PAGE) or digests.sha256(file)[: manifest.ID_LENGTH] in gone
