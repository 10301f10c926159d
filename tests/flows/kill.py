"""Kills nightly runs at random moments and starts them again; the result must be that of an undisturbed run.

    python -m tests.flows.kill --group 25 --alone 10

A group kill ends the run and all its children at once (power, container); a kill of the flow's process alone must take
DVC and the stage at work with it. When a run survives to its end, its project is compared with the undisturbed one and
another begins, until all kills are done. Threads and dates of commits are fixed, so even commits must be equal.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.projects.checkout import ROOT, Project
from tests.projects.nightly import create

Lap = Callable[[Path], Project]
ORPHANED = 30.0  # seconds that what a killed run started may live on


def processes(root: Path) -> list[str]:
    """Command lines of other processes that work in a project (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        try:
            zombie = (folder / "stat").read_text().rpartition(") ")[2].startswith("Z")
            if not zombie and (folder / "cwd").resolve().is_relative_to(root):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it ended meanwhile
            continue
    return found


def disturb(project: Project, delay: float, alone: bool) -> bool:
    """Start a run and kill it after a while; whether it came to its end before."""
    run = project.start(
        sys.executable, "-m", "flows.nightly", start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=(project.root / "errors.log").open("a"),
    )  # fmt: skip
    try:
        status = run.wait(delay)
    except subprocess.TimeoutExpired:
        (os.kill if alone else os.killpg)(run.pid, signal.SIGKILL)
        run.wait()
        wait_for_none(project.root)
        return False
    assert status == 0, (project.root / "errors.log").read_text()[-6000:]
    return True


def wait_for_none(root: Path) -> None:
    """AssertionError where a process of a killed run lives on."""
    end, pause = time.monotonic() + ORPHANED, threading.Event()
    while left := processes(root):
        assert time.monotonic() < end, f"orphans: {left}"
        pause.wait(0.05)


def state(project: Project) -> dict[str, str]:
    """All that must be equal: ledger, curated sets, tags and the commits they point to, the history."""
    files = [*sorted((project.root / "data/curated").glob("*.parquet")), project.root / "data/ledger.yaml"]
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    for tag in project.tags():
        found[tag] = project.git("rev-parse", f"{tag}:data/ledger.yaml")
        found[f"{tag}, what it holds"] = project.git("rev-parse", f"{tag}^{{tree}}")
    found["rounds"] = " ".join(project.ledger()["rounds"])
    found["history"] = project.git("log", "--format=%T %s")
    return found


def compare(project: Project, expected: dict[str, str]) -> None:
    """AssertionError where a disturbed project differs, is not clean, or has something running."""
    found = state(project)
    different = {key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)}
    assert not different, sorted(different)
    assert project.dvc("status").strip().endswith("up to date."), project.dvc("status")
    stored = project.dvc("status", "--cloud")
    assert stored.strip().endswith("in sync."), stored
    assert not project.git("status", "--porcelain", "data", "dvc.lock")
    assert not list((project.root / "data").rglob("*.tmp"))
    assert not processes(project.root)


def run_laps(kills: list[bool], lap: Lap, expected: dict[str, str], span: float, folder: Path, seed: int) -> int:
    """Spend all kills (True: of the flow's process alone); return how many projects came to their end.

    Args:
        kills: in this order.
        lap: makes the project of a lap.
        expected: its state after an undisturbed run.
        span: kills come within so many seconds of the start.
        folder: for the projects.
        seed: of the moments.
    """
    random_ = random.Random(seed)  # noqa: S311 - moments, not secrets
    left, laps = list(kills), 0
    while left:
        project = lap(folder / f"lap{laps}")
        done = False
        while left and not done:
            done = disturb(project, random_.uniform(0, span), left[0])
            left = left if done else left[1:]
        if not done:
            project.nightly()
        compare(project, expected)
        laps += 1
        sys.stdout.write(f"lap {laps}: equal; {len(left)} of {len(kills)} kills left\n")
        sys.stdout.flush()
    return laps


def main() -> None:
    """The whole test, with figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("group", 25), ("alone", 10), ("per-round", 24), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--light", action="store_true", help="with stand-ins for the stages that import torch")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ |= {"PREFECT_HOME": folder, "PYTHONPATH": str(ROOT)}
        from flows import server

        def lap(root: Path) -> Project:
            project = create(root, api, told.light, told.per_round)
            project.deliver("d1", 200)
            project.deliver("d2", 300)
            return project

        with server.temporary() as api:
            undisturbed = lap(Path(folder) / "undisturbed")
            begun = time.monotonic()
            undisturbed.nightly()
            seconds, rounds = time.monotonic() - begun, len(undisturbed.tags())
            sys.stdout.write(f"undisturbed: {rounds} rounds in {seconds:.0f} s\n")
            kills = [False] * told.group + [True] * told.alone
            random.Random(told.seed).shuffle(kills)  # noqa: S311 - as above
            laps = run_laps(kills, lap, state(undisturbed), 1.5 * seconds / rounds, Path(folder), told.seed)
    sys.stdout.write(
        f"{told.group} kills of the process group, {told.alone} of the flow alone, over {rounds} rounds a lap, "
        f"{laps} laps: every final state equal to the undisturbed one, no orphan.\n"
    )


if __name__ == "__main__":
    main()
