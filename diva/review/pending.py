"""Decisions that were made and are not published yet: data/reviews/pending.csv, whole on disk after each of them."""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diva.store import decisions, paths
from diva.store.decisions import Decision, Known

RUNNING = Path(".dvc/tmp/review.lock")  # held by whoever writes the file


class Pending:
    """The decisions of a review that goes on.

    Args:
        about: what there is to decide about.
        file: where they are kept; decisions that lie there already are taken over.

    Raises:
        ValueError: the file holds what is no decision (any more).
    """

    def __init__(self, about: Known, file: Path = paths.PENDING) -> None:
        self.about, self.file = about, file
        found = decisions.read(file, about) if file.exists() else decisions.frame([])
        self._kept = {row[0]: Decision(*row) for row in found.iter_rows()}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Decision]:
        return iter(list(self._kept.values()))

    def put(self, raw: Decision) -> None:
        """Keep a decision; a later one on the same sample takes its place. ValueError where it cannot be."""
        decision = decisions.checked(raw, self.about)
        with self._lock:
            self._write({**self._kept, decision.sample_id: decision})

    def drop(self, sample_id: str) -> bool:
        """Take a decision back; whether there was one."""
        with self._lock:
            if sample_id not in self._kept:
                return False
            self._write({name: kept for name, kept in self._kept.items() if name != sample_id})
            return True

    def _write(self, kept: dict[str, Decision]) -> None:
        if kept:
            decisions.write(self.file, kept.values())
        else:
            self.file.unlink(missing_ok=True)
        self._kept = kept  # only once it is on disk


@contextmanager
def alone() -> Iterator[None]:
    """Within the block nobody else changes the decisions that wait; ValueError where somebody does."""
    RUNNING.parent.mkdir(parents=True, exist_ok=True)
    with RUNNING.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError("no other review must go on here, got a server at work; end it (Ctrl-C) first.") from None
        yield
