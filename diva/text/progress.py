"""How far work has come: loops say it with ``track``, and where ``shown`` is in force somebody sees it.

    with shown("fit"):                                   a stage, a command
        for chunk in track(chunks, n, "rows", rows_of)   any loop below it; loops within loops are left to the outermost

In a terminal a bar appears once the work takes long, with rate and time left; elsewhere the log gets a line now and
then. A thread of its own draws both, so a loop pays an addition per turn, and nothing where nobody looks.
"""

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO, TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")
PATIENCE = 2.0  # seconds without a bar: most work is done by then
QUIET = 30.0  # seconds between lines of a log
DRAWN = 0.2  # seconds between two states of the bar
LONG = 100_000  # from which a bar says 100k
CLEAR = "\r\x1b[K"


@dataclass(eq=False)
class Work:
    """A loop: what it counts, how much there is, how much is done, since when."""

    unit: str
    total: int
    done: int = 0
    begun: float = field(default_factory=time.monotonic)

    def told(self) -> str:
        """``1,200 of 5,000 rows, 400 rows/s, 10 s left``."""
        rate = self.done / max(time.monotonic() - self.begun, 1e-9)
        share = f"{self.done:,} of {self.total:,} {self.unit}" if self.total else f"{self.done:,} {self.unit}"
        if not self.done:
            return share
        speed = f"{rate:,.0f} {self.unit}/s" if rate >= 1 else f"{1 / rate:,.1f} s each"
        left = f", {max(0, self.total - self.done) / rate:,.0f} s left" if self.total else ""
        return f"{share}, {speed}{left}"

    def drawn(self, name: str, width: int) -> str:
        """The same as a bar."""
        from tqdm import tqdm  # where nobody looks, nobody waits for it

        elapsed, unit = time.monotonic() - self.begun, f" {self.unit}"
        text: str = tqdm.format_meter(
            self.done, self.total, elapsed, ncols=width - 1, prefix=name, unit=unit,
            unit_scale=max(self.done, self.total) >= LONG,
        )  # fmt: skip
        return text


class Display:
    """Shows the outermost loop of one thread.

    Args:
        name: of the stage or command.
        stream: where a bar is drawn, if that is a terminal.
        patience: seconds before the first sign.
    """

    def __init__(self, name: str, stream: TextIO, patience: float = PATIENCE) -> None:
        self.name, self.stream, self.patience = name, stream, patience
        self.terminal = stream.isatty()
        self.owner, self.works = threading.get_ident(), list[Work]()
        self.ended, self.lock, self.visible = threading.Event(), threading.Lock(), False
        self.begun = self.said = time.monotonic()
        self.thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def _watch(self) -> None:
        while not self.ended.wait(DRAWN):
            works = self.works[:1]
            if time.monotonic() - self.begun < self.patience:
                continue
            if self.terminal:
                self._draw(works)
            elif works and time.monotonic() - self.said >= QUIET:
                self.said = time.monotonic()
                logger.info("%s: %s", self.name, works[0].told())

    def _draw(self, works: list[Work]) -> None:
        text = works[0].drawn(self.name, shutil.get_terminal_size().columns) if works else ""
        with self.lock:
            if text or self.visible:
                self.stream.write(CLEAR + text)
                self.stream.flush()
            self.visible = bool(text)

    def write(self, text: str) -> int:
        """Write to the stream, above the bar."""
        with self.lock:
            if self.visible:
                self.stream.write(CLEAR)
                self.visible = False
            return self.stream.write(text)

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()

    def end(self) -> None:
        """Take the bar away."""
        self.ended.set()
        self.thread.join()
        self._draw([])


_display: Display | None = None


@contextmanager
def shown(name: str, patience: float = PATIENCE) -> Iterator[None]:
    """Within the block, loops of this thread show how far they are, on stderr; blocks within it change nothing."""
    global _display  # the terminal is one, too
    if _display is not None:
        yield
        return
    display = _display = Display(name, sys.stderr, patience)
    handlers = [handler for handler in logging.getLogger().handlers if getattr(handler, "stream", None) is sys.stderr]
    for handler in handlers:
        handler.stream = display  # type: ignore[attr-defined]
    display.thread.start()
    try:
        yield
    finally:
        display.end()
        for handler in handlers:
            handler.stream = display.stream  # type: ignore[attr-defined]
        _display = None


def track(items: Iterable[T], total: int, unit: str, size: Callable[[T], int] | None = None) -> Iterator[T]:
    """The items, each counted once the loop has done with it.

    Args:
        items: what is looped over.
        total: how many there are, or the sum of their sizes; 0 where nobody knows.
        unit: what is counted, in the plural.
        size: of an item; 1 unless given.
    """
    display = _display
    if display is None or display.owner != threading.get_ident():
        yield from items
        return
    work = Work(unit, total)
    display.works.append(work)
    try:
        for item in items:
            yield item
            work.done += 1 if size is None else size(item)
    finally:
        display.works.remove(work)


def rows_of(chunk: Any) -> int:
    """Size of a chunk: its rows."""
    return len(chunk[1])
