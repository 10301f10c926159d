"""Runs the deployment of prefect.yaml as docs/how-to/prefect.md says: work pool, deploy, worker, run."""

import sys
import threading
import time

from flows.server import POOL
from tests.projects.checkout import Project

PREFECT = (sys.executable, "-m", "prefect")


def wait_for_pool() -> None:
    """Until the worker has made its work pool."""
    from prefect.client.orchestration import get_client

    end, pause = time.monotonic() + 300, threading.Event()
    with get_client(sync_client=True) as client:
        while POOL not in {pool.name for pool in client.read_work_pools()}:
            assert time.monotonic() < end, "the worker makes no work pool"
            pause.wait(0.2)


def run_deployment(project: Project) -> None:
    """Deploy, and let a worker run the deployment to its end; AssertionError where it fails."""
    with (project.root / "worker.log").open("w") as log:
        worker = project.start(*PREFECT, "worker", "start", "--pool", POOL, "--type", "process", stdout=log)
        try:
            wait_for_pool()
            project.run(*PREFECT, "--no-prompt", "deploy", "--all")
            watch = ("--watch", "--watch-interval", "1", "--watch-timeout", "600")
            done = project.run(*PREFECT, "deployment", "run", "nightly-curation/nightly", *watch, check=False)
        finally:
            worker.terminate()
            worker.wait(60)
    assert done.returncode == 0, done.stdout + (project.root / "worker.log").read_text()[-6000:]
