"""Versions that were tampered with, and well: the lock file, DVC's cache and the tag all agree with the forgery."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl

from diva.versions import cache
from diva.versions.stored_files import folder_md5, md5_of
from tests.projects.checkout import Project


def cached(project: Project, md5: str) -> Path:
    return project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def locked(project: Project) -> dict[str, str]:
    """md5 by path of what the lock names."""
    return cache.outputs((project.root / "dvc.lock").read_text())


def overwrite(project: Project, path: str, content: bytes) -> None:
    """Other bytes in DVC's cache under the old name, as a failing disk leaves them."""
    place = cached(project, md5_in(project, path))
    place.chmod(0o644)
    place.write_bytes(content)


def md5_in(project: Project, path: str) -> str:
    """md5 of a file, which may lie in a folder that is an output."""
    out, md5 = cache.owner(locked(project), Path(path))
    if out == Path(path):
        return md5
    return inside(project, md5)[Path(path).relative_to(out).as_posix()]


def inside(project: Project, md5: str) -> dict[str, str]:
    return {entry["relpath"]: entry["md5"] for entry in json.loads(cached(project, md5).read_text())}


def store(project: Project, content: bytes) -> str:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    cached(project, md5).parent.mkdir(parents=True, exist_ok=True)
    cached(project, md5).write_bytes(content)
    return md5


def forge(project: Project, path: str, content: bytes) -> None:
    """Other content under a new md5, in cache and lock file."""
    out, old = cache.owner(locked(project), Path(path))
    new = store(project, content)
    if out != Path(path):
        listing = inside(project, old) | {Path(path).relative_to(out).as_posix(): new}
        entries = [{"md5": md5, "relpath": name} for name, md5 in sorted(listing.items())]
        new = store(project, json.dumps(entries, sort_keys=True).encode()) + ".dir"
        cached(project, new[:-4]).rename(cached(project, new))
        assert new == folder_md5(listing)
    lock = project.root / "dvc.lock"
    lock.write_text(lock.read_text().replace(old, new))


def change(project: Project, path: str, edit: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """A table with other rows."""
    table = project.root / "forged.parquet"
    edit(pl.read_parquet(cached(project, md5_in(project, path)))).write_parquet(table)
    forge(project, path, table.read_bytes())
    table.unlink()


def retag(project: Project, name: str) -> None:
    """The tag moves to a commit of what lies here now."""
    project.run("git", "add", "dvc.lock", "data")
    project.run("git", "commit", "--quiet", "--allow-empty", "-m", "Nothing to see here")
    project.run("git", "tag", "--force", "--annotate", "-m", name, name)


__all__ = ["cached", "change", "forge", "locked", "md5_in", "md5_of", "overwrite", "retag"]
