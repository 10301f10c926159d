"""Files of a version, each one hashed where it lies: in git's commit, in DVC's cache, or brought from DVC's remote.

The work tree is neither read nor changed.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml

from diva.store import digests, ledger, paths, tables
from diva.versions import cache, contents
from diva.versions.published import Version

FEW = 4  # outputs that are brought one by one; beyond, all of data/ at once
NEWEST = ("fit", "start", "reweight", "release", "evaluate", "report")
OF_BATCH, OF_ROUND = ("download", "extract"), ("extend", "curate")


class FileFault(NamedTuple):
    """A file that is not what it must be."""

    path: str
    expected: str
    got: str


class AbsentError(ValueError):
    """A file that has a fault already, so nothing more can be said of it."""


class Seen:
    """What a run has hashed and shown so far: versions share most of their files.

    Args:
        folder: for files that DVC's cache lacks; gone after the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.brought: dict[str, Path] = {}  # content by its md5
        self.shown: set[tuple[str, ...]] = set()
        self._digests: dict[Path, str] = {}

    def md5(self, path: Path) -> str:
        """Of a file, read once."""
        if path not in self._digests:
            self._digests[path] = digests.digest(path, "md5")
        return self._digests[path]


class VersionFiles:
    """The files of one version.

    Attributes:
        version: whose.
        book: its ledger.
        entries: the same, as plain YAML.
        wanted: stages that the ledger asks for.
        stages: those of them that the lock file has.
        outs: md5 of what DVC or git keeps for these stages, and of what was added as plain data, by path.
        files: where DVC's files lie, by their paths; those with a fault are missing.
        faults: of these files.
    """

    def __init__(self, version: Version, seen: Seen) -> None:
        self.version, self.seen = version, seen
        text, lock = (contents.git_text(version, path) for path in (paths.LEDGER, cache.LOCK))
        self.book, self.entries = ledger.parse(text, f"{paths.LEDGER} of {version.name}"), mapping(text)
        methods = mapping(contents.git_text(version, paths.PARAMS))["score"]["methods"]
        stages = mapping(lock)["stages"]
        read = {dep["path"] for stage in stages.values() for dep in stage.get("deps", ())}
        coded = any(path.startswith(f"{paths.CODE.as_posix()}/") for path in read)  # early versions have no such stage
        self.wanted = [*(["code"] if coded else []), *expected(self.book, methods)]
        self.stages: dict[str, Any] = {name: stages[name] for name in self.wanted if name in stages}
        self.outs = self._outs(lock)
        self.files: dict[str, Path] = {}
        self.faults: list[FileFault] = []

    def _outs(self, lock: str) -> dict[str, str]:
        """A lock may also name outputs of stages that there are no more, which nothing needs."""
        made = {out["path"] for stage in self.stages.values() for out in stage.get("outs", ())}
        gone = cache.outputs(lock).keys() - made
        return {path: md5 for path, md5 in contents.outputs(self.version.commit).items() if path not in gone}

    def collect(self) -> None:
        """Find and hash every file; ``files`` and ``faults`` tell the outcome."""
        mine = contents.git_listing(self.version)
        in_git = {out for out in self.outs if any(path == out or path.startswith(f"{out}/") for path in mine)}
        self.faults += self._of_git(mine, in_git)
        rest = {out: md5 for out, md5 in self.outs.items() if out not in in_git}
        lacking = [out for out, md5 in rest.items() if not cache.holds(md5)]
        brought = self._bring(lacking)
        for out, md5 in rest.items():
            outcome = (
                self._folder(out, md5, brought.get(out)) if md5.endswith(".dir") else self._file(out, md5, brought)
            )
            self.faults += outcome

    def _of_git(self, mine: list[str], outs: set[str]) -> Iterator[FileFault]:
        """Outputs in git, and the ledger and metrics that stages read, are those that the lock names."""
        named = {dep["path"]: dep["md5"] for stage in self.stages.values() for dep in stage.get("deps", ())}
        wanted = {path: md5 for path, md5 in named.items() if path in set(mine)} | {out: self.outs[out] for out in outs}
        below = [path for path in mine if path in wanted or any(path.startswith(f"{out}/") for out in outs)]
        digests = {path: md5_of(content) for path, content in contents.git_files(self.version, below).items()}
        for path, md5 in wanted.items():
            inside = {
                name.removeprefix(f"{path}/"): digest for name, digest in digests.items() if name.startswith(f"{path}/")
            }
            got = folder_md5(inside) if md5.endswith(".dir") else digests[path]
            if got != md5:
                yield FileFault(path, f"md5 {md5}, as {cache.LOCK} says", f"{got} in the commit")

    def _bring(self, lacking: list[str]) -> dict[str, Path]:
        """Outputs that the cache lacks, from the remote: where each lies now."""
        outcome: dict[str, Path] = {}
        whole = self.seen.folder / self.version.commit
        if len(lacking) > FEW and contents.bring(self.version, paths.DATA, whole):
            outcome = {out: whole / Path(out).relative_to(paths.DATA) for out in lacking}
        for out in lacking:
            if out not in outcome:
                target = self.seen.folder / f"{self.version.commit}-{self.outs[out]}"
                contents.bring(self.version, Path(out), target)
                outcome[out] = target
        return {out: path for out, path in outcome.items() if path.exists()}

    def _file(self, path: str, md5: str, brought: Mapping[str, Path]) -> Iterator[FileFault]:
        location = brought.get(path, cache.cached(md5))
        if not location.is_file():
            yield FileFault(path, f"md5 {md5}", "nothing: neither DVC's cache nor its remote has it")
        elif (got := self.seen.md5(location)) != md5:
            yield FileFault(path, f"md5 {md5}", f"{got} in {_where(location, md5)}")
        else:
            self.files[path] = location

    def _folder(self, out: str, md5: str, brought: Path | None) -> Iterator[FileFault]:
        if brought:
            inside = {
                file.relative_to(brought).as_posix(): file for file in sorted(brought.rglob("*")) if file.is_file()
            }
            got = folder_md5({name: self.seen.md5(file) for name, file in inside.items()})
            self.files |= {f"{out}/{name}": file for name, file in inside.items() if got == md5}
        elif not (listing := cache.cached(md5)).is_file():
            yield FileFault(out, f"md5 {md5}", "nothing: neither DVC's cache nor its remote has it")
            return
        else:
            got = f"{self.seen.md5(listing)}.dir"
        if got != md5:
            yield FileFault(out, f"md5 {md5}", f"{got} in {_where(brought or listing, md5)}")
        elif not brought:
            for name, digest in cache.listing(listing).items():
                yield from self._file(f"{out}/{name}", digest, {})

    def file(self, path: Path) -> Path:
        """Where a file lies that is whole; AbsentError where it is not."""
        if path.as_posix() not in self.files:
            if path.as_posix() not in {fault.path for fault in self.faults} and not self._below_fault(path):
                self.faults.append(FileFault(path.as_posix(), "an output of a stage", f"none in {cache.LOCK}"))
            raise AbsentError(str(path))
        return self.files[path.as_posix()]

    def _below_fault(self, path: Path) -> bool:
        return any(Path(fault.path) in path.parents for fault in self.faults)

    def md5(self, path: Path) -> str:
        """Of a file that is whole."""
        return self.seen.md5(self.file(path))

    def table(self, path: Path, schema: tables.Schema) -> pl.DataFrame:
        """A table that is whole."""
        return tables.read(self.file(path), schema)

    def first_time(self, what: str, *files: Path) -> bool:
        """Whether this was not yet shown of files of this content."""
        key = (what, *(self.md5(path) for path in files))
        if key in self.seen.shown:
            return False
        self.seen.shown.add(key)
        return True


