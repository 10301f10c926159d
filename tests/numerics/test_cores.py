import os
import subprocess
import sys

import pytest

from diva.numerics.cores import memory, usable

MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
ASK = "import stages, torch, threadpoolctl, scipy.linalg; from diva.numerics.threads import thread_count as t; "
SHOW = "print(t(), torch.get_num_threads(), *{pool['num_threads'] for pool in threadpoolctl.threadpool_info()})"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, CORES),
        ({"cpu.max": "max 100000\n"}, CORES),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": f"{(CORES - 1) * 100000 + 1} 100000\n"}, CORES),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CORES),
        ({"cpu/cpu.cfs_quota_us": "90000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_a_control_groups_quota_limits_the_cores(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable(tmp_path) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, MEMORY),
        ({"memory.max": "max\n"}, MEMORY),
        ({"memory.max": "8388608\n"}, 8 << 20),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, MEMORY),
        ({"memory/memory.limit_in_bytes": "4194304\n"}, 4 << 20),
    ],
)
def test_a_control_groups_limit_is_all_the_memory_there_is(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory(tmp_path) == expected


@pytest.mark.parametrize("asked", [None, "3"])
def test_a_stage_computes_in_threads_of_its_own_and_its_libraries_in_one_each(asked):
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "DIVA_THREADS")}
    environment |= {} if asked is None else {"OMP_NUM_THREADS": asked}
    shown = subprocess.run([sys.executable, "-c", ASK + SHOW], env=environment, capture_output=True, check=True)
    assert shown.stdout.decode().split() == [asked or str(CORES), "1", "1"]
