"""The git remote that operators share: compared before anything is planned, pushed to before a tag publishes.

A version's name is claimed by its commit on the remote's branch, which takes one operator's commits at a time; its tag
comes after. So no name leads to two commits. Who is behind catches up; who has diverged is told of ``diva sync``.

    diva.remote                   of git's configuration: the remote that nights push to
    refs/diva/<remote>/curated@*  tags of versions as the remote had them last
    .dvc/tmp/behind               the commit before what was caught up with, whose data are still to be brought
"""

import logging
import re
from pathlib import Path

from diva.store import atomic, ledger, paths
from diva.versions import contents
from diva.versions.locks import SCRATCH
from diva.versions.pipeline import dvc, up_to_date
from diva.versions.processes import CommandError, Log, git
from diva.versions.repository import CONTENT, push, require_remote, tag, uncommitted
from diva.versions.stored_files import md5_of

logger = logging.getLogger(__name__)
SETTING = "diva.remote"
BEHIND = SCRATCH / "behind"
PROGRAMS = ("diva", "stages", "flows")


class DivergedError(ValueError):
    """Here and on the remote, each has what the other lacks."""


def shared() -> str:
    """The remote that nights of this clone push to; "" where none has."""
    return git("config", "--get", SETTING, check=False)


def share(remote: str) -> None:
    """Let commands push to this remote, too."""
    require_remote(remote)
    if shared() != remote:
        git("config", SETTING, remote)


def branch(remote: str) -> str:
    """Where git keeps the remote's branch; "" where the remote has none of that name."""
    name = f"refs/remotes/{remote}/{require_remote(remote)}"
    return name if git("rev-parse", "--verify", "--quiet", name, check=False) else ""


def catch_up(remote: str) -> bool:
    """Take on what the remote has and this clone lacks; whether there was anything.

    Raises:
        ValueError: no answer, a tag that points to another commit there, newer programs (begin once more, with them).
        DivergedError: something here, committed or not, stands against it.
    """
    for name in fetch(remote):
        here, there = (git("rev-parse", f"{of}/{name}^{{commit}}")[:12] for of in ("refs/tags", f"refs/diva/{remote}"))
        raise ValueError(
            f"{name} must point to one commit, got {here} here and {there} on {remote}. `diva sync` takes "
            "the remote's, and puts what is yours on top."
        )
    take_tags(remote)
    theirs = branch(remote)
    if not theirs or not git("rev-list", "--max-count=1", f"HEAD..{theirs}"):
        return False
    if git("rev-list", "--max-count=1", f"{theirs}..HEAD") or uncommitted(*CONTENT):
        raise DivergedError(
            f"Here and on {remote}, each has what the other lacks; `diva sync` puts what is yours on top of what is "
            "there."
        )
    SCRATCH.mkdir(parents=True, exist_ok=True)
    before = git("rev-parse", "HEAD")
    if not BEHIND.exists():  # first: whoever is killed now brings the data next time
        atomic.write_text(BEHIND, before)
    git("merge", "--quiet", "--ff-only", theirs)
    logger.warning("Caught up with %s.", remote)
    if git("diff", "--name-only", before, "HEAD", "--", *PROGRAMS):
        raise ValueError(f"Caught up with {remote}, whose programs are newer: begin once more, with them.")
    return True


def fetch(remote: str) -> list[str]:
    """Branch and versions of the remote, beside those of this clone; return tags that point elsewhere here."""
    own = f"refs/diva/{remote}"
    try:
        git("fetch", "--quiet", "--no-tags", remote)
        git("fetch", "--quiet", "--no-tags", "--prune", remote, f"+refs/tags/curated@*:{own}/curated@*")
    except CommandError as error:
        raise ValueError(unanswered(remote, error)) from None
    there, here = _tags(own), _tags("refs/tags")
    return [name for name, (_, commit) in there.items() if name in here and here[name][1] != commit]


def take_tags(remote: str) -> None:
    """The remote's tags, as it had them when it was fetched, become this clone's."""
    here = _tags("refs/tags")
    for name, (target, _) in _tags(f"refs/diva/{remote}").items():
        if here.get(name, ("", ""))[0] != target:
            git("update-ref", f"refs/tags/{name}", target)


def unanswered(remote: str, error: Exception) -> str:
    """What to say where a remote cannot be asked."""
    reason = re.sub(r"\s+", " ", str(error).partition("failed:")[2]).strip()
    if not reason:
        return str(error)
    return (
        f"{remote} must answer, as versions may lie there that are not here, got: {reason} Run once more when it does; "
        f"where it is none of this project's, `git remote remove {remote}`."
    )


def _tags(where: str) -> dict[str, tuple[str, str]]:
    """Object and commit of every version's tag below a name of references."""
    form = f"%(refname:lstrip={where.count('/') + 1}) %(objectname) %(*objectname)"
    lines = git("for-each-ref", f"--format={form}", f"{where}/curated@*").splitlines()
    return {name: (target, commit or target) for name, target, commit in (line.split(" ") for line in lines)}


def publish(name: str, message: str, commit: str) -> None:
    """Tag a commit, which the shared remote gets first: then nobody else can publish another of that name."""
    if remote := shared():
        push(remote, commit)
    tag(name, message, commit)


def bring(log: Log = logger.debug) -> None:
    """``dvc pull`` of what was published elsewhere, where it is missing here or differs."""
    if BEHIND.exists():
        dvc("pull", "--force", log=log)
        if before := BEHIND.read_text(encoding="utf-8"):  # empty where an earlier program wrote it
            contents.sweep_former(before, git("rev-parse", "HEAD"))
        BEHIND.unlink()
        return
    book = ledger.read()
    review = ledger.newest_review(book)
    added = [paths.review(review)] if review in book.reviews else []
    added += [paths.BASE] if book.base else []
    files = [f"{path}.dvc" for path in added if path.with_name(f"{path.name}.dvc").is_file() and _differs(path)]
    if files:
        dvc("pull", "--force", *files, log=log)


def _differs(path: Path) -> bool:
    """Whether a file or folder is not what its .dvc file says."""
    if path.is_file():
        return md5_of(path.read_bytes()) not in path.with_name(f"{path.name}.dvc").read_text(encoding="utf-8")
    return not path.exists() or not up_to_date(f"{path}.dvc")
