"""Decisions that were made and are not published yet: data/reviews/pending.csv, whole on disk after each of them."""

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl

from diva.store import decisions, paths
from diva.store.decisions import Decision, Known

RUNNING = Path(".dvc/tmp/review.lock")  # held by whoever writes the file


class Pending:
    """The decisions of a review that goes on.

    Args:
        about: tells what there is to decide about now.
        file: where they are kept; decisions that lie there already are taken over, on samples taken down since, too:
            they wait until ``overtaken`` names them.

    Raises:
        ValueError: the file holds what is no decision (any more).
    """

    def __init__(self, about: Callable[[], Known], file: Path = paths.PENDING) -> None:
        self.about, self.file = about, file
        found = read(file, about()) if file.exists() else decisions.frame([])
        self._kept = {row[0]: Decision(*row) for row in found.iter_rows()}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Decision]:
        return iter(list(self._kept.values()))

    def put(self, raw: Decision) -> None:
        """Keep a decision; a later one on the same sample takes its place. ValueError where it cannot be."""
        decision = decisions.checked(raw, self.about())
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


def read(file: Path, about: Known) -> pl.DataFrame:
    """The decisions of a file, whether or not their samples were taken down since."""
    return decisions.read(file, replace(about, gone=frozenset()))


def overtaken(file: Path, about: Known) -> tuple[pl.DataFrame, list[str]]:
    """The decisions of a file that can still be published, and the samples that were taken down since the others."""
    found = read(file, about)
    gone = pl.col("sample_id").is_in(list(about.gone))
    return found.filter(~gone), found.filter(gone)["sample_id"].to_list()


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
