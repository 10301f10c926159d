"""One run at a time: locks of the operating system on files, gone with the process that holds them, however it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

SCRATCH = Path(".dvc/tmp")  # git-ignored, this machine's
RUN = SCRATCH / "nightly.lock"  # of whoever changes ledger, data or history
REVIEW = SCRATCH / "review.lock"  # of whoever writes decisions that wait
COMMAND = SCRATCH / "leash.lock"  # of a DVC command at work
FORKS = SCRATCH / "forks.lock"  # of a run's fork server (`stages.fork_server`)


class RunningError(ValueError):
    """Another process holds the lock."""


def lock(path: Path) -> FileLock:
    """The lock of a path: one object a process, which may take it again."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    return FileLock(path.absolute(), is_singleton=True, thread_local=False)


@contextmanager
def exclusive(path: Path = RUN, refusal: str = "") -> Iterator[None]:
    """Hold a lock within the block; taken again by the process that holds it, it does nothing.

    Raises:
        RunningError: another process holds it; with ``refusal``, or which process it is.
    """
    try:
        with lock(path).acquire(blocking=False):
            path.write_text(f"process {os.getpid()}\n", encoding="utf-8")
            if path == RUN and lock(path).lock_counter == 1:
                with lock(FORKS):  # the last process of a killed run may still be writing
                    pass
            yield
    except Timeout:
        holder = path.read_text(encoding="utf-8").strip() or "just started"
        raise RunningError(refusal or f"Another run ({holder}) is at work here; it holds {path}.") from None
