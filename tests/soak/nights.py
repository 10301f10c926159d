"""Sixty simulated nights: `make soak`, or ``python -m tests.soak.nights --nights 200``.

Every night a delivery of real features arrives and the nightly flow takes it in, with real git, DVC and stages; in one
of ten something goes wrong first (see disturbances). People take samples down and relabel some now and then, and every
twenty nights the history is compacted. What makes the set runs for real every night; what only tells of it (weights,
errors, the page: most of a night's processor time) does so in every tenth, in the last, and wherever something goes
wrong, and is a stand-in otherwise. After each night the curated set must equal what a plain script computes from
the accepted deliveries (see accepted); at the end every version is verified, and this process, which ran all the flows,
must hold no more memory and open files than after its first nights.

Two operators take turns, each in a clone of their own, with one watched folder, one git remote and one DVC remote;
``--operators 1`` has one, without a git remote.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import psutil

from tests.projects import ledgers
from tests.projects.checkout import ROOT, Project
from tests.projects.in_process import at, run_here
from tests.projects.nightly import create, stand_in
from tests.soak import accepted, disturbances
from tests.soak.packs import Deliveries, pack

COMPACTED = 20  # nights between two compactions
SHARE = 0.1  # of the nights in which something goes wrong
WHOLE = 10  # nights between two in which all stages are real
TELLING = ("reweight", "evaluate", "report")  # stages that change nothing in the set; stand-ins in the other nights
HEAVY = ("fit", "score", "extend", *TELLING)  # stand-ins every night of the short soak
WARM = 10  # nights after which memory must not grow any more
GROWTH = 1.15  # of memory since then that is no leak but the allocator's
Plan = dict[int, str]


@dataclass
class Night:
    """What became of a night."""

    night: int
    delivered: str
    disturbed: str
    outcome: str
    version: str
    members: int
    removed: int
    seconds: float
    processor_seconds: float
    memory_mib: float
    open_files: int
    equal: bool
    whole: bool = False  # every stage real


class Soak:
    """A project through its nights.

    Args:
        root: for the project.
        api: address of the Prefect server that serves all nights.
        light: with stand-ins for the stages that import torch, every night.
        operators: 1, or 2 who take turns.
    """

    def __init__(self, root: Path, api: str, light: bool = False, operators: int = 1) -> None:
        self.source, self.light, self.whole = pack(), light, False
        self.project = create(root / "a", api, light=False, per_round=1000)
        self.pipeline = (self.project.root / "dvc.yaml").read_text()
        stand_in(self.project, HEAVY if light else TELLING)
        self.deliveries = Deliveries(self.source, self.project.root)
        (self.project.root / ".git/info/exclude").write_text("deliveries\npacks/\n.remote\n")
        self.begin()
        self.shared = self.project if operators == 1 else Project(root / "git", api)  # what all have
        self.operators = [self.project] if operators == 1 else [self.project, self.second(root / "b")]
        self.gone: list[str] = []
        self.relabelled: dict[str, str] = {}
        self.span = 20.0  # seconds of a night in which something goes wrong

    def begin(self) -> None:
        """A ledger of ready features."""
        with at(self.project):
            ledgers.write(("packs/core.npz", {}), test=("packs/test.npz", {}))
        self.project.commit("Ready features")

    def second(self, root: Path) -> Project:
        """Another operator's clone, before the first night; watched folder and DVC remote are the first one's."""
        self.project.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.shared.root))
        self.project.git("remote", "add", "origin", str(self.shared.root))
        self.project.git("push", "--quiet", "origin", "main")
        (self.project.root / ".remote").mkdir()
        other = self.project.copy(root)
        other.git("branch", "--quiet", "--set-upstream-to=origin/main")
        (root / ".remote").rmdir()
        shutil.rmtree(root / "deliveries")
        for name in (".remote", "deliveries"):
            (root / name).symlink_to(self.project.root / name)
        return other

    def stage(self, whole: bool) -> None:
        """Let all stages be real for a night, or stand-ins those that only tell of the set."""
        if whole == self.whole:
            return
        self.whole = whole
        if self.shared is not self.project:
            self.diva("sync", "origin")
        (self.project.root / "dvc.yaml").write_text(self.pipeline)
        if not whole:
            stand_in(self.project, TELLING)
        self.project.commit("All stages" if whole else "Stand-ins for some stages")
        if self.shared is not self.project:
            self.project.git("push", "--quiet", "origin", "main")

    def night(self, number: int, wrong: str, chance: random.Random, whole: bool = False) -> Night:
        """One night: a delivery, what goes wrong, the run after it, what people do the next day."""
        whole = whole and not self.light
        self.project = self.operators[number % len(self.operators)]
        if not self.light:
            self.stage(whole)
        begun, spent = time.monotonic(), processor()
        told, tags = self.deliveries.deliver(number), len(self.shared.tags())
        with at(self.project):
            disturbed = self.disturbances[wrong](self.project, chance, self.span) if wrong else ""
            state = self.run()
            assert state.is_completed(), f"night {number}: {state.message}"
        new = self.shared.tags()[tags:]
        assert len(new) == 1, f"night {number}: {new}"
        equal = self.state() == self.wanted()
        if not wrong:
            self.span = (1.0 if whole or self.light else 1.5) * (time.monotonic() - begun)
        row = self.row(number, told, f"{wrong}: {disturbed}" if wrong else "", str(state.message), begun, spent, equal)
        row.whole = whole
        self.day_after(number, chance)
        return row

    def run(self) -> Any:
        """The flow's end, by the command that its message names where there is one."""
        state = run_here(**disturbances.options(self.project)).state
        if state.is_failed() and "`diva sync`" in str(state.message):
            self.diva("sync")
            state = run_here(**disturbances.options(self.project)).state
        return state

    @property
    def disturbances(self) -> dict[str, disturbances.Disturbance]:
        """What may go wrong, by name."""
        return disturbances.ALL | (disturbances.OF_TWO if len(self.operators) > 1 else {})

    def day_after(self, number: int, chance: random.Random) -> None:
        """What people do: take down, relabel, compact."""
        members = sorted(name for name, row in self.state().items() if row[2] == "member")
        if number % 15 == 3:
            (one,) = chance.sample([name for name in members if name not in self.relabelled], 1)
            self.diva("forget", one, "--why", "asked by its owner")
            self.gone.append(one)
        if number % 15 == 9:
            (one,) = chance.sample([name for name in members if name not in self.gone], 1)
            label = chance.choice(sorted({row[0] for row in self.state().values()}))
            (self.project.root / "packs/fixes.csv").write_text(f"sample_id,label\n{one},{label}\n")
            self.diva("relabel", "packs/fixes.csv")
            self.relabelled[one] = label
        if number % COMPACTED == 0:
            self.diva("compact")

    def all_are_equal(self) -> None:
        """Each operator's next night has nothing to do but to take on what the others published."""
        for project in (*self.operators, self.operators[0]):  # a night after a compaction commits what it made anew
            self.project = project
            with at(project):
                assert self.run().is_completed()
            assert self.state() == self.wanted(), project.root.name
        assert len({project.git("rev-parse", "HEAD") for project in self.operators}) == 1

    def diva(self, *arguments: str) -> str:
        """The command, in a process of its own."""
        return self.project.run(sys.executable, "-m", "diva.commands.cli", *arguments).stdout

    def row(
        self, number: int, told: str, disturbed: str, message: str, begun: float, spent: float, equal: bool
    ) -> Night:
        """What there is to list of a night."""
        status = [row[2] for row in self.state().values()]
        me, version = psutil.Process(), self.project.tags()[-1]
        return Night(
            night=number, delivered=told, disturbed=disturbed, outcome=message, version=version,
            members=status.count("member"), removed=status.count("removed"), seconds=round(time.monotonic() - begun, 1),
            processor_seconds=round(processor() - spent, 1),
            memory_mib=round(me.memory_info().rss / 2**20, 1), open_files=me.num_fds(), equal=equal,
        )  # fmt: skip

    def state(self) -> dict[str, accepted.Row]:
        """The newest curated set by sample."""
        latest = self.project.ledger()["latest"]
        frame = pl.read_parquet(self.project.root / f"data/curated/{latest}.parquet")
        return {
            name: row for name, *row in map(list, frame.select("sample_id", "label", "batch", "status").iter_rows())
        }

    def wanted(self) -> dict[str, accepted.Row]:
        """The same, by the plain script."""
        folder = self.operators[0].root / "deliveries"
        batches = sorted(path for path in folder.glob("night-*.npz") if not path.stem.endswith("-x"))
        packs = self.operators[0].root / "packs"
        found = accepted.expected(packs / "core.npz", packs / "test.npz", batches, self.gone, self.relabelled)
        return {name: list(row) for name, row in found.items()}


