"""What this process may use of the machine: memory, and threads, which are decided before any library is loaded.

The libraries' own pools get one thread each. Idle threads of OpenMP and OpenBLAS spin: on small products they took
twice the processor seconds and more time than one thread, so work is shared out here instead, as chunks of rows in
threads of their own (`diva.numerics.threads`).
"""

import os
from pathlib import Path

THREADS = "DIVA_THREADS"  # handed on to every stage that a process starts
MEMORY = "DIVA_MEMORY"  # bytes that rows which stay may take, as params.yaml says
LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))  # of cgroups, second and first version

LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


def reserve() -> None:
    """Set this process's environment: as many threads as OMP_NUM_THREADS asks for, or as there are cores to use."""
    os.environ.setdefault(THREADS, os.environ.get("OMP_NUM_THREADS") or str(usable()))
    os.environ.update(dict.fromkeys(LIBRARIES, "1"))


def reserved() -> int:
    """Threads that share out the work; 1 where nobody called `reserve`."""
    return max(1, int(os.environ.get(THREADS, "1")))


def usable(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may run on, at most what its control group's quota pays for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in QUOTAS:
        files = [cgroup / name for name in names]
        if all(file.is_file() for file in files):
            quota, period = " ".join(file.read_text(encoding="utf-8") for file in files).split()[:2]
            if quota not in ("max", "-1"):
                cores = min(cores, -(-int(quota) // int(period)))
    return max(1, cores)


def memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that there are for this process: the machine's, at most what its control group may take."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [(cgroup / name).read_text(encoding="utf-8").strip() for name in LIMITS if (cgroup / name).is_file()]
    return min([machine, *(int(limit) for limit in limits if limit.isdecimal())])


def granted() -> int | None:
    """Bytes that rows which stay in memory may take; None where nobody said."""
    return int(os.environ[MEMORY]) if MEMORY in os.environ else None
