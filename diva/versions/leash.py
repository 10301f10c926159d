"""Runs a command that ends when its parent does, however that ends: ``python -m diva.versions.leash LOCK COMMAND…``.

``dvc repro`` survives the death of its caller, and so does the stage that it runs: two runs would then write the same
files. So the caller starts the command through this module and keeps the other end of its standard input. When that end
closes (the caller was killed, or left), the command's whole process group is killed and waited for, and all else of a
session that is the leash's own; until then ``LOCK`` is held, so that a command started by the next run waits for the
last process of this one.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def run(lock: Path, command: list[str]) -> int:
    """Exit status of the command; 128 + 9 where it was killed with its parent."""
    adopt_orphans()
    with FileLock(lock):
        child = subprocess.Popen(  # noqa: S603 - the caller's own
            command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=end_with_parent
        )
        threading.Thread(target=end_with, args=(sys.stdin.fileno(), child), daemon=True).start()
        status = child.wait()
        end(child.pid)  # what the command left behind
        reap()
    return status if status >= 0 else 128 - status


def end_with_parent() -> None:
    """Let the system kill this process when its parent, the leash, is killed (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of what the command's processes leave behind, so that it can be waited for (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with(pipe: int, child: subprocess.Popen[bytes]) -> None:
    """Wait until nobody holds the other end of ``pipe``, which is never written to; then end the child."""
    os.read(pipe, 1)
    end(child.pid)


def end(group: int) -> None:
    """Kill a process group, if it is still there, and what else is of this process's session, if that is its own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    while os.getsid(0) == os.getpid() and (others := companions()):
        for process in others:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)


def companions() -> list[int]:
    """Living processes of this one's session (Linux)."""
    others = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, session = (folder / "stat").read_text().rpartition(") ")[2].split()[:4]
            if int(session) == os.getpid() != int(folder.name) and state not in "ZX":
                others.append(int(folder.name))
    return others


def reap() -> None:
    """Wait for every child."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
