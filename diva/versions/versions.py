"""Versions: annotated tags ``curated@v<major>.<minor>.<patch>``, each the commit point of what was published.

A version holds, in git, the ledger, ``dvc.lock`` and the metrics; all else is named there by its md5 and lies in DVC's
cache or on its remote. Listing versions asks git twice, however many there are, and DVC never.

Beside the command line, this is the only module of the library that runs ``git`` and ``dvc``.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from diva.store import paths
from diva.text.redaction import redacted
from diva.versions import cache

NAME = re.compile(r"^(?:curated@)?(v\d+\.\d+\.\d+)$")
TAGS = "refs/tags/curated@v*"
LOCK = Path("dvc.lock")
CONTENT = (paths.DATA.as_posix(), LOCK.as_posix())  # what a version's commit holds; the rest of data/ is ignored by git
HISTORY = ("download", "extract", "fit", "pool", "score", "start", "base")  # stages that published rounds rest on
RUNNING = Path(".dvc/tmp/nightly.lock")  # held by the nightly run, too
FETCHED = Path(".dvc/tmp/diva")  # git-ignored: files of versions that DVC's cache lacked
EVALUATE, RELEASE = paths.metrics("evaluate"), paths.metrics("release")
TAIL = 15  # lines of a failed command that are repeated


@dataclass(frozen=True)
class Version:
    """A version, as its metrics tell of it; None where they do not.

    Attributes:
        name: of the tag.
        commit: that it points to.
        date: when it was published, as ISO 8601.
        round: the newest, r000 for the core alone.
        size: samples of the release.
        added: samples that came from the pool, in all rounds together.
        removed: samples taken out, in all rounds together.
        error: test error of the release, with the bounds of its interval of 95 %.
        low: lower bound.
        high: upper bound.
    """

    name: str
    commit: str
    date: str
    round: str | None = None
    size: int | None = None
    added: int | None = None
    removed: int | None = None
    error: float | None = None
    low: float | None = None
    high: float | None = None


def versions() -> list[Version]:
    """All versions, oldest first."""
    form = "%(refname:strip=2) %(*objectname) %(taggerdate:iso-strict)"
    tags = [line.split(" ") for line in git("for-each-ref", f"--format={form}", TAGS).splitlines()]
    known = sorted((tag for tag in tags if NAME.match(tag[0]) and tag[1]), key=lambda tag: order(tag[0]))
    told = _objects(f"{commit}:./{path.as_posix()}" for _, commit, _ in known for path in (EVALUATE, RELEASE))
    pairs = zip(told[::2], told[1::2], strict=True)
    figures = [_figures(_json(evaluate), _json(release)) for evaluate, release in pairs]
    return [Version(name, commit, date, **told) for (name, commit, date), told in zip(known, figures, strict=True)]


def round_numbers() -> set[int]:
    """Numbers of all published rounds; none where there is no repository."""
    try:
        listed = git("for-each-ref", "--format=%(refname:strip=2)", TAGS).splitlines()
    except ValueError:
        return set()
    return {order(name)[1] for name in listed if NAME.match(name)}


def order(name: str) -> tuple[int, ...]:
    """A version's numbers."""
    return tuple(int(part) for part in name.rpartition("v")[2].split("."))


def _figures(evaluate: Mapping[str, Any], release: Mapping[str, Any]) -> dict[str, Any]:
    rounds = evaluate.get("rounds") or [{}]
    used = "release_weighted" if release.get("weighted") else "release_unweighted"
    errors = evaluate.get("sets", {}).get(used, {})
    counts = {name: release.get(key) for name, key in (("size", "samples"), ("added", "added"), ("removed", "removed"))}
    return {"round": rounds[-1].get("round"), **counts, **{name: errors.get(name) for name in ("error", "low", "high")}}


def before(version: Version) -> list[Version]:
    """Versions older than this one, oldest first."""
    return [earlier for earlier in versions() if order(earlier.name) < order(version.name)]


def find(name: str | None = None) -> Version:
    """A version by its name (``curated@v0.3.0``, or ``v0.3.0``); None: the work tree's, else the newest.

    Raises:
        ValueError: there is no such version, or none at all.
    """
    known = {version.name: version for version in versions()}
    if not known:
        raise ValueError("a version must be published first, got none; `python -m flows.nightly` publishes one.")
    if name is None:
        return known[current() or list(known)[-1]]
    match = NAME.match(name)
    if match is None or f"curated@{match[1]}" not in known:
        raise ValueError(f"VERSION must be one of {', '.join(list(known)[-5:])} (see `diva versions`), got {name}.")
    return known[f"curated@{match[1]}"]


