"""Computations over the same rows side by side, which read them together: a pass that several begin is made once.

Each computes in a thread of its own as if it were by itself, and stops where it asks for the next chunk. When all of
them wait for a pass to begin, it is made, in the thread that called, and each chunk is handed to those that asked for
these rows. So the results are those of one computation after the other, to the bit. As many compute at a time as there
are threads to share out (`diva.numerics.threads`).
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, TypeVar

from diva.numerics.threads import single_threaded_libraries

T = TypeVar("T")
NOTHING, END = object(), object()

_own = threading.local()  # the computation of this thread, if it is one of several


class BrokenOffError(RuntimeError):
    """Another of the computations failed."""


def together(functions: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each function gives; passes that they begin over one `diva.numerics.residence.Resident` are shared.

    The first error, in the order of the functions, is raised once all have stopped.
    """
    if len(functions) < 2 or getattr(_own, "computation", None) is not None:
        return [function() for function in functions]
    with single_threaded_libraries() as count:
        return _Passes(functions, count).run()


def joined(source: object, begin: Callable[[], Iterator[T]]) -> Iterator[T]:
    """The items of a pass over ``source`` that ``begin`` would make, together with others that want one."""
    computation = getattr(_own, "computation", None)
    if computation is None or computation.source is not None:  # a pass within a pass is by itself
        return begin()
    return computation.items(source, begin)  # type: ignore[no-any-return]


class _Computation(threading.Thread):
    """One of several, what it waits for, and what came of it."""

    def __init__(self, function: Callable[[], Any], passes: "_Passes") -> None:
        super().__init__(daemon=True)
        self.function, self.passes = function, passes
        self.source: object = None  # of the pass that it waits for, or takes part in
        self.begin: Callable[[], Iterator[Any]] | None = None  # makes the pass that it waits for
        self.turn: object = None  # the pass that it takes part in
        self.item: Any = NOTHING  # handed to it
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        _own.computation = self
        try:
            with self.passes.computing:
                self.result = self.function()
        except BaseException as error:
            self.error = error
        with self.passes.changed:
            self.turn = None
            self.passes.running.remove(self)
            self.passes.changed.notify_all()

    def items(self, source: object, begin: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """Of a pass that is made when all others wait, too."""
        self.source, self.begin = source, begin
        try:
            while (item := self._next()) is not END:
                yield item
        finally:
            with self.passes.changed:
                self.source, self.begin, self.turn, self.item = None, None, None, NOTHING
                self.passes.changed.notify_all()

    def _next(self) -> Any:
        self.passes.computing.release()
        try:
            with self.passes.changed:
                self.item = NOTHING
                self.passes.changed.notify_all()
                self.passes.changed.wait_for(lambda: self.item is not NOTHING or self.passes.failed)
                if self.passes.failed:
                    raise BrokenOffError
                return self.item
        finally:
            self.passes.computing.acquire()


class _Passes:
    """Passes of several computations."""

    def __init__(self, functions: Sequence[Callable[[], Any]], count: int) -> None:
        self.changed, self.computing, self.failed = threading.Condition(), threading.Semaphore(count), False
        self.computations = [_Computation(function, self) for function in functions]
        self.running = list(self.computations)

    def run(self) -> list[Any]:
        """The results, when all computations have ended."""
        for computation in self.computations:
            computation.start()
        try:
            while waiting := self._waiting():
                self._make(waiting)
        finally:
            with self.changed:
                self.failed = True
                self.changed.notify_all()
            for computation in self.computations:
                computation.join()
        ended, self.computations = self.computations, []  # no cycle keeps rows in memory
        errors = [computation.error for computation in ended if computation.error]
        for error in sorted(errors, key=lambda error: isinstance(error, BrokenOffError)):
            raise error
        return [computation.result for computation in ended]

    def _waiting(self) -> list[_Computation]:
        """Those that want the pass that the first of them wants, once all wait; none where one failed, or all ended."""
        with self.changed:
            self.changed.wait_for(lambda: self._broken() or all(each.begin for each in self.running))
            if self._broken() or not self.running:
                return []
            source = self.running[0].source
            return [each for each in self.running if each.source is source]

    def _make(self, waiting: list[_Computation]) -> None:
        turn, begin = object(), waiting[0].begin
        for each in waiting:
            each.begin, each.turn = None, turn
        with closing(begin()) as items:  # type: ignore[misc,type-var]
            for item in items:
                if not self._hand(item, turn, waiting):
                    return
        self._hand(END, turn, waiting)

    def _hand(self, item: object, turn: object, waiting: list[_Computation]) -> bool:
        """Give it to those that are still in the pass, each when it has done with the last; whether there are any."""
        with self.changed:
            for each in waiting:
                self.changed.wait_for(
                    lambda each=each: each.item is NOTHING or each.turn is not turn or self._broken()  # type: ignore[misc]
                )
                if each.turn is turn:
                    each.item = item
            self.changed.notify_all()
            return not self._broken() and any(each.turn is turn for each in waiting)

    def _broken(self) -> bool:
        return any(each.error for each in self.computations)
