"""How far work has come: loops say it with ``track``, and within ``shown`` it is seen.

    with shown("fit"):                                   a stage, a command
        for chunk in track(chunks, n, "rows", rows_of)   any loop below it; of nested loops, the outermost is shown

In a terminal tqdm draws a bar once the loop takes long; elsewhere the log gets a line now and then.
"""

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")
PATIENCE = 2.0  # seconds of a loop without a sign: most are done by then
QUIET = 30.0  # seconds between lines of a log
DRAWN = 0.2  # seconds between two states of a bar
LONG = 100_000  # from which a bar says 100k


@dataclass
class Display:
    """Shows the outermost loop of the thread that made it.

    Attributes:
        name: of the stage or command.
        patience: seconds before a loop's first sign.
        bar: of the loop that runs, None between loops.
    """

    name: str
    patience: float
    bar: Any = None
    owner: int = field(default_factory=threading.get_ident)


@dataclass
class LogBar:
    """A loop in a log: a line every ``QUIET`` seconds."""

    name: str
    unit: str
    total: int
    patience: float = PATIENCE
    done: int = 0
    begun: float = field(default_factory=time.monotonic)
    logged: float = field(default_factory=time.monotonic)

    def update(self, size: int) -> None:
        """Count what was done since the last call."""
        self.done += size
        now = time.monotonic()
        if now - self.begun >= self.patience and now - self.logged >= QUIET:
            self.logged = now
            logger.info("%s: %s", self.name, self.described())

    def described(self) -> str:
        """``1,200 of 5,000 rows, 400 rows/s, 10 s left``."""
        rate = self.done / max(time.monotonic() - self.begun, 1e-9)
        share = f"{self.done:,} of {self.total:,} {self.unit}" if self.total else f"{self.done:,} {self.unit}"
        if not self.done:
            return share
        speed = f"{rate:,.0f} {self.unit}/s" if rate >= 1 else f"{1 / rate:,.1f} s each"
        remaining = f", {max(0, self.total - self.done) / rate:,.0f} s left" if self.total else ""
        return f"{share}, {speed}{remaining}"

    def close(self) -> None:
        """Nothing: the next line comes when it is due."""


_display: Display | None = None


@contextmanager
def shown(name: str, patience: float = PATIENCE) -> Iterator[None]:
    """Within the block, loops of this thread show how far they are, on stderr; blocks within it change nothing."""
    global _display  # the terminal is one, too
    if _display is not None:
        yield
        return
    _display = Display(name, patience)
    try:
        with _log_above_bars():
            yield
    finally:
        _display = None


def _log_above_bars() -> Any:
    if not sys.stderr.isatty():
        return nullcontext()
    from tqdm.contrib.logging import logging_redirect_tqdm

    return logging_redirect_tqdm()


def bar_of(display: Display, total: int, unit: str) -> Any:
    """What counts a loop: tqdm's bar in a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        return LogBar(display.name, unit, total, display.patience)
    from tqdm import tqdm  # where nobody looks, nobody waits for it

    size = shutil.get_terminal_size()  # tqdm asks the terminal alone, some of which have no size
    return tqdm(
        total=total or None, desc=display.name, unit=f" {unit}", unit_scale=not total or total >= LONG, leave=False,
        delay=display.patience, mininterval=DRAWN, miniters=1,
        ncols=size.columns - 1, nrows=size.lines,
    )  # fmt: skip


def track(items: Iterable[T], total: int, unit: str, size: Callable[[T], int] | None = None) -> Iterator[T]:
    """The items, each counted once the loop has done with it.

    Args:
        items: what is looped over.
        total: how many there are, or the sum of their sizes; 0 where nobody knows.
        unit: what is counted, in the plural.
        size: of an item; 1 unless given.
    """
    display = _display
    if display is None or display.bar is not None or display.owner != threading.get_ident():
        yield from items
        return
    bar = display.bar = bar_of(display, total, unit)
    try:
        for item in items:
            yield item
            bar.update(1 if size is None else size(item))
    finally:
        bar.close()
        display.bar = None


def rows_of(chunk: Any) -> int:
    """Size of a chunk: its rows."""
    return len(chunk[1])