def current() -> str | None:
    """The newest version whose ledger is the work tree's, to the byte; None where the ledger is not published."""
    listed = git("for-each-ref", "--format=%(refname:strip=2)", TAGS).splitlines()
    names = sorted((name for name in listed if NAME.match(name)), key=order)
    if not names or not paths.LEDGER.is_file():
        return None
    asked = "".join(f"{name}:./{paths.LEDGER.as_posix()}\n" for name in names)
    stored = [line.split(" ")[0] for line in git("cat-file", "--batch-check", given=asked.encode()).splitlines()]
    own = git("hash-object", "--", paths.LEDGER.as_posix())
    return next((name for name, blob in zip(reversed(names), reversed(stored), strict=True) if blob == own), None)


def next_name(version: str | None) -> str:
    """The name of another state of the same round: the patch number after that of all its versions.

    A round's own name comes from the flow that publishes it: curated@v<major>.<round>.0.
    """
    major, minor, patch = order(version) if version else (0, 0, -1)
    listed = git("tag", "--list", f"curated@v{major}.{minor}.*").splitlines()
    taken = [order(name)[2] for name in listed if NAME.match(name)]
    return f"curated@v{major}.{minor}.{max([patch, *taken]) + 1}"


def tag(name: str, message: str | None = None) -> None:
    """Publish the last commit under this name: an annotated tag, never moved."""
    if not name.startswith("curated@") or not NAME.match(name):
        raise ValueError(f"name must be curated@v<major>.<minor>.<patch>, got {name}.")
    git(*author(), "tag", "--annotate", "--message", message or name, name)


def commit(message: str, *content: str) -> str:
    """Commit ledger, lock, metrics and what else of data/ git keeps (or only ``content``); return the commit."""
    git("add", "--all", "--", *(content or CONTENT))
    if not git("diff", "--cached", "--name-only", "--", *(content or CONTENT)):
        return git("rev-parse", "HEAD")
    # hooks are for what people write
    git(*author(), "commit", "--quiet", "--no-verify", "--only", "--message", message, "--", *(content or CONTENT))
    return git("rev-parse", "HEAD")


def author() -> list[str]:
    """Arguments of git: a name for machines on which it was told none."""
    known = subprocess.run([_found("git"), "var", "GIT_COMMITTER_IDENT"], capture_output=True, check=False)  # noqa: S603
    return [] if known.returncode == 0 else ["-c", "user.name=DIVA", "-c", "user.email=diva@localhost"]


@contextmanager
def exclusive() -> Iterator[None]:
    """Within the block, no nightly run and no other command changes the ledger; ValueError where one is at work."""
    RUNNING.parent.mkdir(parents=True, exist_ok=True)
    with RUNNING.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"no other run must be at work here, got one that holds {RUNNING}; wait for it.") from None
        yield


def require_clean(why: str) -> None:
    """Refuse a work tree with changes that are not committed."""
    changed = git("status", "--porcelain", "--untracked-files=no").splitlines()
    if changed:
        raise ValueError(
            f"the work tree must have no uncommitted changes {why}, got {len(changed)} (first: {changed[0][3:]}); "
            f"commit them, or drop those of data/ with `git restore --staged --worktree {' '.join(CONTENT)}`."
        )


def text(version: Version, path: Path) -> str:
    """A file that git keeps, as it was in a version; ValueError where it was not there."""
    (content,) = _objects([f"{version.commit}:./{path.as_posix()}"])
    if content is None:
        raise ValueError(f"{version.name} must hold {path}, got nothing.")
    return content.decode("utf-8")


def listed(version: Version) -> list[str]:
    """Every file that git keeps of a version."""
    return git("ls-tree", "-r", "-z", "--name-only", version.commit).rstrip("\0").split("\0")


def contents(version: Version, names: Iterable[str]) -> dict[str, bytes]:
    """Files that git keeps of a version, by name; those that it lacks are left out."""
    asked = list(names)
    found = _objects(f"{version.commit}:./{name}" for name in asked)
    return {name: content for name, content in zip(asked, found, strict=True) if content is not None}


