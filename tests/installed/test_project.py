"""A project in a folder of one's own, by the installed command alone."""

import json
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.installed.conftest import ROOT, Installation
from tests.projects import digits

pytestmark = pytest.mark.xdist_group("installed")
SMALL = {
    "extend": {"per_round": 60},
    "evaluate": {"draws": 20, "uniform": 1},
    "reweight": {"steps": 1, "folds": 2},
    "report": {"calls": 2},
}


def shrink(folder: Path) -> None:
    path = folder / "params.yaml"
    content = yaml.safe_load(path.read_text())
    for section, values in SMALL.items():
        content[section] |= values
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return {name: str(digits.images(folder / name, rows)) for name, rows in
            (("core", range(80)), ("pool", range(80, 140)), ("test", range(1700, 1740)))}  # fmt: skip


@pytest.fixture(scope="module")
def project(installation, photos, tmp_path_factory):
    """Begun in an empty folder, run, and committed."""
    folder = tmp_path_factory.mktemp("own") / "project"
    folder.mkdir()
    sources = ("--core", photos["core"], "--pool", photos["pool"], "--test", photos["test"], "--rounds", "1")
    said = installation.run(folder, "diva", "init", *sources, "--backbone", "resnet18", "--weights", "none")
    assert "diva plan (what it costs), then diva run" in said
    assert git(folder, "status", "--porcelain").startswith("??")  # a repository, and nothing committed
    shrink(folder)
    said = installation.run(folder, "diva", "run")
    assert "data/release" in said
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=S", "-c", "user.email=s@example.com", "commit", "--quiet", "-m", "Our data")
    return folder


def test_a_project_needs_nothing_but_the_installed_command(installation: Installation, project: Path):
    assert pl.read_parquet(project / "data/release/train.parquet").height > 80
    assert not (project / "diva").is_dir()
    code = json.loads((project / "data/code/fit.json").read_text())
    assert {"stages/fit.py", "diva/numerics/ridge.py"} <= code.keys()
    assert "up to date" in installation.run(project, "dvc", "status")
    installation.run(project, "diva", "night")
    assert git(project, "tag", "--list", "curated@*").split() == ["curated@v0.1.0"]
    assert "as published" in installation.run(project, "diva", "verify", "--all")
    installation.run(project, "diva", "export", "v0.1.0", "--to", "out", "--format", "csv")
    assert (project / "out").is_dir()
    installation.run(project.parent, "dvc", "artifacts", "get", str(project), "curated", "-o", "release")
    train = pl.read_parquet(project.parent / "release/train.parquet")
    assert train.equals(pl.read_parquet(project / "data/release/train.parquet"))