def plan(nights: int, chance: random.Random, names: Iterable[str] = disturbances.ALL) -> Plan:
    """In which nights something goes wrong, and what: one of ten, every kind before any comes again."""
    count, kinds = max(1, round(SHARE * nights)), list(names)
    chance.shuffle(kinds)
    return {
        night: kinds[turn % len(kinds)] for turn, night in enumerate(sorted(chance.sample(range(2, nights + 1), count)))
    }


def grown(rows: list[Night]) -> list[str]:
    """What grew from the first nights to the last ones: memory, open files."""
    first, last = rows[: min(WARM, len(rows) // 2 + 1)], rows[-1]
    found = []
    if last.memory_mib > GROWTH * max(row.memory_mib for row in first):
        found.append(f"memory from {first[-1].memory_mib} to {last.memory_mib} MiB")
    if last.open_files > max(row.open_files for row in first):
        found.append(f"open files from {first[-1].open_files} to {last.open_files}")
    return found


def run(soak: Soak, nights: int, seed: int, say: Callable[[str], object] = print) -> dict[str, Any]:
    """All nights, then every version verified; AssertionError where something was lost, grew or differs."""
    chance = random.Random(seed)  # noqa: S311 - moments and kinds, not secrets
    planned, rows, begun, spent = plan(nights, chance, soak.disturbances), [], time.monotonic(), processor()
    for number in range(1, nights + 1):
        wrong = planned.get(number, "")
        rows.append(soak.night(number, wrong, chance, bool(wrong) or number % WHOLE == 1 or number == nights))
        say(line(rows[-1]))
        assert rows[-1].equal, f"night {number}: the set is not that of the accepted deliveries"
    seconds, spent = time.monotonic() - begun, processor() - spent
    soak.all_are_equal()
    verified = soak.diva("verify", "--all")
    clone_is_whole(soak.project)
    return {
        "features": soak.source.name,
        "operators": len(soak.operators),
        "nights": nights,
        "disturbed": len(planned),
        "whole": sum(row.whole for row in rows),
        "rounds": len([tag for tag in soak.project.tags() if tag.endswith(".0")]),
        "versions": len(soak.project.tags()),
        "verified": verified.count("as published"),
        "equal": sum(row.equal for row in rows),
        "median_processor_seconds": {
            kind: median(row.processor_seconds for row in rows if row.whole == whole and not row.disturbed)
            for kind, whole in (("whole", True), ("others", False))
            if any(row.whole == whole and not row.disturbed for row in rows)
        },
        "minutes": round(seconds / 60, 1),
        "processor_minutes": round(spent / 60, 1),
        "grown": grown(rows),
        "each": [asdict(row) for row in rows],
    }


def processor() -> float:
    """Seconds of processor time of this process and of all that it started and that ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def clone_is_whole(project: Project) -> None:
    """What is published is all that a fresh clone needs."""
    project.dvc("push")  # decisions of the last day, which no night has pushed yet
    clone = Project(project.root.with_name("clone"), project.api)
    project.git("clone", "--quiet", str(project.root), str(clone.root))
    clone.dvc("remote", "modify", "--local", "local", "url", str(project.root / ".remote"))
    clone.run(sys.executable, "-m", "dvc", "pull", "--quiet")
    train = "data/release/train.parquet"
    assert (clone.root / train).read_bytes() == (project.root / train).read_bytes()


def line(row: Night) -> str:
    """A night in a line."""
    return (
        f"{row.night:4d} {row.version:16s} {row.members:5d} members {row.removed:2d} removed {row.seconds:6.1f} s, "
        f"{row.processor_seconds:6.1f} s of a core, "
        f"{row.memory_mib:6.1f} MiB {row.open_files:3d} files {'equal' if row.equal else 'DIFFERS'}  "
        f"{row.delivered}{'; ' if row.disturbed else ''}{row.disturbed}"
    )


def machine() -> dict[str, Any]:
    """What the soak ran on; asked in a process of its own, as torch would count as memory."""
    code = "import json; from benchmarks.machine import description; print(json.dumps(description()))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


def main() -> None:
    """The whole soak, with its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("nights", 60), ("seed", 0), ("operators", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--light", action="store_true", help="with stand-ins for the stages that import torch")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    told = parser.parse_args()
    out = told.out.absolute() if told.out else None
    end_cleanly()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        os.chdir(folder)
        os.environ |= {"PREFECT_HOME": folder, "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
        os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "CRITICAL"}
        from flows import server

        with server.temporary() as api:
            os.environ["PREFECT_API_URL"] = api
            soak = Soak(Path(folder) / "project", api, told.light, told.operators)
            result = {"machine": machine()} | run(soak, told.nights, told.seed, say)
    if out:
        out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"{result['nights']} nights in {result['minutes']} minutes, {result['disturbed']} disturbed: ")
    say(f"{result['rounds']} rounds, {result['versions']} versions, all equal and verified; grown: {result['grown']}")
    sys.exit(1 if result["grown"] else 0)


def end_cleanly() -> None:
    """Let a soak that is told to end take down what it started; what a SIGKILL leaves ends by its leashes."""

    def end(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        sys.exit(128 + number)  # through all blocks: the folder goes, too

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, end)


def say(text: str) -> None:
    """A line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
