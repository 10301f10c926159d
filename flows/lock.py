"""One run at a time: a lock of the operating system on a file, gone with the process that holds it, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.commands import SCRATCH

PATH = SCRATCH / "nightly.lock"
_held: set[Path] = set()


class RunningError(RuntimeError):
    """Another run is at work."""


@contextmanager
def only_run(path: Path = PATH) -> Iterator[None]:
    """Hold the lock within the block; taken again by the process that holds it, it does nothing.

    Raises:
        RunningError: another process holds it; the message says which.
    """
    whole = path.absolute()
    if whole in _held:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise RunningError(
                f"Another run ({file.read().strip() or 'just started'}) is at work here; it holds {path}."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()}\n")
        file.flush()
        _held.add(whole)
        try:
            yield
        finally:
            _held.discard(whole)
