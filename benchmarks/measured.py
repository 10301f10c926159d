"""Time and memory of one piece of work, in a process of its own; needs numpy only, so that the peers can use it.

    python -m benchmarks.peers.NAME PROBLEM.npz RESULT.npz [CPU_SECONDS]

PROBLEM.npz holds x_train (n, p), y_train (n,) codes and seed; RESULT.npz gets suspicion (n,), high = suspicious,
flagged (n,) where the peer flags by itself, and the measurements. Loading the data and importing are not counted. A run
that needs more than CPU_SECONDS is ended by the system.
"""

import math
import re
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Work = Callable[[Array, Array, int], Mapping[str, Array]]


def measure(work: Work, problem: Path, result: Path) -> None:
    """Runs ``work(x, y, seed)`` once and writes what it returns beside wall seconds, CPU seconds and peak MiB.

    The peak is the largest resident memory while working, less what was resident before it began.
    """
    with np.load(problem, allow_pickle=False) as file:
        x, y, seed = file["x_train"], file["y_train"], int(file["seed"])
    before = reset_peak()
    wall, processor = time.perf_counter(), time.process_time()
    found = work(x, y, seed)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = peak_since(before)
    np.savez(result, seconds=wall, cpu_seconds=processor, peak_mib=peak, **found)


def main(work: Work) -> None:
    """The command line of a peer."""
    problem, result, *limit = sys.argv[1:]
    if limit:
        allow(float(limit[0]))
    measure(work, Path(problem), Path(result))


def allow(cpu_seconds: float) -> None:
    """From here on the process may use this much processor time."""
    most = math.ceil(time.process_time() + cpu_seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))


def reset_peak() -> int:
    """Forgets the peak so far (Linux); KiB resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return _status("VmRSS")


def peak_since(before: int) -> float:
    """MiB by which the peak exceeds what ``reset_peak`` gave."""
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) if found else 0
