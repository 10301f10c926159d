"""Verify a version: everything that it holds is hashed and computed again; what differs is named.

    bytes    every file is what ``dvc.lock`` says, the code in git what the stages ran
    ledger   the tag is the ledger's newest round, the lock knows every stage, with the ledger's own entries
    content  ``replay``: batches, pool, rounds, reviews and release computed again; no test image in training

Read from git and DVC's cache or remote alone; the work tree is neither read nor changed.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from diva.ingest import images
from diva.store import ledger, parts, paths, release, tables
from diva.versions import cache, contents, replay
from diva.versions.locks import SCRATCH
from diva.versions.published import Version, number_of
from diva.versions.stored_files import AbsentError, FileFault, Seen, VersionFiles

Check = Callable[..., Iterator[FileFault]]


@dataclass(frozen=True)
class Verification:
    """What a version turned out to be.

    Attributes:
        version: which.
        files: of DVC that were hashed.
        rounds: that were applied again.
        faults: files that are not what they must be; none where all is well.
    """

    version: Version
    files: int
    rounds: int
    faults: tuple[FileFault, ...]


def verify(wanted: Iterable[Version], everything: bool = False) -> Iterator[Verification]:
    """A verdict on each version.

    Args:
        wanted: the versions.
        everything: these are all, so what DVC's cache lacks is brought in one go.
    """
    SCRATCH.mkdir(parents=True, exist_ok=True)
    if everything:
        contents.fetch_all()
    with tempfile.TemporaryDirectory(prefix="verify-", dir=SCRATCH) as folder:
        seen = Seen(Path(folder))
        for version in wanted:
            yield judge(version, seen)


def lost_images(version: Version, changed: bool = False) -> list[str]:
    """Images of a version's training set that are not where they were; with ``changed``, also those of other bytes."""
    try:
        train = tables.read(contents.fetch(version, paths.TRAIN), release.TRAIN)
    except (ValueError, OSError):  # a fault that the verdict names
        return []
    in_place = ~pl.col("path").str.starts_with(f"{paths.DATA.as_posix()}/")
    pictures = train.filter(in_place & pl.col("path").is_unique())  # a file of ready features has many rows
    return [path for path, name in pictures.select("path", "sample_id").iter_rows() if _is_lost(path, name, changed)]


def _is_lost(path: str, sample_id: str, changed: bool) -> bool:
    if not parts.is_there(path):
        return True
    return changed and (images.digest(Path(path)) or "")[: len(sample_id)] != sample_id


def judge(version: Version, seen: Seen) -> Verification:
    """A verdict on one version."""
    try:
        files = VersionFiles(version, seen)
        files.collect()
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:  # no ledger, or no lock at all
        unreadable = FileFault(version.name, f"a readable {paths.LEDGER} and {cache.LOCK}", f"{error}")
        return Verification(version, 0, 0, (unreadable,))
    problems = [*of_tag(files), *of_lock(files), *of_content(files)]
    return Verification(
        version, len(files.files), len(files.book.rounds), tuple(dict.fromkeys([*files.faults, *problems]))
    )


def of_tag(files: VersionFiles) -> Iterator[FileFault]:
    """A version is named after its newest round."""
    name, latest = files.version.name, files.book.latest
    if number_of(name).minor != ledger.number(latest):
        yield FileFault(name, f"round r{number_of(name).minor:03d} as the newest of its ledger", latest)


def of_lock(files: VersionFiles) -> Iterator[FileFault]:
    """The lock has every stage of the ledger, made with the ledger's entries, from what other stages made."""
    lock = cache.LOCK.as_posix()
    for name in files.wanted:
        if name not in files.stages:
            yield FileFault(lock, f"a stage {name}, as the ledger asks", "none")
    for name, stage in files.stages.items():
        for key, value in stage.get("params", {}).get(str(paths.LEDGER), {}).items():
            if (entry := _entry(files.entries, key)) != value:
                yield FileFault(lock, f"{name} made with {key}: {entry}", f"{value}")
        for dep in stage.get("deps", ()):
            if (made := files.outs.get(dep["path"], dep["md5"])) != dep["md5"]:
                yield FileFault(dep["path"], f"md5 {dep['md5']}, which {name} read", f"{made}")


def _entry(book: dict[str, Any], key: str) -> Any:
    """The value at a dotted key of the ledger; None where there is none."""
    value: Any = book
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def of_content(files: VersionFiles) -> Iterator[FileFault]:
    """Every table computed again."""
    book = files.book
    yield from faults_of(replay.code, files)
    for name in ledger.order(book):
        yield from faults_of(replay.batch, files, name)
    yield from faults_of(replay.core, files)
    yield from faults_of(replay.start, files)
    for name in book.base:
        yield from faults_of(replay.base, files, name)
    for name in ledger.chain(book.pool, "pool"):
        yield from faults_of(replay.pool, files, name)
    for name in book.reviews:
        yield from faults_of(replay.review, files, name)
    for name in ledger.chain(book.rounds, "rounds"):
        yield from faults_of(replay.round_, files, name)
    yield from faults_of(replay.released, files)
    yield from faults_of(replay.untested, files)


def faults_of(check: Check, files: VersionFiles, *names: str) -> Iterator[FileFault]:
    """A check's faults; what cannot be read or computed is one, what has its fault already is passed over."""
    try:
        yield from check(files, *names)
    except AbsentError:
        return
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # a file may hold anything
        where = f"{check.__name__.rstrip('_')} {' '.join(names)}".rstrip()
        yield FileFault(where, "what can be computed again", f"{error}")
