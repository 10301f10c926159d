"""How long do the commands on versions take, with fifty of them?

    python -m benchmarks.versions [--versions 50] [--rounds 40] [--out FILE.json]

A repository is made whose every commit holds ledger, lock file and metrics as large as those of ``--rounds`` rounds;
then `diva versions` runs in it as a user starts it, five times; the median counts. The limit is 1.5 s.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import description

ROOT = Path(__file__).resolve().parent.parent
SETS = ("core", "release_weighted", "release_unweighted", "release_unflagged", "everything", "uniform")


def figures(size: int) -> dict[str, float]:
    """What evaluate says of one training set."""
    names = ("ridge", "error", "low", "high", "difference", "difference_low", "difference_high", "loo_error")
    return {"size": size, **dict.fromkeys(names, 0.123456789)}


def metrics(number: int) -> dict[str, dict[str, Any]]:
    """Metrics of a version with this many rounds."""
    rounds = [{"round": f"r{turn:03d}", "added": 80, "removed": 1, **figures(500)} for turn in range(number + 1)]
    evaluate = {"sets": {name: figures(500 + 80 * number) for name in SETS}, "rounds": rounds}
    release = {"samples": 500 + 80 * number, "added": 80 * number, "removed": number, "weighted": True}
    return {"evaluate": evaluate, "release": release}


def lock(number: int) -> str:
    """A lock file of two stages a round, each with thirty dependencies."""
    entry = "    - path: data/some/where/{}.parquet\n      hash: md5\n      md5: {:032x}\n      size: 12345\n"
    stages = (f"  {verb}@r{turn:03d}:\n    cmd: python\n    deps:\n" for turn in range(number) for verb in ("a", "b"))
    return "schema: '2.0'\nstages:\n" + "".join(s + "".join(entry.format(i, i) for i in range(30)) for s in stages)


def make(folder: Path, count: int, rounds: int) -> None:
    """A repository with ``count`` versions."""
    git(folder, "init", "--quiet")
    for number in range(1, count + 1):
        for name, content in metrics(min(number, rounds)).items():
            path = folder / "data" / "metrics" / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=2))
        (folder / "data" / "ledger.yaml").write_text(f"rounds: {'x' * 500 * number}\nlatest: r{number:03d}\n")
        (folder / "dvc.lock").write_text(lock(min(number, rounds)))
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", f"{number}")
        git(folder, "tag", "--annotate", "--message", f"{number}", f"curated@v0.{number}.0")


def git(folder: Path, *arguments: str) -> None:
    """A git command."""
    who = ("-c", "user.name=Benchmark", "-c", "user.email=benchmark@localhost")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True)


def seconds(folder: Path, *arguments: str) -> float:
    """Median time of five runs of the command."""
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        command = [sys.executable, "-m", "diva.commands.cli", *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        told = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout
        times.append(time.perf_counter() - begun)
    assert told.count("curated@v") > 1  # noqa: S101 - it did list them
    return statistics.median(times)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--versions", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.versions, options.rounds)
        result = {"versions": options.versions, "rounds": options.rounds, "seconds": seconds(Path(folder), "versions")}
    print(f"diva versions with {options.versions} versions: {result['seconds']:.2f} s (limit 1.5)")
    if options.out:
        options.out.write_text(json.dumps({"machine": description(), **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
