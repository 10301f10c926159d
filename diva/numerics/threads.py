"""Chunks in as many threads as torch has, each with single-threaded products; their results in the order of the chunks.

What is summed is summed in that order, so that no result depends on the number of threads. The libraries' own threads
are held to one meanwhile: OpenBLAS's wait by spinning, which made torch's small operations five to eight times slower.
torch and `diva.numerics.blas` release the interpreter's lock while they compute.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import chain, islice
from typing import Any, TypeVar

import torch
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]
from torch import Tensor

from diva.numerics.chunks import Chunk
from diva.numerics.products import Workspace

R = TypeVar("R")


def in_order(function: Callable[[Chunk, Tensor, Workspace], R], chunks: Iterator[tuple[Chunk, Tensor]]) -> Iterator[R]:
    """``function(chunk, α of its rows, buffers)`` of each chunk of `diva.numerics.ridge.weighted`.

    What the function returns may lie in the buffers: they are used again only when the next result is asked for.
    """
    first = list(islice(chunks, 2 if thread_count() > 1 else 0))
    if len(first) < 2 or first[0][0].features.device.type != "cpu":
        work = Workspace()
        yield from (function(*item, work) for item in chain(first, chunks))
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
        finally:
            pool.shutdown(cancel_futures=True)


def thread_count() -> int:
    """torch's, in the main thread; elsewhere (a worker of a cluster) one, because the setting is the process's."""
    return torch.get_num_threads() if threading.current_thread() is threading.main_thread() else 1


@contextmanager
def single_threaded_libraries() -> Iterator[int]:
    """Within, torch and every BLAS compute in the thread that calls them; gives the number of threads before."""
    count = thread_count()
    if count == 1:
        yield count
        return
    torch.set_num_threads(1)
    try:
        with _blas().limit(limits=1):
            yield count
    finally:
        torch.set_num_threads(count)


@cache
def _blas() -> Any:
    return ThreadpoolController().select(user_api="blas")
