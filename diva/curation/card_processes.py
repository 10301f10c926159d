"""Parts of the rows on the cards of this machine: a process for each card, which sees no other, without a cluster.

A part says where its rows lie: files and row numbers. Its card's process reads them there once, and they stay on that
card; what travels back are products. The processes begin with the first pass and end with the process that began them.
No result depends on the cards but in its last bits, and in those only because rows are cut into parts.
"""

import atexit
import itertools
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import get_context, parent_process
from typing import Any

import torch

from diva.numerics import cores, residence
from diva.numerics.device import cards
from diva.numerics.parallel import PartResult, added, apply, tree
from diva.store.streams import ahead

Arguments = Mapping[str, Any]

_lent: dict[int, Arguments] = {}  # in a card's process: what all parts of a pass share, by the number of the pass


class Plain:
    """A value that another process gets as a copy, its tensors on the device of the same name there.

    Left to itself torch would lend tensors instead: by shared memory, of which containers have little, and those of a
    card by a handle, which means nothing to a process that does not see this card.
    """

    def __init__(self, value: Any) -> None:
        self.content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self.content,)


class CardProcesses:
    """A mapper (`diva.numerics.parallel`) whose part number i goes to card i modulo their number, in every pass.

    Args:
        names: of the cards, as CUDA_VISIBLE_DEVICES has them; a process of none ("", "-1") computes on the CPU.

    Whoever makes one closes it; `processes` does so at the end of this process.
    """

    def __init__(self, names: Sequence[str]) -> None:
        spawned = get_context("spawn")  # CUDA survives no fork
        threads = max(1, max(torch.get_num_threads(), cores.reserved()) // len(names))
        self.names, self.numbers = tuple(names), itertools.count()
        self.processes = [ProcessPoolExecutor(1, spawned, begin, (name, threads)) for name in names]

    def __call__(
        self, function: Callable[..., Any], shared: Arguments, parts: Sequence[Arguments]
    ) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
        """Sums and rows of all parts, as `diva.numerics.parallel.in_turn` gives them, to the bit.

        Raises:
            ChildProcessError: a card's process ended.
            MemoryError: a card's memory does not suffice for a part.
        """
        rows: list[tuple[Any, ...]] = []

        def sums(number: int) -> Iterator[tuple[Any, ...]]:
            def started(part: tuple[int, Arguments]) -> tuple[int, Future[PartResult]]:
                card = part[0] % len(self.names)
                return card, self._submit(card, work, number, function, Plain(part[1]))

            for card, future in ahead(enumerate(parts), started, 2 * len(self.names)):  # one more waits at each card
                outcome = self._result(card, future)
                rows.append(outcome.rows)
                yield outcome.sums

        with self._lending(Plain(shared)) as number:
            return tree(sums(number), added), rows

    def close(self) -> None:
        """End the processes, once they have done what they were given."""
        for process in self.processes:
            process.shutdown()

    @contextmanager
    def _lending(self, shared: Plain) -> Iterator[int]:
        """Within, each process has what all parts share, by the number that is given: it travels once a pass."""
        number, every = next(self.numbers), range(len(self.names))
        for card in every:
            self._submit(card, lend, number, shared)
        try:
            yield number
        finally:
            for process in self.processes:
                with suppress(BrokenProcessPool):  # it has nothing any more
                    process.submit(take_back, number)

    def _submit(self, card: int, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        try:
            return self.processes[card].submit(function, *arguments)
        except BrokenProcessPool:
            raise self._ended(card) from None

    def _result(self, card: int, future: Future[PartResult]) -> PartResult:
        try:
            return future.result()
        except BrokenProcessPool:
            raise self._ended(card) from None
        except torch.OutOfMemoryError as error:
            wanting = str(error).partition(". ")[0]  # more of it speaks of the only card that the process sees
            raise MemoryError(
                f"card {self.names[card]} must have memory for a part of the rows, got {wanting}. "
                "Lower memory.rows or the chunk_size in params.yaml, or end what else uses the card."
            ) from None

    def _ended(self, card: int) -> ChildProcessError:
        return ChildProcessError(
            f"the process of card {self.names[card]} must last as long as the stage, got one that ended: what it said "
            "stands above, and where it said nothing the system killed it, mostly for want of memory. Run the stage "
            "anew; `device: cuda:0` in params.yaml takes one card, without such processes."
        )


def begin(name: str, threads: int) -> None:
    """In a new process: see the card ``name`` and no other, compute with its share of threads, end with the parent."""
    os.environ |= {"CUDA_VISIBLE_DEVICES": name, cores.THREADS: str(threads)}  # torch reads it when it needs a card
    torch.set_num_threads(min(torch.get_num_threads(), threads))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent has it, too, and ends this process
    threading.Thread(target=end_with_parent, daemon=True).start()
    residence.stay_anew()


def end_with_parent() -> None:
    """Wait for the parent's end, however it ends; then end this process, whatever it is at.

    A signal of the system would not do: it comes at the end of the thread that began the process.
    """
    if parent := parent_process():
        parent.join()
    os._exit(1)


def lend(number: int, shared: Arguments) -> None:
    """Keep what all parts of a pass share."""
    _lent[number] = shared


def take_back(number: int) -> None:
    """Forget it."""
    _lent.pop(number, None)


def work(number: int, function: Callable[..., Any], part: Arguments) -> Plain:
    """A `PartResult`: the function's of one part."""
    return Plain(apply(function, _lent[number], part))


@cache
def processes(names: tuple[str, ...]) -> CardProcesses:
    """Those of these cards, for all passes of this process; they end with it."""
    made = CardProcesses(names)
    atexit.register(made.close)  # later, Python would say that it has no modules any more
    return made


def mapper(device: torch.device) -> CardProcesses | None:
    """That of all cards, where ``device`` names none of several ("cuda"); None where one device is meant."""
    names = tuple(cards()) if device.type == "cuda" and device.index is None else ()
    return processes(names) if len(names) > 1 else None
