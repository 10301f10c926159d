"""What a version holds: files that git keeps in its commit, and those that DVC keeps in its cache or on its remote."""

import os
import re
import shutil
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import yaml

from diva.store import paths
from diva.versions import cache
from diva.versions.locks import SCRATCH
from diva.versions.pipeline import dvc_read
from diva.versions.processes import CommandError, git
from diva.versions.published import Version
from diva.versions.repository import CONTENT, objects

FETCHED = SCRATCH / "diva"  # files of versions that DVC's cache lacked


def git_text(version: Version, path: Path) -> str:
    """A file that git keeps, as it was in a version; ValueError where it was not there."""
    (content,) = objects([f"{version.commit}:./{path.as_posix()}"])
    if content is None:
        raise ValueError(f"{version.name} must hold {path}, got nothing.")
    return content.decode("utf-8")


def git_listing(version: Version) -> list[str]:
    """Every file that git keeps of a version."""
    return git("ls-tree", "-r", "-z", "--name-only", version.commit).rstrip("\0").split("\0")


def git_files(version: Version, names: Iterable[str]) -> dict[str, bytes]:
    """Files that git keeps of a version, by name; those that it lacks are left out."""
    asked = list(names)
    files = objects(f"{version.commit}:./{name}" for name in asked)
    return {name: content for name, content in zip(asked, files, strict=True) if content is not None}


def newest_round(version: Version) -> str:
    """The round whose set a version is, from its ledger."""
    match = re.search(r"^latest: (r\d+)$", git_text(version, paths.LEDGER), re.MULTILINE)
    if match is None:
        raise ValueError(f"{version.name} must hold a ledger that names its latest round, got none.")
    return match[1]


def fetch(version: Version, path: Path) -> Path:
    """A file of a version that DVC keeps: in its cache, or brought from its remote; read it, never write it.

    Raises:
        ValueError: the version has no such file, or neither cache nor remote has it.
    """
    here = local(version, path)
    if here is not None:
        return here
    out, md5 = cache.owner(outputs(version.commit), path)
    if out == path:
        return _brought(version, path, FETCHED / f"{md5}{path.suffix}")
    folder = _brought(version, path.parent, FETCHED / md5 / path.parent.relative_to(out))  # one of many files, mostly
    if not (folder / path.name).is_file():
        raise ValueError(f"{version.name} must hold {path}, got nothing.")
    return folder / path.name


def _brought(version: Version, path: Path, target: Path) -> Path:
    """A file or folder of a version, under a name that its content gives it."""
    if not target.exists():
        fresh = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        fresh.parent.mkdir(parents=True, exist_ok=True)
        dvc_read("get", "--force", "--rev", version.commit, "--out", str(fresh), ".", path.as_posix())
        fresh.replace(target)
    return target


def bring(version: Version, path: Path, target: Path) -> bool:
    """Bring a file or folder of a version from DVC's remote; whether that could be done."""
    try:
        dvc_read("get", "--quiet", "--force", "--rev", version.commit, "--out", str(target), ".", path.as_posix())
    except CommandError:
        return False
    return target.exists()


def fetch_all() -> None:
    """Bring what all versions hold into DVC's cache, as far as its remote has it."""
    try:
        dvc_read("fetch", "--quiet", "--all-tags")
    except CommandError:
        return  # what is missing is found file by file


def local(version: Version, path: Path) -> Path | None:
    """A file of a version that DVC keeps, where the cache has it; None otherwise."""
    out, md5 = cache.owner(outputs(version.commit), path)
    inside = md5 if out == path else cache.listing(cache.cached(md5)).get(path.relative_to(out).as_posix())
    return cache.cached(inside) if inside and cache.cached(inside).is_file() else None


@lru_cache(maxsize=4)
def outputs(commit: str) -> dict[str, str]:
    """md5 of all that DVC keeps of a commit, by path: outputs of stages, and what was added as plain data."""
    listed = git("ls-tree", "-r", "--name-only", commit, "--", paths.DATA.as_posix()).splitlines()
    plain = [path for path in listed if path.endswith(".dvc")]
    lock, *added = (content or b"" for content in objects(f"{commit}:./{path}" for path in (cache.LOCK, *plain)))
    files = cache.outputs(lock.decode("utf-8"))
    for path, content in zip(plain, added, strict=True):
        files |= {path.removesuffix(".dvc"): out["md5"] for out in yaml.safe_load(content)["outs"]}
    return files


def tracked() -> set[str]:
    """Files of the content that git keeps here."""
    return set(git("ls-files", "--", *CONTENT).splitlines())


def sweep(stale: Iterable[str | Path]) -> None:
    """Take outputs of no stage out of the work tree: some stages read whole folders."""
    for path in map(Path, stale):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def sweep_former(before: str, after: str) -> None:
    """Take what was an output at one commit and is none at another out of the work tree, which now is at the latter."""
    now, of_git = outputs(after), tracked()
    gone = {path: md5 for path, md5 in outputs(before).items() if path not in now and path not in of_git}
    sweep(path for path, md5 in gone.items() if cache.holds(md5))
