import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diva.commands import plan
from tests.projects import checkout

WITHIN = 1.5
UNITS = {"MB": 1e6, "GB": 1e9}


def predicted(text: str, fact: str) -> float:
    """Bytes that the plan says of memory or disk."""
    number, unit = re.search(rf"{fact}\s+(?:about )?([\d.]+) (MB|GB)", text).groups()
    return float(number) * UNITS[unit]


def taken(root: Path) -> int:
    """Bytes that a project takes beside its deliveries."""
    files = [path for folder in ("data", ".dvc/cache") for path in (root / folder).rglob("*") if path.is_file()]
    return sum({about.st_ino: about.st_size for about in (path.stat() for path in files)}.values())


def peak(made: checkout.Project, *command: str) -> int:
    """Bytes that a command holds at most."""
    process = subprocess.Popen(command, cwd=made.root, env=made.environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_maxrss * 1024


def ready(path: Path, n: int, seed: int) -> str:
    """Features of half precision, around a centre a class."""
    centres, random = np.random.default_rng(0).standard_normal((10, 256)), np.random.default_rng(seed)
    labels = random.integers(0, 10, n)
    features = 0.5 * centres[labels] + random.standard_normal((n, 256))
    np.savez(path, features=features.astype(np.float16), labels=labels)
    return path.name


@pytest.mark.slow
def test_memory_and_disk_of_images_are_as_the_plan_says(tmp_path):
    made, random = checkout.checkout(tmp_path / "project"), np.random.default_rng(0)
    for number in range(400):
        path = made.root / "photos" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (12, 9, 3), dtype=np.uint8)).resize((300, 400))
        coarse.save(path, quality=90)
    made.diva("init", "--core", "photos")
    text = made.diva("plan").stdout
    made.repro("download@core")
    most = peak(made, sys.executable, "-m", "stages.extract", "--batch", "core")
    assert 1 / WITHIN < predicted(text, "memory") / most < WITHIN
    made.repro()
    assert 1 / WITHIN < predicted(text, "disk") / taken(made.root) < WITHIN


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
