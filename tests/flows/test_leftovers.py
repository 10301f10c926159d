"""Runs whose server, worker or process was killed: settled when the server starts, and in no later night's way."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import permutations
from pathlib import Path

import psutil
import pytest

from tests.faults.case import UNHARMED, Case
from tests.flows.kill import wait_for_none
from tests.projects.checkout import Project
from tests.projects.deployment import PREFECT
from tests.projects.in_process import at
from tests.projects.nightly import create

pytestmark = pytest.mark.xdist_group("flows")
WORKING = "from diva.versions.locks import exclusive\nwith exclusive():\n    print('held', flush=True)\n    input()"
NAMES = ("server", "worker", "flow")


def runs(project: Project) -> dict[str, str]:
    """States of all runs of the project's deployment, by name."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = next(entry for entry in client.read_deployments() if str(project.root) in str(entry.pull_steps))
        found = client.read_flow_runs()
    return {run.name: run.state_name for run in found if run.deployment_id == deployment.id}


@Case("runs of a server that was killed", "operation", "no process holds them", UNHARMED).test
def test_runs_that_no_process_holds_are_settled_and_the_old_limit_goes(deployed: Project) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.states import Running

    from flows import leftovers

    with get_client(sync_client=True) as client, at(deployed):
        entry = client.read_deployment_by_name("nightly-curation/nightly")
        client.update_deployment(entry.id, DeploymentUpdate(concurrency_limit=1))
        run = client.create_flow_run_from_deployment(entry.id, name="lost")
        client.set_flow_run_state(run.id, Running(), force=True)
        holder = deployed.start(sys.executable, "-c", WORKING, stdin=subprocess.PIPE)
        assert holder.stdout.readline() == "held\n"
        (sentence,) = leftovers.settle()
        assert "is at work here" in sentence
        assert runs(deployed)["lost"] == "Running"
        holder.communicate("\n")
        assert [sentence.split(",")[0] for sentence in leftovers.settle()] == [
            "Run lost was Running",
            "Deployment nightly has no limit of runs any more: the lock of a run is enough.",
        ]
        assert runs(deployed)["lost"] == "Crashed"
        assert client.read_deployment_by_name("nightly-curation/nightly").global_concurrency_limit is None
        assert leftovers.settle() == []


@contextmanager
def serving(project: Project, log: Path) -> Iterator["subprocess.Popen[str]"]:
    """``make server``'s process, until the end of the block or its own."""
    with log.open("a") as out:
        process = project.start(sys.executable, "-m", "flows.server", stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(120)


def until(holds: Callable[[], object], what: str, log: Path) -> None:
    end, pause = time.monotonic() + 300, threading.Event()
    while not holds():
        assert time.monotonic() < end, f"{what}\n{log.read_text()[-6000:]}"
        pause.wait(0.2)


def parts(process: "subprocess.Popen[str]") -> dict[str, psutil.Process]:
    """Server, worker and the process of a run, as far as they live."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            words = " ".join(child.cmdline())
        except psutil.Error:  # it ended meanwhile
            continue
        for name, sign in (("server", "server start"), ("worker", "worker start"), ("flow", "flow-run execute")):
            if sign in words or (name == "flow" and "prefect.engine" in words):
                found.setdefault(name, child)
    return found


@Case("server, worker and flow killed", "operation", "by SIGKILL during a night, in all six orders", UNHARMED).test
@pytest.mark.slow
@pytest.mark.parametrize("order", list(permutations(NAMES)), ids="-".join)
def test_whatever_is_killed_during_a_night_the_next_one_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", port)
    monkeypatch.setenv("COLUMNS", "200")  # Prefect cuts words to a terminal's width
    project, log = create(tmp_path / "project"), tmp_path / "server.log"
    project.deliver("d1", 200)
    lock = project.root / ".dvc/tmp/nightly.lock"
    api = f"http://127.0.0.1:{port}/api"
    with serving(project, log) as process:
        until(lambda: {"server", "worker"} <= parts(process).keys(), "no worker", log)
        project.api = api
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", (project.root / ".prefect/token").read_text().strip())
        deploy_and_run(project, log)
        until(lambda: "flow" in parts(process) and lock.exists() and (project.root / "data/features").exists(),
              "the run does not begin", log)  # fmt: skip
        targets = parts(process)
        for name in order:
            with suppress(psutil.NoSuchProcess):  # of those that end by themselves, without the others
                targets[name].kill()
            threading.Event().wait(0.5)
        process.wait(120)  # who has lost its server or worker ends
    wait_for_none(project.root)
    assert project.tags() == []
    project.api = None
    with serving(project, log) as process:
        until(lambda: {"server", "worker"} <= parts(process).keys(), "no worker", log)
        project.api = api
        listed = project.run(*PREFECT, "flow-run", "ls").stdout.lower()  # set by the worker, or by the server's start
        assert "crashed" in listed, listed
        assert "running" not in listed, listed
        watch = ("--watch", "--watch-interval", "1", "--watch-timeout", "600")
        done = project.run(*PREFECT, "deployment", "run", "nightly-curation/nightly", *watch, check=False)
    assert done.returncode == 0, done.stdout + log.read_text()[-6000:]
    assert project.tags() == ["curated@v0.1.0"]


def deploy_and_run(project: Project, log: Path) -> None:
    """Once the worker has made its pool."""
    until(lambda: "nightly" in project.run(*PREFECT, "work-pool", "ls", check=False).stdout, "no pool", log)
    project.run(*PREFECT, "--no-prompt", "deploy", "--all")
    project.run(*PREFECT, "deployment", "run", "nightly-curation/nightly")
