import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diva.commands import plan
from tests.projects import checkout

WITHIN = 1.5
UNITS = {"MB": 1e6, "GB": 1e9, "seconds": 1, "minutes": 60, "hours": 3600}
SIZE = os.environ.get("PLAN_SIZE", "1000+3000")  # rows of core and pool that a run is compared with


def predicted(text: str, fact: str) -> float:
    """Bytes that the plan says of memory or disk, or seconds."""
    number, unit = re.search(rf"{fact}\s+(?:about )?([\d.]+) ({'|'.join(UNITS)})", text).groups()
    return float(number) * UNITS[unit]


def taken(root: Path) -> int:
    """Bytes that a project takes beside its deliveries."""
    files = [path for folder in ("data", ".dvc/cache") for path in (root / folder).rglob("*") if path.is_file()]
    return sum({about.st_ino: about.st_size for about in (path.stat() for path in files)}.values())


def compared(made: checkout.Project) -> dict[str, float]:
    """What the plan says of a run over what the run then takes."""
    text, begun = made.diva("plan").stdout, time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "diva.commands.cli", "run"], cwd=made.root, env=made.environment)
    _, status, used = os.wait4(process.pid, 0)  # with all that it waited for
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    took = {"time": time.monotonic() - begun, "memory": used.ru_maxrss * 1024, "disk": taken(made.root)}
    return {fact: predicted(text, fact) / value for fact, value in took.items()}


def ready(path: Path, n: int, seed: int, width: int = 256, classes: int = 10) -> str:
    """Features of half precision, around a centre a class, a fifth of the labels wrong."""
    centres, random = np.random.default_rng(0).standard_normal((classes, width)), np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    features = 0.25 * centres[labels] + random.standard_normal((n, width))
    given = np.where(random.random(n) < 0.2, random.integers(0, classes, n), labels)
    np.savez(path, features=features.astype(np.float16), labels=given)
    return path.name


@pytest.mark.slow
def test_a_run_over_images_takes_what_the_plan_says(tmp_path):
    made, random = checkout.checkout(tmp_path / "project"), np.random.default_rng(0)
    for number in range(400):
        path = made.root / "photos" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (12, 9, 3), dtype=np.uint8)).resize((300, 400))
        coarse.save(path, quality=90)
    made.diva("init", "--core", "photos")
    ratios = compared(made)
    assert {fact for fact, ratio in ratios.items() if not 1 / WITHIN < ratio < WITHIN} == set(), ratios


@pytest.mark.slow
def test_a_run_over_ready_features_takes_what_the_plan_says(tmp_path):
    """Of 512 numbers and 50 classes; PLAN_SIZE=10000+30000 for more rows, on a machine that does nothing else."""
    made, (core, pool) = checkout.checkout(tmp_path / "project"), map(int, SIZE.split("+"))
    sets = {"core": core, "pool": pool, "test": core // 5}
    sources = [(f"--{name}", ready(made.root / f"{name}.npz", n, n, 512, 50)) for name, n in sets.items()]
    made.diva("init", *(word for source in sources for word in source))
    ratios = compared(made)
    assert {fact for fact, ratio in ratios.items() if not 1 / WITHIN < ratio < WITHIN} == set(), ratios


@pytest.mark.slow
@pytest.mark.parametrize("links", ["reflink,copy", "hardlink,copy"])
def test_disk_of_ready_features_is_as_the_plan_says(tmp_path, links):
    made = checkout.checkout(tmp_path / "project")
    made.dvc("config", "cache.type", links)
    core, pool = ready(made.root / "core.npz", 4000, 1), ready(made.root / "pool.npz", 12000, 2)
    made.diva("init", "--core", core, "--pool", pool)
    text = made.diva("plan").stdout
    made.repro()
    assert 1 / WITHIN < predicted(text, "disk") / taken(made.root) < WITHIN


def test_what_dvc_keeps_is_counted_once_where_it_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    for kinds, times in (("copy", 2), ('"hardlink,copy"', 1), ("symlink", 1), ('"copy,hardlink"', 2)):
        Path(".dvc/config").write_text(f"[cache]\n    type = {kinds}\n")
        assert plan.copies() == times
    Path(".dvc/config").unlink()  # DVC's own order: what the file system of this folder takes
    assert plan.copies() in (1, 2)
    assert list(Path(".dvc").iterdir()) == []
