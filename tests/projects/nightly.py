"""A tiny project with a git repository and a DVC remote of its own, in which a round takes seconds."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.projects import digits, ledgers
from tests.projects.checkout import Project, checkout

VERBS = ("extract", "fit", "score", "extend", "reweight", "evaluate", "report")
SMALL: dict[str, dict[str, Any]] = {
    "fit": {"ridges": [0.1, 1.0], "device": "cpu"},
    "extract": {"backbone": "resnet18", "device": "cpu", **digits.UNTRAINED},
    "extend": {"stop": False},  # the pool is used up, whatever it holds
    "reweight": {"steps": 1, "folds": 2},
    "evaluate": {"draws": 20, "uniform": 1},
    "report": {"calls": 2},
}


def create(root: Path, api: str | None = None, light: bool = True, per_round: int = 60) -> Project:
    """A project of 60 digits in the core and 40 in the test set, without a pool; committed, nothing run.

    Args:
        root: of the project.
        api: of a Prefect server; None to start one for each run.
        light: with stand-ins for the stages that import torch.
        per_round: samples that a round adds; a delivery has 60, and rounds go on until the pool is used up.
    """
    project = checkout(root, api)
    core, test = ("digits", digits.options(0, 60, 0.1)), ("digits", digits.options(1700, 40))
    ledgers.write(core, path=root / "data/ledger.yaml", test=test)
    (root / ".git" / "info" / "exclude").write_text("deliveries/\n")

    def shrink(content: dict[str, Any]) -> None:
        for section, values in SMALL.items():
            content.setdefault(section, {}).update(values)
        content["extend"]["per_round"] = per_round

    if light:
        stand_in(project)
    project.set(shrink)
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
    project.set(lambda params: params["extend"].update(per_round=61))
    project.deliver("d2", 300)
