"""Projects in which a core and a test set are ready, and what undisturbed nights make of them."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from tests.flows import operators
from tests.flows.operators import Clone
from tests.projects import real_stages as project

PATIENCE = 120  # seconds after which a case counts as hanging
GOOD, MORE = range(100, 109), range(200, 206)  # seeds of two deliveries


class Undisturbed(NamedTuple):
    """A project before its first night, and the training set after two nights without a fault."""

    root: Path
    released: pl.DataFrame


@pytest.fixture(autouse=True)
def _never_hangs() -> Iterator[None]:
    """A case that waits for ever is a failure, not a test run without end."""

    def hangs(*_: object) -> None:
        raise TimeoutError(f"the case hangs: no end after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Images: core, test set, and two deliveries."""
    root = tmp_path_factory.mktemp("photographs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        project.album(root / "core", range(18))
        project.album(root / "test", range(50, 56))
        project.begin("core", "test")
        return _nights(root, str(project.album(Path("photos"), GOOD)), str(project.album(Path("more"), MORE)), patch)


@pytest.fixture(scope="session")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Ready features: core, test set, and two deliveries."""
    root = tmp_path_factory.mktemp("numbers")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        project.begin(
            str(project.pack(Path("core.npz"), range(18))), str(project.pack(Path("test.npz"), range(50, 56)))
        )
        first, second = project.pack(Path("good.npz"), GOOD), project.pack(Path("more.npz"), MORE)
        return _nights(root, str(first), str(second), patch)


def _nights(root: Path, first: str, second: str, patch: pytest.MonkeyPatch) -> Undisturbed:
    calm = project.copied(root, root.with_name(f"{root.name}-calm"))
    patch.chdir(calm)
    project.half_night(first)
    project.night(second)
    return Undisturbed(root, project.released())


@pytest.fixture
def album(photographs: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Undisturbed:
    """A copy of the project of images, as the working directory."""
    project.copied(photographs.root, tmp_path)
    monkeypatch.chdir(tmp_path)
    return photographs._replace(root=tmp_path)


@pytest.fixture
def pack(numbers: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Undisturbed:
    """A copy of the project of ready features, as the working directory."""
    project.copied(numbers.root, tmp_path)
    monkeypatch.chdir(tmp_path)
    return numbers._replace(root=tmp_path)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clones after the first night, to be copied."""
    return operators.template(tmp_path_factory.mktemp("operators") / "template")


@pytest.fixture
def pair(template: Path, tmp_path: Path) -> Iterator[tuple[Clone, Clone]]:
    """Two clones after the first night."""
    shutil.copytree(template, tmp_path / "project", symlinks=True)
    with operators.in_this_process():
        first, second = Clone(tmp_path / "project", "a"), Clone(tmp_path / "project", "b")
        first.deliveries = 1
        yield first, second
