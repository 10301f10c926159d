"""MLflow hears which version a training takes."""

import json
import re
import sys
from contextlib import chdir
from pathlib import Path

import pytest

from diva.store import digests
from tests.projects.checkout import ROOT, Project

pytestmark = pytest.mark.xdist_group("versions")


def test_a_run_of_mlflow_names_the_version_that_it_trains_on(
    two_versions: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the site shows it, in a real store."""
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed, and not pinned")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    page = (ROOT / "docs/how-to/training.md").read_text("utf-8")
    (shown,) = re.findall(r"^```py\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    project = two_versions.copy(tmp_path / "project")
    with chdir(project.root):
        exec(compile(shown, "training.md", "exec"), {})  # noqa: S102 - what the page shows
    run = mlflow.last_active_run()
    (entry,) = run.inputs.dataset_inputs
    tags = {tag.key: tag.value for tag in entry.tags}
    assert (tags["version"], tags["mlflow.data.context"]) == ("curated@v0.2.0", "training")
    assert entry.dataset.name == "curated"
    train = project.root / "data/release/train.parquet"
    assert digests.sha256(train).startswith(entry.dataset.digest)
    where = json.loads(entry.dataset.source)["tags"]
    assert where["commit"] == project.git("rev-parse", "curated@v0.2.0^{commit}")


def test_without_mlflow_its_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from diva.versions import tracking

    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match="pip install mlflow-skinny"):
        tracking.log_input()
