"""A tiny project with two published versions, made by the real stages, git and DVC, with a remote in a folder."""

from pathlib import Path
from typing import Any

import polars as pl
import yaml

from diva.ingest import sources
from diva.store import ledger
from tests.projects import digits, ledgers
from tests.projects.checkout import Project, checkout

STAGES = """
import importlib, sys
for stage in sys.argv[1:]:
    verb, _, key = stage.partition("@")
    module = importlib.import_module(f"stages.{verb}")
    run = getattr(module, "main", None) or getattr(module, verb)
    run(key) if key else run()
"""
PUBLISH = """
import sys
from diva.versions import repository
repository.commit(f"Publish {sys.argv[1]}")
repository.tag(sys.argv[1], sys.argv[1])
"""
NETWORK = """
from torch import nn
def network():
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 40), nn.ReLU(), nn.Linear(40, 10))
"""  # few features: closed forms of 1,000 would take most of the time
NEWEST = ("reweight", "release", "evaluate", "report")
FIRST = (
    "code",
    *(f"{verb}@{batch}" for batch in ("core", "test", "b001") for verb in ("download", "extract")),
    *("fit", "score@soft", "start", "pool@b001", "extend@r001", "curate@r001"),
    *NEWEST,
)  # fmt: skip
SECOND = ("extend@r002", "curate@r002", *NEWEST)


def run(project: Project, *stages: str) -> None:
    """Stages in one process, then their outputs as DVC's (a process each would take minutes)."""
    project.run("python", "-c", STAGES, *stages)
    project.run("python", "-m", "dvc", "commit", "--quiet", "--force")


def plan(project: Project, *batches: tuple[int, int], **settings: object) -> None:
    """One more round, after these slices of digits as batches."""
    path = project.root / "data/ledger.yaml"
    if path.exists():
        book = ledger.read(path)
    else:
        core, test = ("digits", digits.options(0, 60, 0.2)), ("digits", digits.options(95, 40))
        book = ledgers.write(core, path=path, test=test)
    for offset, size in batches:
        book = sources.accept(book, None, "digits", digits.options(offset, size, 0.2))
    params = yaml.safe_load((project.root / "params.yaml").read_text())
    extend = params["extend"] | {"per_round": 10} | settings
    ledger.write(path, ledger.plan_round(book, {"extend": extend, "curate": params["curate"]}))


def publish(project: Project, name: str) -> None:
    """Push, commit, tag."""
    project.run("python", "-m", "dvc", "push", "--quiet")
    project.run("python", "-c", PUBLISH, name)


def make(folder: Path) -> Project:
    """curated@v0.1.0, of a round; then two takedowns and a correction; then curated@v0.2.0."""
    project = checkout(folder / "project")
    (project.root / "tiny.py").write_text(NETWORK)
    project.edit("params.yaml", small)
    project.run("python", "-m", "dvc", "remote", "add", "--quiet", "--force", "-d", "local", str(folder / "remote"))
    project.commit("Code")
    plan(project, (50, 50))
    run(project, *FIRST)
    publish(project, "curated@v0.1.0")
    gone, corrected = chosen(project)
    project.diva("forget", *gone, "--why", "asked by its owner")
    corrected.write_csv(folder / "fixes.csv")
    project.diva("relabel", str(folder / "fixes.csv"))
    plan(project, per_class=2)
    run(project, *SECOND)
    publish(project, "curated@v0.2.0")
    return project


def small(params: dict[str, Any]) -> None:
    """A tiny network, few steps, one learner; a release of all members, whose counts then are those of the set."""
    params["extract"].update(backbone="tiny:network", **digits.UNTRAINED)
    params["release"]["flagged"] = "keep"
    params["reweight"]["steps"] = 3
    params["evaluate"]["learners"] = ["ridge"]


def chosen(project: Project) -> tuple[list[str], pl.DataFrame]:
    """Samples to take down (of the core, added, waiting in the pool), and a correction of one of the core's labels."""
    state = pl.read_parquet(project.root / "data/curated/r001.parquet")
    waiting = pl.read_parquet(project.root / "data/pool/b001.parquet").join(state, on="sample_id", how="anti")
    core, added = (state.filter(pl.col("origin") == origin) for origin in ("core", "pool"))
    gone = [core["sample_id"][0], added["sample_id"][0], waiting["sample_id"][0]]
    label = next(label for label in sorted(set(core["label"])) if label != core["label"][1])
    return gone, core[1:2].select("sample_id", label=pl.lit(label))
