"""A tiny project with two published versions, made by the real stages, git and DVC, with a remote in a folder."""

import json
import shutil
from pathlib import Path

import polars as pl

from tests.pipeline.conftest import Copy, copy

STAGES = """
import importlib, sys
for stage in sys.argv[1:]:
    verb, _, key = stage.partition("@")
    module = importlib.import_module(f"stages.{verb}")
    run = getattr(module, "main", None) or getattr(module, verb)
    run(key) if key else run()
"""
PLAN = """
import json, sys, yaml
from diva.ingest import sources
from diva.store import ledger, paths
def digits(offset, size, wrong=0.0):
    return {"offset": offset, "size": size, "wrong": wrong, "seed": 1}
settings = json.loads(sys.argv[1])
if paths.LEDGER.exists():
    book = ledger.read()
else:
    core = digits(0, 60, 0.2)
    book = ledger.start(ledger.Batch(source="digits", checksum=sources.checksum("digits", core), options=core))
    book = sources.accept(book, "test", "digits", digits(95, 40))
for offset, size in json.loads(sys.argv[2]):
    book = sources.accept(book, None, "digits", digits(offset, size, 0.2))
whole = yaml.safe_load(paths.PARAMS.read_text())
extend, curate = whole["extend"] | settings, whole["curate"]
ledger.write(paths.LEDGER, ledger.plan_round(book, {"extend": extend, "curate": curate}))
"""
PUBLISH = """
import sys
from diva.versions import versions
versions.commit(f"Publish {sys.argv[1]}")
versions.tag(sys.argv[1])
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


def run(project: Copy, *stages: str) -> None:
    """Stages in one process, then their outputs as DVC's (a process each would take minutes)."""
    project.run("python", "-c", STAGES, *stages)
    project.run("python", "-m", "dvc", "commit", "--quiet", "--force")


def plan(project: Copy, *batches: tuple[int, int], **settings: object) -> None:
    """One more round, after these slices of digits as batches."""
    project.run("python", "-c", PLAN, json.dumps({"per_round": 10} | settings), json.dumps(batches))


def publish(project: Copy, name: str) -> None:
    """Push, commit, tag."""
    project.run("python", "-m", "dvc", "push", "--quiet")
    project.run("python", "-c", PUBLISH, name)


def identify(project: Copy) -> None:
    """Somebody who commits."""
    project.run("git", "config", "user.name", "Tester")
    project.run("git", "config", "user.email", "tester@example.org")


def make(source: Path, folder: Path) -> Copy:
    """curated@v0.1.0, of a round; then two takedowns and a correction; then curated@v0.2.0."""
    project = copy(source, folder / "project")
    identify(project)
    shutil.copy(source / ".gitignore", project.root)
    (project.root / "data/ledger.yaml").unlink()
    (project.root / "tiny.py").write_text(NETWORK)
    project.edit("params.yaml", lambda params: params["extract"].update(backbone="tiny:network"))
    project.run("python", "-m", "dvc", "remote", "add", "--quiet", "--force", "-d", "local", str(folder / "remote"))
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "-m", "Code")
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


def chosen(project: Copy) -> tuple[list[str], pl.DataFrame]:
    """Samples to take down (of the core, added, waiting in the pool), and a correction of one of the core's labels."""
    state = pl.read_parquet(project.root / "data/curated/r001.parquet")
    waiting = pl.read_parquet(project.root / "data/pool/b001.parquet").join(state, on="sample_id", how="anti")
    core, added = (state.filter(pl.col("origin") == origin) for origin in ("core", "pool"))
    gone = [core["sample_id"][0], added["sample_id"][0], waiting["sample_id"][0]]
    label = next(label for label in sorted(set(core["label"])) if label != core["label"][1])
    return gone, core[1:2].select("sample_id", label=pl.lit(label))