def test_a_newer_library_asks_for_an_upgrade_that_keeps_what_was_changed_and_what_was_published(
    installation, project, build, tmp_path
):
    """A project with published rounds: each command names the remedy, and the rounds to come rest on the new code."""
    own = tmp_path / "own"
    shutil.copytree(project, own / "project", symlinks=True)
    folder, tree = own / "project", tmp_path / "tree"
    installation.run(folder, "diva", "night")
    published = git(folder, "show", "curated@v0.1.0:dvc.lock")
    left_out = (".venv", ".git", "data", ".*_cache", "__pycache__", "tests", "benchmarks")
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*left_out))
    (tree / "data").mkdir()
    shutil.copy(ROOT / "data/ledger.yaml", tree / "data")
    for name in ("stages/fit.py", "prefect.yaml", "diva/numerics/ridge.py"):
        (tree / name).write_text((tree / name).read_text() + "# newer\n")
    (tree / "stages/fresh.py").write_text('"""Of the new version."""\n')
    settings = (tree / "params.yaml").read_text()
    (tree / "params.yaml").write_text(settings.replace("\nreport:\n", "\nreport:\n  fresh: 1\n"))
    pyproject = (tree / "pyproject.toml").read_text()
    (tree / "pyproject.toml").write_text(pyproject.replace('version = "', 'version = "9.'))
    newer = Installation(tmp_path / "env", build(tree))

    (folder / "prefect.yaml").write_text((folder / "prefect.yaml").read_text() + "# ours\n")
    (folder / "stages/own.py").write_text('"""Of this project."""\n')
    for command in (("diva", "summary"), ("python", "-m", "stages.params"), ("python", "-m", "flows.nightly")):
        assert "`diva upgrade` brings the project to it" in newer.run(folder, *command, status=1)
    before = {path: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}
    assert "+# newer" in newer.run(folder, "diva", "upgrade", "--diff")
    assert before == {path: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}
    said = newer.run(folder, "diva", "upgrade", "--yes")
    assert "prefect.yaml was changed here and in the new version: yours stays" in said
    assert (folder / "prefect.yaml").read_text().endswith("# ours\n")
    assert (folder / "stages/fit.py").read_text().endswith("# newer\n")
    assert (folder / "stages/fresh.py").is_file()
    assert (folder / "stages/own.py").is_file()
    assert yaml.safe_load((folder / "params.yaml").read_text())["report"]["fresh"] == 1
    again = newer.run(folder, "diva", "upgrade", "--yes")
    assert "changed  " not in again.replace("was changed", "")
    # what was published stays, and is as it was
    assert git(folder, "show", "curated@v0.1.0:dvc.lock") == published
    (folder / "params.yaml").write_text((folder / "params.yaml").read_text().replace("  fresh: 1\n", ""))
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=S", "-c", "user.email=s@example.com", "commit", "--quiet", "-m", "Upgrade")
    assert "as published" in newer.run(folder, "diva", "verify", "--all")


def test_where_a_project_cannot_begin_nothing_is_written(installation, photos, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "dvc.yaml").write_text("stages: {}\n")
    said = installation.run(folder, "diva", "init", "--core", photos["core"], status=1)
    assert "without files of its names, got dvc.yaml" in said
    assert [path.name for path in folder.iterdir()] == ["dvc.yaml"]
    inner = tmp_path / "repository" / "inner"
    inner.mkdir(parents=True)
    git(inner.parent, "init", "--quiet")
    assert "must be the top of its git repository" in installation.run(
        inner, "diva", "init", "--core", photos["core"], status=1
    )
    said = installation.run(inner, "diva", "summary", status=1)
    assert "or begin one here: diva init --core SOURCE" in said


def test_a_list_of_ignored_files_that_lies_there_keeps_its_lines(installation, photos, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / ".gitignore").write_text("*.secret\n")
    installation.run(folder, "diva", "init", "--core", photos["core"], "--backbone", "resnet18", "--weights", "none")
    lines = (folder / ".gitignore").read_text().splitlines()
    assert lines[0] == "*.secret"
    assert "/data/?*" in lines
    assert "nothing" not in installation.run(folder, "diva", "upgrade")


@pytest.mark.slow  # the embedded example whole: a minute or two on two cores
def test_the_example_runs_to_its_training_set_and_its_first_night(installation: Installation, tmp_path: Path):
    """As the tutorial goes: one command, then a commit and a night; planted labels are called wrong, right ones not."""
    said = installation.run(tmp_path, "diva", "demo")
    folder = tmp_path / "diva-demo"
    assert "the embedded example" in said
    assert "data/release" in said
    assert (folder / "data/report/index.html").stat().st_size > 100_000
    train = pl.read_parquet(folder / "data/release/train.parquet")
    assert train["label"].n_unique() == 10
    planted = json.loads((folder / "data/metrics/evaluate.json").read_text())["planted"]
    assert planted["hit"] > 0.7 * planted["wrong"]
    assert "up to date" in installation.run(folder, "dvc", "status")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=S", "-c", "user.email=s@example.com", "commit", "--quiet", "-m", "Our data")
    installation.run(folder, "diva", "night", "--max-rounds", "1")
    assert "curated@v0.1.0" in installation.run(folder, "diva", "versions")
    assert "as published" in installation.run(folder, "diva", "verify", "--all")