def newest_round(version: Version) -> str:
    """The round whose set a version is, from its ledger."""
    match = re.search(r"^latest: (r\d+)$", text(version, paths.LEDGER), re.MULTILINE)
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
    out, md5 = cache.owner(kept(version.commit), path)
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
        dvc("get", "--force", "--rev", version.commit, "--out", str(fresh), ".", path.as_posix())
        fresh.replace(target)
    return target


def get(version: Version, path: Path, target: Path) -> bool:
    """Bring a file or folder of a version from DVC's remote; whether that could be done."""
    try:
        dvc("get", "--quiet", "--force", "--rev", version.commit, "--out", str(target), ".", path.as_posix())
    except ValueError:
        return False
    return target.exists()


def fetch_all() -> None:
    """Bring what all versions hold into DVC's cache, as far as its remote has it."""
    try:
        dvc("fetch", "--quiet", "--all-tags")
    except ValueError:
        return  # what is missing is found file by file


def local(version: Version, path: Path) -> Path | None:
    """A file of a version that DVC keeps, where the cache has it; None otherwise."""
    out, md5 = cache.owner(kept(version.commit), path)
    inside = md5 if out == path else cache.listing(cache.cached(md5)).get(path.relative_to(out).as_posix())
    return cache.cached(inside) if inside and cache.cached(inside).is_file() else None


@lru_cache(maxsize=4)
def kept(commit: str) -> dict[str, str]:
    """md5 of all that DVC keeps of a commit, by path: outputs of stages, and what was added as plain data."""
    listed = git("ls-tree", "-r", "--name-only", commit, "--", paths.DATA.as_posix()).splitlines()
    plain = [path for path in listed if path.endswith(".dvc")]
    lock, *added = (content or b"" for content in _objects(f"{commit}:./{path}" for path in (LOCK, *plain)))
    found = cache.outputs(lock.decode("utf-8"))
    for path, content in zip(plain, added, strict=True):
        found |= {path.removesuffix(".dvc"): out["md5"] for out in yaml.safe_load(content)["outs"]}
    return found


def up_to_date() -> bool:
    """Whether every stage has run on what lies here now."""
    return dvc("status", "--json") in ("", "{}")


def rollback(version: Version) -> None:
    """Ledger, lock, metrics and data as they were in a version, as a new commit; the next version continues from here.

    Raises:
        ValueError: uncommitted changes, or data that would be lost.
    """
    require_clean("before it is rolled back")
    later = kept(version.commit)
    stale = removable({path: md5 for path, md5 in kept(git("rev-parse", "HEAD")).items() if path not in later})
    git("restore", f"--source={version.commit}", "--staged", "--worktree", "--", *CONTENT)
    sweep(stale)
    try:
        dvc("checkout")
    except ValueError:  # the cache lacks some
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


def git(*arguments: str, given: bytes | None = None) -> str:
    """Output of a git command, without the last line break."""
    return _run([_found("git"), *arguments], given).decode("utf-8", "surrogateescape").rstrip("\n")


def dvc(*arguments: str) -> str:
    """Output of a DVC command (its command line is stable, its Python API is not)."""
    return _run([sys.executable, "-m", "dvc", *arguments]).decode("utf-8", "replace").rstrip("\n")


def _run(command: list[str], given: bytes | None = None) -> bytes:
    own = str(Path(sys.executable).parent)  # stages are started as `python -m stages.<verb>`
    environment = os.environ | {
        "PATH": os.pathsep.join([own, os.environ.get("PATH", os.defpath)]),
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    done = subprocess.run(command, input=given, capture_output=True, env=environment, check=False)  # noqa: S603 - no shell
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()[-TAIL:]
        name = " ".join(Path(part).name for part in command[:2]) if command[1] != "-m" else f"dvc {command[3]}"
        raise ValueError(redacted(f"`{name}` must succeed, got: {chr(10).join(said)}"))
    return done.stdout


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise ValueError(f"{program} must be installed, got no such command.")
    return path


def _objects(names: Iterable[str]) -> list[bytes | None]:
    """Contents of git's objects, in order, by one command; None where there is none of that name."""
    asked = list(names)
    told = _run([_found("git"), "cat-file", "--batch"], "".join(f"{name}\n" for name in asked).encode())
    contents: list[bytes | None] = []
    for _ in asked:
        head, _, told = told.partition(b"\n")
        if head.endswith(b" missing"):
            contents.append(None)
            continue
        size = int(head.rpartition(b" ")[2])
        contents.append(told[:size])
        told = told[size + 1 :]
    return contents


def _json(content: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(content or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
