"""Independent jobs over one pack, in several processes of one thread each, and what is said of their results.

The products here are too narrow for a second thread to pay; a second process halves the time. What a job returns does
not depend on where it ran.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

Arrays = dict[str, np.ndarray]

_here: Arrays = {}  # of a worker


class Workers:
    """Processes that hold the arrays of a pack; with one, the jobs run in this process.

    Args:
        arrays: of the pack.
        processes: how many; None for one a core.
    """

    def __init__(self, arrays: Arrays, processes: int | None = None) -> None:
        self.arrays = arrays
        self.processes = processes or len(os.sched_getaffinity(0))
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(self.processes, context, _start, (arrays,)) if self.processes > 1 else None

    def each(self, task: Callable[..., Any], jobs: Iterable[tuple[Any, ...]]) -> list[Any]:
        """``task(arrays, *job)`` of every job, in their order; task is a function of a module."""
        if self._pool is None:
            return [task(self.arrays, *job) for job in jobs]
        return list(self._pool.map(_run, [(task, job) for job in jobs]))

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _start(arrays: Arrays) -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)
    _here.update(arrays)


def _run(work: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    task, job = work
    return task(_here, *job)


def mean(name: str, values: Any) -> dict[str, float]:
    """Mean and deviation under the names of the results."""
    values = np.asarray(values, dtype=float)
    return {name: float(values.mean()), f"{name}_spread": float(values.std(ddof=1)) if len(values) > 1 else 0.0}


def gathered(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows of equal keys as a list a key."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in row.items():
            found.setdefault(key, []).append(value)
    return found
