"""Nights of a whole project (git, DVC, a remote, the flow) that something goes wrong in, and what they must come to.

A night's stages come from DVC's run cache, except those that a case makes run, so a case takes seconds.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal, NamedTuple

from diva.versions import contents, published, verify
from tests.flows.kill import state, wait_for_none
from tests.projects.checkout import Project
from tests.projects.in_process import Run, run_here
from tests.projects.nightly import grow

PATIENCE = 150.0  # seconds until a run must have come to the stage that it is killed in
STOP = """
import os, signal, sys

def stop(event, arguments):
    written = event == "os.rename" or (event == "open" and isinstance(arguments[1], str) and "w" in arguments[1])
    path = str(arguments[event == "os.rename"]) if written else ""
    if path.endswith(os.environ["STOP_AT"]):
        with open(f"{os.environ['STOPPED']}.{os.getpid()}", "a") as file:
            file.write(str(os.getpid()))
        os.replace(file.name, os.environ["STOPPED"])
        while True:
            signal.pause()

if "STOP_AT" in os.environ:
    sys.addaudithook(stop)
"""  # a sitecustomize.py: every Python of the project stops for ever where it is about to give a file its name


class Scene(NamedTuple):
    """A project before a night, and what the night comes to when nothing goes wrong."""

    project: Project
    expected: dict[str, str]

    def refused(self, *words: str) -> None:
        """A run ends with an error that says these words, and publishes nothing."""
        tags = self.project.tags()
        run = run_here()
        assert run.state.is_failed()
        assert all(word in str(run.state.message) for word in words), run.state.message
        assert self.project.tags() == tags

    def completes(self) -> Run:
        """The next run: its result is the undisturbed one, and every file of it as it must be."""
        run = run_here()
        assert run.state.is_completed(), run.state.message
        found = state(self.project)
        different = {key for key in found.keys() | self.expected.keys() if found.get(key) != self.expected.get(key)}
        assert not different, sorted(different)
        assert not self.project.git("status", "--porcelain", "data", "dvc.lock")
        contents.outputs.cache_clear()
        assert [verdict.faults for verdict in verify.verify([published.find()])] == [()]
        return run


def second_night(deployed: Project, grown: Project, root: Path, remembered: bool = True) -> Scene:
    """Before the second night of the projects of tests/flows."""
    project = deployed.copy(root)
    grow(project)
    if remembered:
        remember(project, grown)
    return Scene(project, state(grown))


def remember(project: Project, other: Project) -> None:
    """DVC's cache of another project, results of its stages included."""
    shutil.copytree(other.root / ".dvc/cache", project.root / ".dvc/cache", dirs_exist_ok=True, symlinks=True)


def forget(project: Project, command: str) -> None:
    """Results of a stage, so that it runs."""
    known = [path for path in (project.root / ".dvc/cache/runs").rglob("*") if path.is_file()]
    own = [path for path in known if f" {command}\n" in path.read_text()]
    assert own, f"{command} never ran"
    for path in own:
        shutil.rmtree(path.parent, ignore_errors=True)  # one folder may hold several


def stopped_at(project: Project, output: str, how: signal.Signals, whom: Literal["all", "flow", "stage"]) -> str:
    """Kill a run at the moment in which it gives an output its name, whatever process does so; what the run said.

    Args:
        project: the run's.
        output: the end of the file's path.
        how: the signal.
        whom: all processes of the run, the flow alone, or the process alone that is about to write the output.
    """
    (project.root / "sitecustomize.py").write_text(STOP)
    marker = project.root / ".dvc" / "stopped"
    environment = project.environment | {"STOP_AT": output, "STOPPED": str(marker)}
    with (project.root / ".dvc" / "stopped.log").open("w") as log:
        run = subprocess.Popen(
            [sys.executable, "-m", "flows.nightly"], cwd=project.root, env=environment, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    end, pause = time.monotonic() + PATIENCE, threading.Event()
    while not marker.exists():
        told = (project.root / ".dvc" / "stopped.log").read_text()[-3000:]
        assert run.poll() is None, told
        assert time.monotonic() < end, told
        pause.wait(0.05)
    pid = int(marker.read_text()) if whom == "stage" else run.pid
    (os.killpg if whom == "all" else os.kill)(pid, how)
    run.wait(PATIENCE)
    wait_for_none(project.root)
    marker.unlink()
    return (project.root / ".dvc" / "stopped.log").read_text()
