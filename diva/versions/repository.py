"""The project's git repository: refuses uncommitted code, commits what was made, tags versions, pushes them."""

from collections.abc import Iterable

from diva.store import paths
from diva.versions.cache import LOCK
from diva.versions.processes import git, git_bytes, git_push

CODE = ("diva", "stages", "flows", "dvc.yaml", "params.yaml", "pyproject.toml", ".dvc/config", ".dvcignore")
CONTENT = (paths.DATA.as_posix(), LOCK.as_posix())  # what a version's commit holds; the rest of data/ is ignored by git
TAGS = "refs/tags/curated@*"


def code_commit() -> str:
    """The newest commit that touched code or parameters."""
    return git("log", "-1", "--format=%H", "--", *CODE) or "none"


def uncommitted(*where: str) -> list[str]:
    """Files there that differ from the last commit, or that git does not know."""
    lines = git("status", "--porcelain", "--untracked-files=all", "--", *where).splitlines()
    return [line[3:] for line in lines]


def require_committed() -> None:
    """Refuse code or parameters that no commit records.

    Raises:
        ValueError: with the files, or where there is no commit at all.
    """
    if not git("rev-parse", "--verify", "--quiet", "HEAD", check=False):
        raise ValueError("The project must be a git repository with a commit; commit code and parameters first.")
    if not git("branch", "--show-current"):
        raise ValueError(
            "A branch must be checked out, which nights commit to, got a detached HEAD; `git switch BRANCH`."
        )
    files = uncommitted(*CODE)
    if files:
        raise ValueError(
            f"Code and parameters must be committed (a round records their commit), got changes in {', '.join(files)}. "
            "Commit them, or put them back."
        )


def commit(message: str, *content: str) -> bool:
    """Commit ledger, lock, metrics and what else of data/ git keeps (or only ``content``); whether there was anything.

    What was added to the index or taken out of it counts, too.
    """
    wanted = content or tuple(path for path in CONTENT if git("ls-files", "--cached", "--others", "--", path))
    git("add", "--all", "--", *wanted)
    if not git("diff", "--cached", "--name-only", "--", *(content or CONTENT)):
        return False
    # hooks are for what people write
    git(*author(), "commit", "--quiet", "--no-verify", "--only", "--message", message, "--", *wanted)
    return True


def tag(name: str, message: str, commit: str = "HEAD") -> None:
    """Publish a commit under this name: an annotated tag, never moved."""
    git(*author(), "tag", "--annotate", "--message", message, name, commit)


def author() -> list[str]:
    """Arguments of git: a name for machines on which it was told none."""
    identity = git("var", "GIT_COMMITTER_IDENT", check=False)
    return [] if identity else ["-c", "user.name=DIVA", "-c", "user.email=diva@localhost"]


def require_clean(why: str) -> None:
    """Refuse a work tree with changes that are not committed."""
    changed = git("status", "--porcelain", "--untracked-files=no").splitlines()
    if changed:
        raise ValueError(
            f"the work tree must have no uncommitted changes {why}, got {len(changed)} (first: {changed[0][3:]}); "
            f"commit them, or drop those of data/ with `git restore --staged --worktree {' '.join(CONTENT)}`."
        )


def objects(names: Iterable[str]) -> list[bytes | None]:
    """Contents of git's objects, in order, by one command; None where there is none of that name."""
    asked = list(names)
    output = git_bytes("cat-file", "--batch", given="".join(f"{name}\n" for name in asked).encode())
    contents: list[bytes | None] = []
    for _ in asked:
        head, _, output = output.partition(b"\n")
        if head.endswith(b" missing"):
            contents.append(None)
            continue
        size = int(head.rpartition(b" ")[2])
        contents.append(output[:size])
        output = output[size + 1 :]
    return contents


def unpushed(remote: str) -> bool:
    """Whether versions, or what else was published of the content, wait to be pushed to a git remote."""
    branch = f"refs/remotes/{remote}/{git('branch', '--show-current')}"
    if not git("rev-parse", "--verify", "--quiet", branch, check=False):
        return bool(git("tag", "--list", "curated@v*"))
    # the whole history: what a sync merged counts, also where it brought nothing that the remote lacks
    if git("rev-list", "--max-count=1", "--full-history", f"{branch}..HEAD", "--", *CONTENT):
        return True
    tags = [f"{namespace}/curated@v*" for namespace in ("refs/tags", f"refs/diva/{remote}")]
    here, there = (git("for-each-ref", "--format=%(objectname)", pattern).splitlines() for pattern in tags)
    return bool(set(here) - set(there))


def require_remote(remote: str) -> str:
    """The branch that goes to a git remote; ValueError where there is no such remote, or no branch."""
    if remote not in git("remote").splitlines():
        raise ValueError(f"git_remote must be one of {git('remote').split() or 'none configured'}, got {remote}.")
    branch = git("branch", "--show-current")
    if not branch:
        raise ValueError("A branch must be checked out to push it, got a detached HEAD.")
    return branch


def push(remote: str, commit: str = "HEAD") -> None:
    """Branch, up to a commit, and versions to a git remote, all or nothing."""
    branch = require_remote(remote)
    git_push("--quiet", "--atomic", "--no-verify", remote, f"{commit}:refs/heads/{branch}", f"{TAGS}:{TAGS}")
    git("fetch", "--quiet", "--no-tags", ".", f"+{TAGS}:refs/diva/{remote}/curated@*")  # what it has now
