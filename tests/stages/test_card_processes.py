"""A stage's processes for cards begin also in a fork of the fork server, run no stage, and end with theirs."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.projects.checkout import ROOT
from tests.projects.processes import alive, eventually

pytestmark = [
    pytest.mark.xdist_group("cards"),
    pytest.mark.skipif(sys.platform != "linux", reason="the fork server's sockets"),
]
PROBE = """
import os, signal, sys
import torch
from diva.curation.card_processes import processes
from diva.numerics.chunks import InMemory
from diva.numerics.parallel import Parts
from diva.numerics.ridge import moments

if __name__ == "__main__":
    two, z = processes(("-1", "-2")), torch.ones(6, 2)
    chunks = Parts([InMemory(z, torch.zeros(6, dtype=torch.int64))] * 3, two)
    print(os.getpid(), *(process.submit(os.getpid).result() for process in two.processes))
    print(int(moments(chunks, 1).cross[0, 0]), "DIVA_FORK_SERVER" in os.environ, flush=True)  # a fork has it no more
    sys.argv[1:] == ["wait"] and signal.pause()
    sys.argv[1:] == ["error"] and sys.exit("It went wrong.")
"""


@pytest.fixture
def start(tmp_path):
    """Starts a command in a folder with the project's code and a stage ``probe``, which computes on two cards."""
    for folder in ("diva", "stages"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "stages/probe.py").write_text(PROBE)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(tmp_path)}
    return lambda *command: subprocess.Popen(
        [sys.executable, "-m", *command], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("command", [("stages.probe", "error"), ("stages.fork_server", "python", "-m", "stages.probe")])
def test_the_processes_of_a_stage_run_no_stage_and_end_with_it(start, command):
    process = start(*command)
    said, errors = process.communicate(timeout=300)  # which waits for all that could still write
    first, *rest = said.splitlines()
    assert rest == ["18 False"]
    assert len(set(first.split())) == 3
    assert not any(alive(int(pid)) for pid in first.split())
    assert (process.returncode, errors) == ((1, "It went wrong.\n") if "error" in command else (0, ""))


@pytest.mark.parametrize("server", [(), ("stages.fork_server", "python", "-m")])
def test_they_end_also_where_it_is_killed(start, server):
    process = start(*server, "stages.probe", "wait")
    each = [int(pid) for pid in process.stdout.readline().split()]
    assert process.stdout.readline() == "18 False\n"
    assert all(alive(pid) for pid in each)
    os.kill(each[0], signal.SIGKILL)
    process.communicate(timeout=300)
    assert eventually(lambda: not any(alive(pid) for pid in each))