def expected(book: ledger.Ledger, methods: Iterable[str]) -> list[str]:
    """Stages that a ledger asks for, round and batch by round and batch."""
    names = [f"{verb}@{batch}" for batch in ledger.order(book) for verb in OF_BATCH]
    names += [f"score@{method}" for method in methods]
    names += [f"base@{name}" for name in book.base] + [f"pool@{name}" for name in ledger.chain(book.pool, "pool")]
    names += [f"{verb}@{name}" for name in ledger.chain(book.rounds, "rounds") for verb in OF_ROUND]
    return [*names, *NEWEST]


def mapping(text: str) -> dict[str, Any]:
    """A ledger or a lock as plain YAML, as C reads it: a lock of sixty rounds would take seconds otherwise."""
    content = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe both
    if not isinstance(content, dict):
        raise ValueError(f"a mapping must be held, got {type(content).__name__}.")
    return content


def folder_md5(inside: Mapping[str, str]) -> str:
    """The md5 that DVC gives a folder of these files (md5 by name)."""
    listing = [{"md5": inside[name], "relpath": name} for name in sorted(inside, key=lambda name: name.split("/"))]
    return md5_of(json.dumps(listing, sort_keys=True).encode()) + ".dir"


def md5_of(content: bytes) -> str:
    """As DVC computes it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _where(location: Path, md5: str) -> str:
    return f"DVC's cache ({location})" if location == cache.cached(md5) else "DVC's remote"
