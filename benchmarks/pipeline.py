"""What does each stage of the whole pipeline cost, and how does that grow with the rows?

    python -m benchmarks.pipeline [embedded] [SIZE+SIZE …] [--features 512] [--classes 50] [--threads 1]
        [--delivery ROWS] [--out FILE]

SIZE+SIZE are rows of a made-up core and pool of ready features (a centre a class and noise, a fifth of the labels wrong
in the core and three tenths in the pool, seeded), beside a test set a fifth of the core's size: 10000+30000, say.
Each size is a project of its own, reproduced by DVC. Of every process are measured: processor seconds, seconds on the
wall, the largest resident memory, and what it asked to read; of the project, the disk that it takes beside the
delivery. With ``--delivery`` a night follows that takes in so many rows more in one round, as users start it, with
Prefect's server and all: ``nightly`` among the stages. Between consecutive sizes the exponent of the growth of a
stage's processor seconds with its rows.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from tests.projects import checkout

PYTHON = (
    f"#!{sys.executable}\n"
    + '''
"""Starts the interpreter with its arguments, and writes down what the process took."""
import json, os, sys, time
start = time.time()
child = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
try:
    read = int(dict(line.split(": ") for line in open(f"/proc/{child}/io").read().splitlines())["rchar"])
except OSError:
    read = 0
_, status, used = os.wait4(child, 0)
taken = {"stage": sys.argv[2] if sys.argv[1] == "-m" else "", "cpu_seconds": used.ru_utime + used.ru_stime,
         "wall_seconds": time.time() - start, "peak_mib": used.ru_maxrss / 1024, "read_mib": read / 2**20}
with open(os.environ["MEASURED"], "a") as file:
    file.write(json.dumps(taken) + "\\n")
sys.exit(os.waitstatus_to_exitcode(status))
'''
)
FIGURES = ("cpu_seconds", "wall_seconds", "peak_mib", "read_mib")
Figures = dict[str, dict[str, float]]


def delivery(path: Path, n: int, wrong: float, options: argparse.Namespace, seed: int) -> None:
    """Ready features of n rows around a centre a class."""
    centres = np.random.default_rng(0).standard_normal((options.classes, options.features), np.float32)
    random = np.random.default_rng(seed)
    labels = random.integers(0, options.classes, n)
    features = 0.25 * centres[labels] + random.standard_normal((n, options.features), np.float32)
    other = (labels + random.integers(1, options.classes, n)) % options.classes
    np.savez(path, features=features, labels=np.where(random.random(n) < wrong, other, labels))


def project(folder: Path, size: str, options: argparse.Namespace) -> checkout.Project:
    """A project of the embedded example, or of made-up features, before its first run."""
    if size == "embedded":
        return checkout.embedded(folder)
    core, pool = map(int, size.split("+"))
    made = checkout.checkout(folder)
    for seed, (name, n, wrong) in enumerate((("core", core, 0.2), ("pool", pool, 0.3), ("test", core // 5, 0.0))):
        delivery(folder / f"{name}.npz", n, wrong, options, seed + 1)
    made.diva("init", "--core", "core.npz", "--pool", "pool.npz", "--test", "test.npz")
    return made


def run(folder: Path, size: str, options: argparse.Namespace) -> dict[str, Any]:
    """Reproduce a project once, and say what each stage took, all of its processes together."""
    made = project(folder / "project", size, options)
    measured, interpreter = folder / "measured", folder / "bin" / "python"
    interpreter.parent.mkdir()
    interpreter.write_text(PYTHON, encoding="utf-8")
    interpreter.chmod(0o755)
    environment = made.environment | {
        "PATH": f"{interpreter.parent}{os.pathsep}{made.environment['PATH']}",
        "MEASURED": str(measured),
        "OMP_NUM_THREADS": str(options.threads),
    }
    ended(made, [str(interpreter), "-m", "dvc", "repro", "--no-run-cache"], environment)
    if options.delivery:
        night(made, str(interpreter), options, environment)
    stages: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(("processes", *FIGURES), 0.0))
    for line in measured.read_text(encoding="utf-8").splitlines():
        taken = json.loads(line)
        stage = stages[taken["stage"].rpartition(".")[2]]
        for name in FIGURES:
            stage[name] = max(stage[name], taken[name]) if name == "peak_mib" else stage[name] + taken[name]
        stage["processes"] += 1
    rest = stages.pop("dvc")  # its children are counted in it
    for name in ("cpu_seconds", "wall_seconds", "read_mib"):
        rest[name] -= sum(taken[name] for stage, taken in stages.items() if stage != "nightly")
    stages["dvc"] = {name: value for name, value in rest.items() if name != "peak_mib"}
    files = [path for path in made.root.rglob("*") if path.is_file() and not path.is_symlink()]
    delivered = sum(path.stat().st_size for path in files if path.suffix == ".npz")
    taken = sum(path.stat().st_size for path in files if {"data", ".dvc"} & set(path.relative_to(made.root).parts))
    return {
        "size": size,
        "stages": {name: {key: round(value, 2) for key, value in stage.items()} for name, stage in stages.items()},
        "cpu_seconds": round(sum(stage["cpu_seconds"] for stage in stages.values()), 1),
        "disk_mib": round(taken / 2**20, 1),
        "delivered_mib": round(delivered / 2**20, 1),
    }


def ended(made: checkout.Project, command: list[str], environment: Mapping[str, str]) -> None:
    """Run a command of the project to its end."""
    done = subprocess.run(command, cwd=made.root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def night(made: checkout.Project, interpreter: str, options: argparse.Namespace, environment: dict[str, str]) -> None:
    """Publish what there is, deliver some rows more, and have them taken in, which alone is measured."""
    made.commit()
    made.nightly("--max-rounds", "1")
    made.root.joinpath("deliveries").mkdir(exist_ok=True)
    delivery(made.root / "deliveries/more.npz", options.delivery, 0.3, options, seed=4)
    made.root.joinpath("deliveries/more.npz.complete").touch()
    ended(made, [interpreter, "-m", "flows.nightly", "--max-rounds", "1"], environment)


def exponents(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each stage's processor seconds in the rows of core and pool, between consecutive sizes."""
    sized = [run for run in runs if run["size"] != "embedded"]
    grown = []
    for small, large in pairwise(sized):
        rows = [sum(map(int, run["size"].split("+"))) for run in (small, large)]
        common = small["stages"].keys() & large["stages"].keys()
        grown.append(
            {
                "from": small["size"],
                "to": large["size"],
                "exponent": {
                    name: round(math.log(_ratio(small, large, name)) / math.log(rows[1] / rows[0]), 2)
                    for name in sorted(common)
                },
            }
        )
    return grown


def _ratio(small: dict[str, Any], large: dict[str, Any], stage: str) -> float:
    before, after = (max(0.01, run["stages"][stage]["cpu_seconds"]) for run in (small, large))
    return float(after / before)


def main() -> None:
    """Every size after the other; the file is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", default=["embedded"])
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--classes", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--delivery", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    runs: list[dict[str, Any]] = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            runs.append(run(Path(folder), size, options))
        settings = {name: getattr(options, name) for name in ("features", "classes", "threads", "delivery")}
        about = machine.description() | settings
        machine.publish({"machine": about, "runs": runs, "growth": exponents(runs)}, options.out)


if __name__ == "__main__":
    main()
