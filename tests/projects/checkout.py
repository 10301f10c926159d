"""A checkout of its own, with git, DVC and, where a test asks for it, nights: the one builder of projects for tests."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from diva.store import test_decisions
from tests.projects import digits

ROOT = Path(__file__).resolve().parents[2]
FILES = ("dvc.yaml", "params.yaml", "pyproject.toml", "prefect.yaml", "prefect.toml", ".dvcignore", ".gitignore")
FOLDERS = ("diva", "stages", "flows", ".dvc")
Images = Callable[[Path, range], Path]  # that makes a folder class/row.png
DATE = "2026-03-01T02:00:00+0000"  # equal histories then have equal commits


class Project:
    """A project below a folder.

    Args:
        root: of the project.
        api: of a Prefect server; None to start one for each run.
    """

    def __init__(self, root: Path, api: str | None = None) -> None:
        self.root, self.api = root, api

    @property
    def environment(self) -> dict[str, str]:
        """Of commands in the project: its own code, this environment's programs."""
        own = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PWD": str(self.root),
            "PYTHONPATH": str(self.root),
            "PYTHONDONTWRITEBYTECODE": "",  # the project's code is compiled once, not by every process
            "OMP_NUM_THREADS": "1",  # equal bytes need an equal number of threads
            "DO_NOT_TRACK": "1",
            "PREFECT_HOME": str(self.root / ".prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "GIT_AUTHOR_DATE": DATE,
            "GIT_COMMITTER_DATE": DATE,
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        return os.environ | own | ({"PREFECT_API_URL": self.api} if self.api else {})

    def start(self, *command: str, **options: Any) -> "subprocess.Popen[str]":
        """A command at work in the project, with its output as text in one stream."""
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | options
        return subprocess.Popen(command, cwd=self.root, env=self.environment, **streams)

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """A command in the project, to its end; AssertionError where it fails, unless that is not to be checked."""
        done = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} failed\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
        return done

    def git(self, *arguments: str) -> str:
        """Output of a git command."""
        return self.run("git", *arguments).stdout.strip()

    def dvc(self, *arguments: str) -> str:
        """Output of a DVC command."""
        return self.run(sys.executable, "-m", "dvc", *arguments).stdout

    def repro(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """``dvc repro``, never from the run cache."""
        return self.run(sys.executable, "-m", "dvc", "repro", "--no-run-cache", *arguments, check=check)

    def diva(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """The ``diva`` command of the project's code."""
        return self.run(sys.executable, "-m", "diva.commands.cli", *arguments, check=check)

    def nightly(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """``python -m flows.nightly``."""
        return self.run(sys.executable, "-m", "flows.nightly", *arguments, check=check)

    def commit(self, message: str = "Change") -> None:
        """Commit everything that is not ignored."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def edit(self, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change a YAML file."""
        path = self.root / name
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def set(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change params.yaml and commit."""
        self.edit("params.yaml", change)
        self.commit()

    def deliver(
        self, name: str, offset: int, size: int = 60, complete: bool = True, images: Images = digits.images
    ) -> Path:
        """A folder of digits, or of other images, in the watched folder."""
        folder = images(self.root / "deliveries" / name, range(offset, offset + size))
        if complete:
            (folder / ".complete").touch()
        return folder

    def ledger(self) -> dict[str, Any]:
        """As it stands in the work tree."""
        return yaml.safe_load((self.root / "data/ledger.yaml").read_text())

    def tags(self) -> list[str]:
        """Versions, oldest first."""
        return self.git("tag", "--list", "curated@*", "--sort=version:refname").split()

    def copy(self, to: Path) -> "Project":
        """All of it elsewhere, caches included."""
        shutil.copytree(self.root, to, symlinks=True)
        return Project(to, self.api)

    def clone(self, to: Path) -> "Project":
        """What git has of it."""
        self.run("git", "clone", "--quiet", str(self.root), str(to))
        return identified(Project(to, self.api))


def checkout(root: Path, api: str | None = None) -> Project:
    """A copy of what git tracks of this checkout but its ledger, as a new repository without a commit."""
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "tmp", "cache", "*.tmp")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    for file in FILES:
        shutil.copy(ROOT / file, root / file)
    (root / "data/reviews").mkdir(parents=True)
    (root / test_decisions.FILE).write_text(test_decisions.EMPTY)
    project = Project(root, api)
    project.git("init", "--quiet", "--initial-branch=main")
    return identified(project)


def embedded(root: Path) -> Project:
    """The same with the ledger that the repository ships."""
    project = checkout(root)
    shutil.copy(ROOT / "data/ledger.yaml", root / "data/ledger.yaml")
    return project


def identified(project: Project) -> Project:
    """Somebody commits there."""
    project.git("config", "user.name", "Somebody")
    project.git("config", "user.email", "somebody@example.com")
    return project


def ran(done: "subprocess.CompletedProcess[str]") -> set[str]:
    """Stages that a ``dvc repro`` ran."""
    return {line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")}
