"""What the project holds now: a server stays open while batches arrive and samples are taken down."""

import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from diva.review import images
from diva.review.images import Gallery
from diva.store import ledger, paths
from diva.store.decisions import Reviewable
from diva.versions import labelling, reviews, takedowns

HEAD = 10_000  # bytes of a report's beginning, in which what it leaves out is said


class Current:
    """What there is to decide about and to show, read anew once the ledger is another.

    Args:
        root: the project's folder, which is the working directory.

    Raises:
        ValueError: there is no project, or a part of it is missing.
    """

    def __init__(self, root: Path) -> None:
        self.root, self._lock, self._seen = root, threading.Lock(), _stamp()
        book = ledger.read()
        self._about, self._gallery = reviews.reviewable(book), Gallery(images.samples(book), root)

    def about(self) -> Reviewable:
        """What there is to decide about."""
        with self._lock:
            self._look()
            return self._about

    def gallery(self) -> Gallery:
        """Images of samples."""
        with self._lock:
            self._look()
            return self._gallery

    def suggestions(self) -> list[dict[str, Any]]:
        """Samples to label next that still wait, the first first."""
        rows = labelling.asked(ledger.read())
        return rows.select("sample_id", "path", "suggested_label", "probability", "reason").to_dicts()

    def _look(self) -> None:
        """Read anew; of a delivery that is on its way, the ledger knows before its tables are there: ask again then."""
        stamp = _stamp()
        if stamp == self._seen:
            return
        with suppress(ValueError, OSError):
            book = ledger.read()
            self._about = replace(self._about, gone=frozenset(reviews.forgotten(book)["sample_id"]))
            self._about, self._gallery = reviews.reviewable(book), Gallery(images.samples(book), self.root)
            self._seen = stamp

    def is_overtaken(self) -> bool:
        """Whether samples were taken down that the report does not leave out: made before, or brought back since."""
        gone = takedowns.read()["sample_id"]
        if gone.is_empty():
            return False
        with suppress(OSError), paths.REPORT.open("rb") as file:
            return f'<meta name="diva-takedowns" content="{takedowns.digest(gone)}">'.encode() not in file.read(HEAD)
        return False


def _stamp() -> tuple[tuple[int, int, int] | None, ...]:
    """Tells one state of ledger, takedowns and tables from another: files are replaced, never written over."""
    tables = (paths.manifest("core").parent, paths.pool("b000").parent, paths.curated("r000").parent)
    return tuple(_state(path) for path in (paths.LEDGER, takedowns.FILE, *tables))


def _state(path: Path) -> tuple[int, int, int] | None:
    with suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns, status.st_size
    return None
