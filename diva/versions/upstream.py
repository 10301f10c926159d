"""A project that is a clone of the repository: programs of both are merged, its own data and settings stay.

programs    what the clone changed, and what the repository did
data/, dvc.lock, params.yaml    the clone's; settings that it lacks are added
"""

from diva.store import atomic, paths
from diva.versions import operations, repository
from diva.versions.processes import git

OWN = (*repository.CONTENT, paths.PARAMS.as_posix())


def fetched(ref: str | None) -> str:
    """A branch of the repository, with its newest commits.

    Args:
        ref: such as ``origin/main``; the upstream of the branch that is checked out, unless given.

    Raises:
        ValueError: there is no such branch, or its remote does not answer.
    """
    ref = ref or git("rev-parse", "--abbrev-ref", "@{upstream}", check=False)
    remote = ref.partition("/")[0]
    if remote in git("remote").splitlines():
        git("fetch", "--quiet", "--no-tags", remote)
        if git("rev-parse", "--verify", "--quiet", f"refs/remotes/{ref}", check=False):
            return ref
    remotes = ", ".join(git("remote").splitlines()) or "none (git remote add upstream URL)"
    raise ValueError(
        f"--from must be a branch of the repository that this project is a clone of, such as origin/main, got "
        f"{ref or 'no upstream of this branch'}; remotes: {remotes}."
    )


def commits(ref: str) -> list[str]:
    """Commits that the clone lacks, a line each."""
    return git("log", "--oneline", f"HEAD..{ref}").splitlines()


def settings(ref: str) -> str:
    """Text of the repository's params.yaml."""
    return git("show", f"{ref}:{paths.PARAMS}")


def difference(ref: str) -> str:
    """What the repository changed since the clone last had it, but for data and settings."""
    return git("diff", f"HEAD...{ref}", "--", ".", *(f":(exclude){path}" for path in OWN))


def merge(ref: str, params: str) -> None:
    """Merge the repository's programs, write params.yaml, commit both.

    Raises:
        ValueError: uncommitted changes, or programs that both changed; all is as before then.
    """
    repository.require_clean("before it is upgraded")
    with operations.recorded(f"Upgrade to {ref}"):
        git(*repository.author(), "merge", "--quiet", "--no-ff", "--no-commit", ref, check=False)
        git("restore", "--source=HEAD", "--staged", "--worktree", "--", *filter(_committed, OWN))
        clashes = git("diff", "--name-only", "--diff-filter=U").splitlines()
        if clashes:
            raise ValueError(
                f"{clashes[0]} must be put together by hand, as both changed it ({len(clashes)} such files); nothing "
                f"was changed. Take the repository's with `git checkout {ref} -- {clashes[0]}` and commit, then `diva "
                "upgrade`."
            )
        atomic.write_text(paths.PARAMS, params)
        git("add", "--", paths.PARAMS.as_posix())
        git(*repository.author(), "commit", "--quiet", "--no-verify", "--message", f"Upgrade to {ref}")


def _committed(path: str) -> bool:
    return bool(git("ls-tree", "HEAD", "--", path))
