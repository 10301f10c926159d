"""Copies of the project in which the real pipeline runs, by the real ``dvc``."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

FILES = ("dvc.yaml", "params.yaml", "pyproject.toml", ".dvcignore")
FOLDERS = ("diva", "stages", ".dvc")


@dataclass(frozen=True)
class Copy:
    """A checkout of its own, with a git history of its own."""

    root: Path

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command in the copy's folder, importing the copy's code."""
        python = str(Path(sys.executable).parent)
        environment = os.environ | {
            "PATH": f"{python}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.root),
            "OMP_NUM_THREADS": "1",  # two copies run side by side; the same bytes need the same number of threads
            "DO_NOT_TRACK": "1",
        }
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} failed\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done

    def diva(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The ``diva`` command of the copy."""
        return self.run(sys.executable, "-m", "diva.commands.cli", *arguments, check=check)

    def repro(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``dvc repro``, never from the run cache."""
        return self.run(sys.executable, "-m", "dvc", "repro", "--no-run-cache", *arguments, check=check)

    def edit(self, name: str, change: Callable[[dict], None]) -> None:
        """Change a YAML file of the copy."""
        path = self.root / name
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))


def ran(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Stages that a ``dvc repro`` ran."""
    return {line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")}


def copy(project: Path, to: Path) -> Copy:
    """A copy of what git would track, as a fresh repository."""
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "tmp", "cache", "*.tmp")
        shutil.copytree(project / folder, to / folder, ignore=ignored)
    for file in FILES:
        shutil.copy(project / file, to / file)
    (to / "data").mkdir()
    shutil.copy(project / "data" / "ledger.yaml", to / "data" / "ledger.yaml")
    fresh = Copy(to)
    fresh.run("git", "init", "--quiet")
    return fresh


@pytest.fixture(scope="session")
def embedded(project, tmp_path_factory) -> Copy:
    """The embedded default, run once; tests that change it take a copy of it."""
    fresh = copy(project, tmp_path_factory.mktemp("embedded") / "project")
    fresh.repro()
    return fresh


@pytest.fixture
def rerun(embedded, tmp_path) -> Copy:
    """A copy of the embedded default after its run, to change at will."""
    shutil.copytree(embedded.root, tmp_path / "project", symlinks=True)
    return Copy(tmp_path / "project")


@pytest.fixture
def fresh(project, tmp_path) -> Copy:
    """A copy in which nothing has run."""
    return copy(project, tmp_path / "project")
