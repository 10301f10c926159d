"""Chunks in as many threads as torch has or `cores` reserved, each with single-threaded products; results in order.

What is summed is summed in that order, so that no result depends on the number of threads. The libraries' own threads
are held to one meanwhile: OpenBLAS's wait by spinning, which made torch's small operations five to eight times slower.
torch and `diva.numerics.blas` release the interpreter's lock while they compute.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import chain, islice
from typing import Any, TypeVar

import torch
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]
from torch import Tensor

from diva.numerics.chunks import Chunk
from diva.numerics.cores import reserved
from diva.numerics.products import Workspace

R = TypeVar("R")
T = TypeVar("T")

_shared = [1]  # threads of the libraries that are held to one each, in the contexts that are open


def in_order(function: Callable[[Chunk, Tensor, Workspace], R], chunks: Iterator[tuple[Chunk, Tensor]]) -> Iterator[R]:
    """``function(chunk, α of its rows, buffers)`` of each chunk of `diva.numerics.ridge.weighted`.

    What the function returns may lie in the buffers: they are used again only when the next result is asked for.
    """
    first = list(islice(chunks, 2 if thread_count() > 1 else 0))
    if len(first) < 2 or first[0][0].features.device.type != "cpu":
        work = Workspace()
        yield from (function(*item, work) for item in chain(first, chunks))
        work.conditions.settle()
        return
    with single_threaded_libraries() as count, ThreadPoolExecutor(count) as pool:
        buffers = [Workspace() for _ in range(count + 1)]
        pending: deque[Future[R]] = deque()
        try:
            for number, item in enumerate(chain(first, chunks)):
                if len(pending) == len(buffers):
                    yield pending.popleft().result()
                pending.append(pool.submit(function, *item, buffers[number % len(buffers)]))
            while pending:
                yield pending.popleft().result()
            for work in buffers:
                work.conditions.settle()
        finally:
            pool.shutdown(cancel_futures=True)


def thread_count() -> int:
    """torch's or those reserved; outside the main thread (a worker of a cluster) one: both are the process's."""
    if threading.current_thread() is not threading.main_thread():
        return 1
    return max(torch.get_num_threads(), reserved(), _shared[-1])


@contextmanager
def single_threaded_libraries() -> Iterator[int]:
    """Within, torch and every BLAS compute in the thread that calls them; gives the number of threads before."""
    count, before = thread_count(), torch.get_num_threads()
    if 1 in (count, before):
        yield count
        return
    _shared.append(count)
    torch.set_num_threads(1)
    try:
        with _blas().limit(limits=1):
            yield count
    finally:
        torch.set_num_threads(before)
        _shared.remove(count)


def side_by_side(function: Callable[[T], None], items: Sequence[T]) -> None:
    """``function`` of each item, in as many threads as compute, each with single-threaded products."""
    with single_threaded_libraries() as count, ThreadPoolExecutor(min(count, len(items))) as pool:
        list(pool.map(function, items))


@cache
def _blas() -> Any:
    return ThreadpoolController().select(user_api="blas")
