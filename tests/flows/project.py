"""A tiny project with a git repository and a DVC remote of its own, in which a round takes seconds."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = ("dvc.yaml", "params.yaml", "pyproject.toml", "prefect.yaml", "prefect.toml", ".dvcignore", ".gitignore")
FOLDERS = ("diva", "stages", "flows", ".dvc")
DATE = "2026-03-01T02:00:00+0000"  # equal histories then have equal commits
VERBS = ("extract", "fit", "score", "extend", "reweight", "evaluate", "report")
SMALL: dict[str, dict[str, Any]] = {
    "fit": {"ridges": [0.1, 1.0], "device": "cpu"},
    "extract": {"backbone": "resnet18", "device": "cpu"},
    "extend": {"stop": False},  # the pool is used up, whatever it holds
    "reweight": {"steps": 1, "folds": 2},
    "evaluate": {"draws": 20, "uniform": 1},
    "report": {"calls": 2},
}


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
        """Of commands in the project."""
        own = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PWD": str(self.root),
            "PYTHONPATH": str(self.root),
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
        """A command in the project, to its end."""
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

    def nightly(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """``python -m flows.nightly``."""
        return self.run(sys.executable, "-m", "flows.nightly", *arguments, check=check)

    def commit(self, message: str = "Change") -> None:
        """Commit everything that is not ignored."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def edit(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change params.yaml and commit."""
        path = self.root / "params.yaml"
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        self.commit()

    def deliver(self, name: str, offset: int, size: int = 60, complete: bool = True) -> Path:
        """A folder of digits in the watched folder."""
        from PIL import Image
        from sklearn.datasets import load_digits

        digits, folder = load_digits(), self.root / "deliveries" / name
        for row in range(offset, offset + size):
            path = folder / str(digits.target[row]) / f"{row:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((digits.images[row] * 15).astype("uint8")).save(path)
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


def create(root: Path, api: str | None = None, light: bool = True, per_round: int = 60) -> Project:
    """A project of 60 digits in the core and 40 in the test set, without a pool; committed, nothing run.

    Args:
        root: of the project.
        api: of a Prefect server; None to start one for each run.
        light: with stand-ins for the stages that import torch.
        per_round: samples that a round adds; a delivery has 60, and rounds go on until the pool is used up.
    """
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "tmp", "cache", "*.tmp")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    for file in FILES:
        shutil.copy(ROOT / file, root / file)
    (root / "data").mkdir()
    project = Project(root, api)
    write_ledger(project)
    project.git("init", "--quiet", "--initial-branch=main")
    project.git("config", "user.name", "Somebody")
    project.git("config", "user.email", "somebody@example.com")
    (root / ".git" / "info" / "exclude").write_text("deliveries/\n")

    def shrink(content: dict[str, Any]) -> None:
        for section, values in SMALL.items():
            content.setdefault(section, {}).update(values)
        content["extend"]["per_round"] = per_round

    if light:
        stand_in(project)
    project.edit(shrink)
    return project


def stand_in(project: Project, verbs: Sequence[str] = VERBS) -> None:
    """Let light.py do what the stages that import torch do, or some of them."""
    shutil.copy(Path(__file__).with_name("light.py"), project.root / "light.py")
    pipeline = project.root / "dvc.yaml"
    text = pipeline.read_text()
    for verb in verbs:
        text = re.sub(rf"python -m stages\.{verb}\b( --\w+)?", f"python light.py {verb}", text)
    pipeline.write_text(text)


def grow(project: Project) -> None:
    """New code (of a round, and of what published rounds rest on), new parameters, and a second delivery."""
    for name in ("stages/curate.py", "diva/store/features.py"):
        with (project.root / name).open("a") as file:
            file.write("# new\n")
    project.edit(lambda params: params["extend"].update(per_round=61))
    project.deliver("d2", 300)


def write_ledger(project: Project) -> None:
    """A core and a test set of scikit-learn's digits; no rounds."""
    from diva.ingest import sources
    from diva.store import ledger

    def digits(offset: int, size: int, wrong: float) -> tuple[str, dict[str, Any]]:
        return "digits", {"offset": offset, "size": size, "wrong": wrong, "seed": 1}

    source, options = digits(0, 60, 0.1)
    book = ledger.start(ledger.Batch(source=source, checksum=sources.checksum(source, options), options=options))
    source, options = digits(1700, 40, 0.0)
    book = sources.accept(book, "test", source, options)
    ledger.write(project.root / "data/ledger.yaml", book)
