"""Stage evaluate: a network fine-tuned on the training sets, on request."""

import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from diva.report import run_metrics, summary, test_set
from diva.report.data import samples
from diva.store import decisions, evaluation, index, paths, test_decisions
from diva.store.decisions import Decision
from stages import report as report_stage
from stages.evaluate import main as evaluate
from stages.report import main as report
from tests.projects import real_stages as project


def test_the_stage_evaluate_judges_core_release_and_everything_by_it_on_request(
    workplace: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """Not, however, in the midst of a night, of which page and summary speak."""
    settings = {"finetune": 2, "draws": 20, "uniform": 1, "learners": ["ridge", "knn"], "steps": 0}
    for name, seeds in (("core", range(12)), ("test", range(50, 59)), ("pool", range(100, 109))):
        project.album(workplace / name, seeds)
    project.begin("core", "test", evaluate=settings)
    project.accept("pool")
    project.run()
    with caplog.at_level(logging.INFO, "diva"):
        evaluate()
    first = paths.metrics("evaluate").read_bytes()
    content = json.loads(first)
    assert re.search(r"seconds of training: ridge [\d.]+, knn [\d.]+", caplog.text)
    shutil.rmtree(paths.RESULTS)
    evaluate()
    assert paths.metrics("evaluate").read_bytes() == first, "made again, not looked up: no clock is part of a version"
    judged = {name: figures["finetuned"] for name, figures in content["sets"].items() if "finetuned" in figures}
    assert set(judged) == {"core", content["release"], "everything"}
    assert judged["core"]["difference"] == 0
    shown = summary.panel(run_metrics.read())
    assert shown.columns[-1].title == "fine-tuned"
    told = {row.cells[0]: row.cells[-1] for row in shown.rows}
    assert told["core"] == f"{100 * judged['core']['error']:.2f}"
    assert told["uniform, of equal size"] == summary.NOTHING
    assert all(0 <= figures["low"] <= figures["error"] <= figures["high"] <= 1 for figures in judged.values())
    monkeypatch.setenv(evaluation.INTERIM, "r001")
    evaluate()
    interim = json.loads(paths.metrics("evaluate").read_text())
    assert not evaluation.warning(interim["sets"]["release_unweighted"])
    for figures in content["sets"].values():
        figures.pop("panel"), figures.pop("finetuned", None)
    assert interim == content | {"learners": interim["learners"], "interim": True}
    assert summary.INTERIM in summary.caveats(run_metrics.read())
    assert not summary.panel(run_metrics.read()).rows
    report()
    assert summary.INTERIM.split(",")[0] in paths.REPORT.read_text()
    assert json.loads(paths.FIGURES.read_text())["all_learners"] == {}


def test_ready_features_cannot_be_fine_tuned(workplace: Path):
    for name, seeds in (("core", range(18)), ("test", range(50, 56)), ("pool", range(100, 109))):
        project.pack(workplace / f"{name}.npz", seeds)
    project.begin("core.npz", "test.npz", evaluate={"finetune": 1, "learners": ["ridge"]})
    project.accept("pool.npz")
    project.run()
    with pytest.raises(ValueError, match=r"evaluate\.finetune must be 0 where features were delivered ready, got 1"):
        evaluate()


def separable(path: Path, seeds: range, labels: list[str] | None = None) -> None:
    """Ready features whose classes, in turn, lie far apart."""
    rows = [2 * np.eye(6)[seed % 3] + 0.3 * np.random.default_rng(seed).normal(size=6) for seed in seeds]
    project.pack(path, seeds, labels=labels, features=np.array(rows, np.float32))


def test_wrong_labels_of_the_test_set_are_named_and_change_nothing_that_trains(workplace: Path):
    """Six of sixty test labels are wrong; the page and the summary name them, and the release is what it was."""
    settings = {"draws": 20, "uniform": 1, "learners": ["ridge"], "steps": 0}
    wrong, made = {3, 11, 20, 31, 44, 58}, []
    for planted in (set(), wrong):
        labels = [project.CLASSES[(seed + (seed - 200 in planted)) % 3] for seed in range(200, 260)]
        separable(workplace / "core.npz", range(60))
        separable(workplace / "pool.npz", range(100, 130))
        separable(workplace / "test.npz", range(200, 260), labels=labels)
        project.begin("core.npz", "test.npz", evaluate=settings)
        project.accept("pool.npz")
        project.run()
        evaluate()
        audit = json.loads(paths.metrics("evaluate").read_text())["audit"]
        suspicious, files = evaluation.read("audit"), (paths.TRAIN, paths.WEIGHTS, paths.curated("r001"))
        made.append(
            (
                suspicious,
                audit,
                [path.read_bytes() for path in files],
                test_set.doubts(json.loads(paths.metrics("evaluate").read_text())),
            )
        )
    clean, planted = made
    assert clean[0].is_empty()
    assert clean[1]["suspicious"] == 0
    assert clean[3] == ""
    rows = index.read_batch("test")["sample_id"].to_list()
    assert {rows.index(name) for name in planted[0]["sample_id"]} == wrong
    assert {row.cells[0] for row in test_set.audited(planted[0]).rows} == {rows[number] for number in wrong}
    assert planted[1]["suspicious"] == 6
    assert planted[1]["without"]["mean"] == 0 < planted[1]["with"]["mean"] == 0.1
    assert "6 of 60 look wrong" in planted[3]
    assert clean[2] == planted[2]
    report()
    assert "Test labels" in paths.REPORT.read_text()
    data = report_stage.read()
    assert set(data.doubted["sample_id"]) == set(planted[0]["sample_id"])
    assert not set(data.doubted["sample_id"]) & set(samples(data)["sample_id"])
    people_decide(rows, planted[2])


def people_decide(rows: list[str], before: list[bytes]) -> None:
    """Three of the six are corrected, one is confirmed, one left out; the error by that, and nothing of it trains."""
    right = [Decision(rows[number], "relabel", project.CLASSES[(200 + number) % 3]) for number in (3, 11, 20)]
    said = [*right, Decision(rows[31], "accept"), Decision(rows[44], "reject"), Decision("elsewhere", "reject")]
    test_decisions.add(decisions.frame(said))
    evaluate()
    audit = json.loads(paths.metrics("evaluate").read_text())["audit"]
    assert (audit["suspicious"], audit["by_people"]) == (1, 5)
    assert evaluation.read("audit")["sample_id"].to_list() == [rows[58]]
    assert audit["with"]["mean"] == 6 / 60
    assert audit["without"]["mean"] == pytest.approx(5 / 59)
    assert audit["decided"]["mean"] == pytest.approx(2 / 59)
    assert audit["decided"]["low"] <= audit["decided"]["mean"] <= audit["decided"]["high"]
    assert "as people decided on 5 labels" in dict(summary.summarise(run_metrics.read()).facts)["test labels"]
    project.run()
    assert [path.read_bytes() for path in (paths.TRAIN, paths.WEIGHTS, paths.curated("r001"))] == before
    test_decisions.add(decisions.frame([Decision(rows[3], "relabel", "a class that nobody has")]))
    with pytest.raises(ValueError, match=r"test-decisions\.csv must name labels of core or pool"):
        evaluate()
