"""Operations on the work tree that end in one commit: recorded before they begin, undone where they fail or are killed.

    .dvc/tmp/operation.json    what goes on, the commit before it, whose content it brings, the tag that publishes it

After the commit nothing is undone: the tag, where there is one, is set by whoever comes next.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diva.store import atomic, ledger, paths, tables, test_decisions
from diva.versions import cache, purge, takedowns
from diva.versions.contents import fetch_all, git_listing, newest_round, outputs, sweep, tracked
from diva.versions.locks import SCRATCH
from diva.versions.pipeline import dvc, locked_stages
from diva.versions.processes import CommandError, git
from diva.versions.published import Version
from diva.versions.remote import publish
from diva.versions.repository import CONTENT, commit, require_clean

logger = logging.getLogger(__name__)
RECORD = SCRATCH / "operation.json"
STAYS = [f":(exclude){file}" for file in (takedowns.FILE, test_decisions.FILE)]  # whatever goes back
ROUND = re.compile(r"^r\d+$")
REJECTED = "[rejected]"  # says git of a push to a branch that has gone on, or of a tag that is there already


@contextmanager
def recorded(what: str, target: str = "", publishes: str = "", purges: Iterable[str] = ()) -> Iterator[None]:
    """Within the block, an operation that fails leaves everything as it was; a killed one waits for ``settle``.

    Args:
        what: in words, also of the tag.
        target: commit whose content it brings, where it is another's.
        publishes: the tag it sets after its commit.
        purges: samples that go from DVC's cache after that.
    """
    entry: dict[str, Any] = {"what": what, "before": git("rev-parse", "HEAD"), "target": target, "tag": publishes}
    entry["purges"] = sorted(purges)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    atomic.write_text(RECORD, json.dumps(entry))
    try:
        yield
    except BaseException:
        settle()
        raise
    settle(strict=True)


def settle(strict: bool = False) -> str:
    """Finish an operation that was killed after its commit, undo one that was killed before; say what was done.

    Args:
        strict: whether a version that cannot be published is an error. Otherwise it is said, and nobody is kept from
            a takedown, or from ``diva sync``.
    """
    if not RECORD.is_file():
        return ""
    entry = tables.read_json(RECORD)
    if git("rev-parse", "HEAD") == entry["before"]:
        undo(entry)
        outcome = f"{entry['what']} was cut short and is undone: everything is as it was before."
        RECORD.unlink()
    else:
        outcome = _unpublished(entry)
        if outcome and strict:
            raise ValueError(outcome)
    if outcome:
        logger.warning(outcome)
    return outcome or f"{entry['what']} is complete."


def _unpublished(entry: Mapping[str, Any]) -> str:
    """Publish what an operation committed; why that cannot be, or "". What cannot be yet is tried by the next command.

    What the remote refuses as it has what is not here is never published: ``diva sync`` goes on from what is there.
    """
    refused = ""
    try:
        if entry["tag"] and not git("tag", "--list", entry["tag"]):
            since = git("rev-list", "--first-parent", "--reverse", f"{entry['before']}..HEAD").split()
            publish(entry["tag"], entry["what"], since[0])  # a takedown may have come on top
        if entry.get("purges"):
            purge.sweep_cache(entry["purges"])
    except CommandError as error:
        if REJECTED not in str(error):
            return f"{entry['tag']} is not published yet; the next command tries again. {error}"
        refused = f"{entry['tag']} is not published, as its remote has what is not here; `diva sync` goes on from that."
    RECORD.unlink()
    return refused


def undo(entry: Mapping[str, Any]) -> None:
    """Ledger, lock, metrics and data as the last commit has them."""
    if git("rev-parse", "--verify", "--quiet", "MERGE_HEAD", check=False):
        git("reset", "--quiet", "--hard")  # of a sync, which begins with nothing uncommitted
    added = git("ls-files", "--others", "--exclude-standard", "--", f"{paths.BASE}.dvc")
    git("restore", "--source=HEAD", "--staged", "--worktree", "--", *CONTENT, *STAYS)
    sweep([*added.split(), *([paths.BASE.as_posix()] if added else [])])
    if entry["target"]:
        after = outputs(entry["before"])
        sweep(path for path in outputs(entry["target"]) if path not in after and path not in tracked())
    try:
        dvc("checkout", "--force")
    except CommandError as error:  # what was not here before either; the next night fetches it
        logger.warning("%s", error)


def rollback(version: Version) -> None:
    """Ledger, lock, metrics and data as they were in a version, as a new commit; the next version continues from here.

    Raises:
        ValueError: uncommitted changes, data that would be lost, or data of the version that are nowhere; all is as
            before then.
    """
    require_clean("before it is rolled back")
    if git("rev-parse", "HEAD") == git("rev-parse", f"{version.commit}^{{commit}}"):
        raise ValueError(f"{version.name} is what lies here: there is nothing to roll back.")
    require_data(version)
    later = outputs(version.commit)
    stale = removable({path: md5 for path, md5 in outputs(git("rev-parse", "HEAD")).items() if path not in later})
    with recorded(f"Roll back to {version.name}", version.commit):
        git("restore", f"--source={version.commit}", "--staged", "--worktree", "--", *CONTENT, *STAYS)
        sweep(stale)
        dvc("checkout")
        commit(f"Roll back to {version.name}")


def require_data(version: Version) -> None:
    """Bring what DVC keeps of a version into its cache; ValueError where it is neither there nor on the remote."""
    listing = git_listing(version)
    later = _of_later_rounds(version)
    wanted = {
        path: md5 for path, md5 in outputs(version.commit).items() if path not in later and not _of_git(path, listing)
    }
    if all(map(cache.holds, wanted.values())):
        return
    fetch_all()
    lost = [path for path, md5 in wanted.items() if not cache.holds(md5)]
    if lost:
        raise ValueError(
            f"{lost[0]} of {version.name} must be in DVC's cache or on its remote, got it at neither "
            f"({len(lost)} such outputs); nothing was changed."
        )


def _of_later_rounds(version: Version) -> set[str]:
    """Outputs of rounds that were planned and run before this version was published, and are no part of it."""
    newest = ledger.number(newest_round(version))
    stages = [(name.partition("@")[2], stage) for name, stage in locked_stages(version.commit).items()]
    later = [stage for key, stage in stages if ROUND.match(key) and ledger.number(key) > newest]
    return {out["path"] for stage in later for out in stage.get("outs", ())}


def _of_git(path: str, listing: Iterable[str]) -> bool:
    return any(name == path or name.startswith(f"{path}/") for name in listing)


def removable(outs: Mapping[str, str]) -> list[str]:
    """Which of these outputs lie in the work tree and not in git; ValueError where DVC's cache lacks one of them."""
    of_git = tracked()
    here = [path for path in outs if path not in of_git and Path(path).exists()]
    lost = [path for path in here if not cache.cached(outs[path]).exists()]
    if lost:
        raise ValueError(f"{lost[0]} must be in DVC's cache before it goes; `dvc commit` puts it there.")
    return here
