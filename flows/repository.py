"""The project's git repository: refuses uncommitted code, commits what the flows made, tags versions, pushes them."""

from diva.store import paths
from diva.versions.versions import author
from flows.commands import git, git_push

CODE = ("diva", "stages", "flows", "dvc.yaml", "params.yaml", "pyproject.toml", ".dvc/config", ".dvcignore")
OWN = (str(paths.LEDGER), "dvc.lock", str(paths.METRICS), ":(glob)data/**/.gitignore", ":(glob)data/**/*.dvc")
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
    files = uncommitted(*CODE)
    if files:
        raise ValueError(
            f"Code and parameters must be committed (a round records their commit), got changes in {', '.join(files)}. "
            "Commit them, or put them back."
        )


def commit(message: str) -> bool:
    """Commit ledger, lock file and metrics, nothing else; whether there was anything to commit."""
    if not uncommitted(*OWN):
        return False
    own = [path for path in OWN if git("ls-files", "--cached", "--others", "--exclude-standard", "--", path)]
    git("add", "--all", "--", *own)
    # hooks are for what people write
    git(*author(), "commit", "--quiet", "--no-verify", "--only", "--message", message, "--", *own)
    return True


def tag(name: str, message: str) -> None:
    """Publish: an annotated tag on the last commit."""
    git(*author(), "tag", "--annotate", "--message", message, name)


def unpushed(remote: str) -> bool:
    """Whether versions wait to be pushed to a git remote."""
    branch = f"refs/remotes/{remote}/{git('branch', '--show-current')}"
    if not git("rev-parse", "--verify", "--quiet", branch, check=False):
        return bool(git("tag", "--list", "curated@v*"))
    return bool(git("tag", "--list", "curated@v*", "--no-merged", branch))


def require_remote(remote: str) -> str:
    """The branch that goes to a git remote; ValueError where there is no such remote, or no branch."""
    if remote not in git("remote").splitlines():
        raise ValueError(f"git_remote must be one of {git('remote').split() or 'none configured'}, got {remote}.")
    branch = git("branch", "--show-current")
    if not branch:
        raise ValueError("A branch must be checked out to push it, got a detached HEAD.")
    return branch


def push(remote: str) -> None:
    """Branch and versions to a git remote, all or nothing."""
    branch = require_remote(remote)
    git_push("--quiet", "--atomic", "--no-verify", remote, f"HEAD:refs/heads/{branch}", f"{TAGS}:{TAGS}")
