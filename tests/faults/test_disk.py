"""Disks without space, without inodes, or that cannot be written: nothing is published, and the next run completes."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.case import REFUSED, Case
from tests.faults.system import Scene, second_night
from tests.projects.checkout import Project
from tests.projects.in_process import at

pytestmark = [pytest.mark.xdist_group("flows"), pytest.mark.slow]


@pytest.fixture(autouse=True)
def _never_hangs() -> None:
    """Runs have limits of their own."""


def mount(*arguments: str) -> bool:
    """Whether a file system could be mounted."""
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=256m,nr_inodes=20000", "tmpfs", str(folder)):
        pytest.skip("a small file system must be mounted, which only root may do")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def before(deployed: Project, grown: Project, disk: Path) -> Iterator[Scene]:
    """Before the second night, on that disk."""
    scene = second_night(deployed, grown, disk / "project")
    with at(scene.project):
        yield scene


@contextmanager
def full(left: int) -> Iterator[None]:
    """All space but some bytes is taken."""
    filler = Path("filler")
    with filler.open("wb") as file:
        free = os.statvfs(".").f_bavail * os.statvfs(".").f_frsize
        os.posix_fallocate(file.fileno(), 0, free - left)
    yield
    filler.unlink()


@contextmanager
def without_inodes(left: int) -> Iterator[None]:
    """All inodes but some are taken."""
    folder = Path("filler")
    folder.mkdir()
    for number in range(os.statvfs(".").f_favail - left):
        (folder / str(number)).touch()
    yield
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


Harm = Callable[[int], "contextmanager[None]"]
CASES = [
    Case("a disk that is full", "disk", "not a byte left", REFUSED).param(full, 0, "left"),
    Case("a disk that becomes full", "disk", "room for the ledger, not for the night", REFUSED).param(
        full, 1 << 16, "left"
    ),
    Case("a disk that becomes full late", "disk", "room for some stages", REFUSED).param(full, 1 << 17, "make room"),
    Case("no inodes left", "disk", "not one", REFUSED).param(without_inodes, 0, "left"),
    Case("inodes that run out", "disk", "enough for some stages", REFUSED).param(without_inodes, 40, "inodes left"),
]


@pytest.mark.parametrize(("case", "harm", "left", "word"), CASES)
def test_a_disk_in_trouble_publishes_nothing(before: Scene, case: Case, harm: Harm, left: int, word: str) -> None:
    with harm(left):
        before.refused(word)
    before.completes()


@Case("a cache that cannot be written", "disk", "DVC's cache is mounted read-only", REFUSED).test
def test_a_cache_that_cannot_be_written_publishes_nothing(deployed: Project, grown: Project, tmp_path: Path) -> None:
    scene = second_night(deployed, grown, tmp_path / "project", remembered=False)
    cache = str(scene.project.root / ".dvc/cache")
    if not mount("--bind", cache, cache):
        pytest.skip("a folder must be mounted read-only, which only root may do")
    try:
        assert mount("-o", "remount,bind,ro", cache)
        with at(scene.project):
            scene.refused("ead-only")
    finally:
        subprocess.run(["umount", "--lazy", cache], check=True)
    with at(scene.project):
        scene.completes()
