"""``git`` and ``dvc`` as processes: their output, their failures as errors, no process left behind.

DVC's command line is stable, its Python API is not; so a line of its log is all that is known of its progress.
"""

import logging
import os
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from diva.text.harmless import plain
from diva.text.redaction import redacted
from diva.versions.locks import COMMAND, SCRATCH

logger = logging.getLogger(__name__)
PERMANENT = (
    "non-fast-forward", "fetch first", "(already exists)", "fatal: tag", "would clobber", "failed to sign",
    "nothing to commit", "nothing added to commit", "unable to auto-detect email", "Permission denied",
    "does not appear to be a git repository",
)  # fmt: skip
BUSY = ("Unable to acquire lock", "is busy, it is being blocked by")
SCARCE, FEW = 1 << 24, 1000  # bytes and inodes left, below which a failure is likely the disk's
# what git and DVC say of faults that have one remedy, and that remedy
REMEDIES = {
    "dubious ownership": "The repository's folder must belong to who runs this, got another owner's; "
    "`git config --global --add safe.directory FOLDER` trusts it.",
    "failed to sign|No secret key": "The key that git signs with must be here, got none; `git config user.signingkey` "
    "names it, `git config commit.gpgsign false` and `git config tag.gpgsign false` do without.",
    r"\((fetch first|non-fast-forward)\)": "The remote must have nothing that is not here, got what another operator "
    "published meanwhile; `diva sync` puts what is yours on top of it.",
    "by hook|hook declined": "Hooks must let commits, tags and pushes of nights pass, got a refusal; see .git/hooks.",
    "requires 'dvc-": "The driver of the DVC remote's storage must be installed, got none; `pip install 'dvc[s3]'` "
    "brings that of s3, others alike.",
}
NO_REPOSITORY = (
    "The project must be a git repository with a commit, got none; `git init && git add -A && git commit -m 'Our data'`"
    " makes it one, in which nights publish versions."
)
TAIL = 30  # lines of a failed command that its error repeats

Log = Callable[[str], None]


class CommandError(ValueError):
    """A command failed; the message has its last lines."""


class PermanentError(CommandError):
    """The same command fails the same way again: trying it once more helps nobody."""


class BusyError(CommandError):
    """Another DVC process holds what this one needs: waiting helps."""


def git(*arguments: str, check: bool = True) -> str:
    """Output of a git command, without the last line break; "" where it failed and need not succeed."""
    return git_bytes(*arguments, check=check).decode("utf-8", "surrogateescape").rstrip("\n")


def git_bytes(*arguments: str, check: bool = True, given: bytes = b"") -> bytes:
    """Output of a git command that reads ``given``.

    It runs in a session of its own: killed with its caller, git would leave ``.git/index.lock`` behind, in every later
    run's way; without its caller, it is done within moments.
    """
    done = subprocess.run(  # noqa: S603 - fixed words, names and paths of the project
        [_path("git"), *arguments], input=given, capture_output=True, check=False, start_new_session=True,
        env=os.environ | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
    )  # fmt: skip
    if done.returncode == 0:
        return done.stdout
    if check and re.search(rb"fatal: (not a git repository|ambiguous argument 'HEAD': unknown)", done.stderr):
        raise PermanentError(NO_REPOSITORY)
    if check:
        output = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
        message = f"{remedy(output)}git {' '.join(arguments)} failed:\n{output}{room()}"
        raise kind(output)(plain(redacted(message)))
    return b""


def git_push(*arguments: str) -> None:
    """``git push``: it may take long, so it ends with its caller."""
    stream([_path("git"), "push", *arguments], logger.info)


def _path(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise CommandError(f"{program} must be installed, got no such command.")
    return path


def stream(command: Sequence[str], log: Log, lock: Path = COMMAND, name: str = "") -> None:
    """A command, each line of its output to ``log``; errors call it by its ``name``, or as it stands.

    Raises:
        BusyError: another DVC process is at work.
        CommandError: anything else went wrong.
    """
    tail: deque[str] = deque(maxlen=TAIL)
    with leashed(command, lock) as process:
        for line in _lines(process):
            tail.append(line)
            log(line)
        status = process.wait()
    if status:
        text = "\n".join(tail)
        words = name or " ".join([Path(command[0]).name, *command[1:]])
        raise kind(text)(redacted(f"{remedy(text)}{words} failed:\n{text}{room()}"))


def remedy(output: str) -> str:
    """One sentence on a failure that has a remedy of its own, as a line; "" for others."""
    return next((f"{sentence}\n" for sign, sentence in REMEDIES.items() if re.search(sign, output)), "")


def kind(output: str) -> type[CommandError]:
    """Of error, by what a failed command said."""
    for kind, signs in ((BusyError, BUSY), (PermanentError, PERMANENT)):
        if any(sign in output for sign in signs):
            return kind
    return PermanentError if remedy(output) else CommandError


def room() -> str:
    """What to do about a disk with hardly any room, which DVC does not always name; "" where there is enough."""
    if not hasattr(os, "statvfs"):
        return ""
    disk = os.statvfs(".")
    if disk.f_bavail * disk.f_frsize < SCARCE:
        return f"\nThe disk has {disk.f_bavail * disk.f_frsize >> 10} kB left: make room, then run again."
    if disk.f_files and disk.f_favail < FEW:  # some file systems have no such limit
        return f"\nThe disk has {disk.f_favail} inodes left: delete files, then run again."
    return ""


def _lines(process: "subprocess.Popen[str]") -> Iterator[str]:
    for line in process.stdout or ():
        if text := plain(redacted(line.rstrip())):  # URLs of remotes may hold a login, names may steer a terminal
            yield text


@contextmanager
def leashed(
    command: Sequence[str], lock: Path = COMMAND, output: int = subprocess.PIPE
) -> "Iterator[subprocess.Popen[str]]":
    """A process that ends with this block, and with this process; two with one ``lock`` run one after the other."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    own = str(Path(sys.executable).parent)  # stages are started as `python -m stages.<verb>`
    environment = os.environ | {
        "PATH": os.pathsep.join([own, os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }
    process = subprocess.Popen(  # noqa: S603 - as above
        [sys.executable, "-m", "diva.versions.leash", str(lock), *command], stdin=subprocess.PIPE,
        stdout=output, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True, env=environment,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.stdin:
            process.stdin.close()  # the leash: a command that still runs is killed
        process.wait()
        if process.stdout:
            process.stdout.close()


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables within the block, and what they were before after it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
