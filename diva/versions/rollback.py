"""Go back to a version: its ledger, lock file, metrics and data, as a new commit."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from diva.versions import cache
from diva.versions.contents import outputs
from diva.versions.pipeline import dvc
from diva.versions.processes import CommandError, git
from diva.versions.published import Version
from diva.versions.repository import CONTENT, commit, require_clean


def rollback(version: Version) -> None:
    """Ledger, lock, metrics and data as they were in a version, as a new commit; the next version continues from here.

    Raises:
        ValueError: uncommitted changes, or data that would be lost.
    """
    require_clean("before it is rolled back")
    later = outputs(version.commit)
    stale = removable({path: md5 for path, md5 in outputs(git("rev-parse", "HEAD")).items() if path not in later})
    git("restore", f"--source={version.commit}", "--staged", "--worktree", "--", *CONTENT)
    sweep(stale)
    try:
        dvc("checkout")
    except CommandError:  # the cache lacks some
        dvc("pull")
    commit(f"Roll back to {version.name}")


def removable(outs: Mapping[str, str]) -> list[str]:
    """Which of these outputs lie in the work tree and not in git; ValueError where DVC's cache lacks one of them."""
    tracked = set(git("ls-files", "--", *CONTENT).splitlines())
    here = [path for path in outs if path not in tracked and Path(path).exists()]
    lost = [path for path in here if not cache.cached(outs[path]).exists()]
    if lost:
        raise ValueError(f"{lost[0]} must be in DVC's cache before it goes; `dvc commit` puts it there.")
    return here


def sweep(stale: Iterable[str]) -> None:
    """Take outputs of no stage out of the work tree: some stages read whole folders."""
    for path in map(Path, stale):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
