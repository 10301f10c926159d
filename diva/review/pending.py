"""Decisions that were made and are not published yet: data/reviews/pending.csv, whole on disk after each of them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import polars as pl

from diva.store import decisions, paths
from diva.store.decisions import Decision, Reviewable
from diva.versions.locks import REVIEW, exclusive


class Pending:
    """The decisions of a review that goes on.

    Args:
        about: tells what there is to decide about now.
        file: where they are kept; decisions that lie there already are taken over, on samples taken down since, too:
            they wait until ``overtaken`` names them.
        reviewer: who decides; None where nobody says so.

    Raises:
        ValueError: the file holds what is no decision (any more).
    """

    def __init__(
        self, about: Callable[[], Reviewable], file: Path = paths.PENDING, reviewer: str | None = None
    ) -> None:
        self.about, self.file, self.reviewer = about, file, reviewer
        stored = read(file, about()) if file.exists() else decisions.frame([])
        self._decisions = {row[0]: Decision(*row) for row in stored.iter_rows()}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._decisions)

    def __iter__(self) -> Iterator[Decision]:
        return iter(list(self._decisions.values()))

    def put(self, raw: Decision) -> None:
        """Keep a decision; a later one on the same sample takes its place. ValueError where it cannot be."""
        decision = decisions.checked(raw._replace(reviewer=self.reviewer), self.about())
        with self._lock:
            self._write({**self._decisions, decision.sample_id: decision})

    def drop(self, sample_id: str) -> bool:
        """Take a decision back; whether there was one."""
        with self._lock:
            if sample_id not in self._decisions:
                return False
            self._write({name: decision for name, decision in self._decisions.items() if name != sample_id})
            return True

    def _write(self, remaining: dict[str, Decision]) -> None:
        if remaining:
            decisions.write(self.file, remaining.values())
        else:
            self.file.unlink(missing_ok=True)
        self._decisions = remaining  # only once it is on disk


def read(file: Path, about: Reviewable) -> pl.DataFrame:
    """The decisions of a file, whether or not their samples were taken down since."""
    return decisions.read(file, replace(about, gone=frozenset()))


def overtaken(file: Path, about: Reviewable) -> tuple[pl.DataFrame, list[str]]:
    """The decisions of a file that can still be published, and the samples that were taken down since the others."""
    stored = read(file, about)
    gone = pl.col("sample_id").is_in(list(about.gone))
    return stored.filter(~gone), stored.filter(gone)["sample_id"].to_list()


def one_review() -> AbstractContextManager[None]:
    """Within the block nobody else changes the decisions that wait; ValueError where somebody does."""
    return exclusive(REVIEW, "no other review must go on here, got a server at work; end it (Ctrl-C) first.")
