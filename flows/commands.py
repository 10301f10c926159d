"""The ``git`` and ``dvc`` commands that flows run: logs streamed, failures as errors, no process left behind.

DVC's command line is stable, its Python API is not; so a line of its log is all that flows know of its progress.
"""

import fcntl
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from diva.store import atomic
from diva.text.harmless import plain
from diva.text.redaction import redacted

logger = logging.getLogger(__name__)
SCRATCH = Path(".dvc/tmp")  # git-ignored, this machine's
LEASH = SCRATCH / "leash.lock"
LOCK = Path("dvc.lock")
BUSY = ("Unable to acquire lock", "is busy, it is being blocked by")
DIGEST = re.compile(r"^[0-9a-f]{32}(\.dir)?$")
SCARCE, FEW = 1 << 24, 1000  # bytes and inodes left, below which a failure is likely the disk's
TAIL = 30  # lines of a failed command that its error repeats

Log = Callable[[str], None]


class CommandError(RuntimeError):
    """A command failed; the message has its last lines."""


class BusyError(CommandError):
    """Another DVC process holds what this one needs: waiting helps."""


def git(*arguments: str, check: bool = True) -> str:
    """Output of a git command, without the last line break; "" where it failed and need not succeed.

    It runs in a session of its own: killed with its caller, git would leave ``.git/index.lock`` behind, in every later
    run's way; left alone, it is done within moments.
    """
    done = subprocess.run(  # noqa: S603 - fixed words, names and paths of the project
        [_found("git"), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        start_new_session=True, env=os.environ | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
    )  # fmt: skip
    if done.returncode == 0:
        return done.stdout.rstrip("\n")
    if check:
        raise CommandError(
            plain(redacted(f"git {' '.join(arguments)} failed:\n{(done.stdout + done.stderr).strip()}{room()}"))
        )
    return ""


def git_push(*arguments: str) -> None:
    """``git push``: it may take long, so it ends with its caller."""
    _stream([_found("git"), "push", *arguments], logger.info)


def dvc(*arguments: str, log: Log = logger.info) -> None:
    """Run a DVC command, each line of its output to ``log``.

    Raises:
        BusyError: another DVC process is at work.
        CommandError: anything else went wrong.
    """
    repair()
    _stream([sys.executable, "-m", "dvc", *arguments], log)


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise CommandError(f"{program} must be installed, got no such command.")
    return path


def _stream(command: Sequence[str], log: Log) -> None:
    tail: deque[str] = deque(maxlen=TAIL)
    with leashed(command) as process:
        for line in _lines(process):
            tail.append(line)
            log(line)
        status = process.wait()
    if status:
        text = "\n".join(tail)
        kind = BusyError if any(sign in text for sign in BUSY) else CommandError
        words = " ".join(Path(command[0]).name if i == 0 else w for i, w in enumerate(command))
        raise kind(redacted(f"{words} failed:\n{text}{room()}"))


def room() -> str:
    """What to do about a disk with hardly any room, which DVC does not always name; "" where there is enough."""
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
    command: Sequence[str], lock: Path = LEASH, output: int = subprocess.PIPE
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
        [sys.executable, "-m", "flows.leash", str(lock), *command], stdin=subprocess.PIPE,
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


def repair() -> None:
    """Undo what a killed DVC may leave: it writes its lock files in place, so they may be cut short.

    A broken ``dvc.lock``, or a missing one, becomes the committed one (stages since then run again, or come from the
    cache); a broken list of running processes goes.
    """
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with LEASH.open("w") as file:  # the last process of a killed run may still be writing
        fcntl.flock(file, fcntl.LOCK_EX)
    running = SCRATCH / "rwlock"
    if running.is_file() and not _whole(running, json.loads):
        logger.warning("%s was cut short by a killed process; it goes.", running)
        running.unlink()
    known = git("show", f":{LOCK}", check=False)  # as it was last committed, or rolled back to
    if (known or LOCK.is_file()) and not _whole(LOCK, lambda text: _lock_content(text, known)):
        logger.warning("%s is missing or cut short; the committed one takes its place.", LOCK)
        if known:
            atomic.write_text(LOCK, known + "\n")
        else:
            LOCK.unlink()


def _whole(path: Path, read: Callable[[str], Any]) -> bool:
    try:
        read(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return False
    return True


def _lock_content(text: str, known: str = "") -> dict[str, Any]:
    """Stages of a lock file by name; an error where it is cut short, or lacks stages of another, ``known`` one."""
    # all scalars as text: a hash must never become a number
    stages: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))["stages"]  # noqa: S506
    for stage in stages.values():
        stage["cmd"]
        for entry in (*stage.get("deps", ()), *stage.get("outs", ())):
            if not DIGEST.match(entry["md5"]):
                raise ValueError(f"md5 must be 32 hexadecimal digits, got {entry['md5']}.")
    if known and not _lock_content(known).keys() <= stages.keys():
        raise ValueError("stages must be all that are known, got fewer.")
    return stages


def lock_file(commit: str | None = None) -> dict[str, Any]:
    """Stages of ``dvc.lock`` in the work tree, or at a commit; empty where there is none."""
    if commit:
        text = git("show", f"{commit}:{LOCK}", check=False)
    else:
        repair()
        text = LOCK.read_text(encoding="utf-8") if LOCK.is_file() else ""
    return _lock_content(text) if text else {}
