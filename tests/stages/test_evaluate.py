"""Stage evaluate: a network fine-tuned on the training sets, on request."""

import json
from pathlib import Path

import pytest

from diva.report import summary
from diva.store import paths
from stages.evaluate import main as evaluate
from tests.projects import real_stages as project


def test_the_stage_evaluate_judges_core_release_and_everything_by_it_on_request(workplace: Path):
    settings = {"finetune": 2, "draws": 20, "uniform": 1, "learners": ["ridge", "knn"], "steps": 0}
    for name, seeds in (("core", range(12)), ("test", range(50, 59)), ("pool", range(100, 109))):
        project.album(workplace / name, seeds)
    project.begin("core", "test", evaluate=settings)
    project.accept("pool")
    project.run()
    evaluate()
    content = json.loads(paths.metrics("evaluate").read_text())
    judged = {name: figures["finetuned"] for name, figures in content["sets"].items() if "finetuned" in figures}
    assert set(judged) == {"core", content["release"], "everything"}
    assert judged["core"]["difference"] == 0
    shown = summary.panel(summary.read())
    assert shown.columns[-1].title == "fine-tuned"
    told = {row.cells[0]: row.cells[-1] for row in shown.rows}
    assert told["core"] == f"{100 * judged['core']['error']:.2f}"
    assert told["uniform, of equal size"] == summary.NOTHING
    assert all(0 <= figures["low"] <= figures["error"] <= figures["high"] <= 1 for figures in judged.values())


def test_ready_features_cannot_be_fine_tuned(workplace: Path):
    for name, seeds in (("core", range(18)), ("test", range(50, 56)), ("pool", range(100, 109))):
        project.pack(workplace / f"{name}.npz", seeds)
    project.begin("core.npz", "test.npz", evaluate={"finetune": 1, "learners": ["ridge"]})
    project.accept("pool.npz")
    project.run()
    with pytest.raises(ValueError, match=r"evaluate\.finetune must be 0 where features were delivered ready, got 1"):
        evaluate()
