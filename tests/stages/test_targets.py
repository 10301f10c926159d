"""Several labels a sample, or a number: from a delivery to the release, through every stage."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from diva.commands import project
from diva.curation import judgement, panel, target_extend, target_rows
from diva.curation.rows import read_problem
from diva.report import summary
from diva.report.run_metrics import read as run_metrics
from diva.store import (
    curated,
    decisions,
    evaluation,
    index,
    ledger,
    manifest,
    paths,
    release,
    suggested,
    tables,
    test_decisions,
)
from diva.text.targets import label_names
from diva.versions import labelling, reviews
from stages import curate, download, evaluate, extend, extract, fit, pool, reweight, score, start, suggest
from stages import release as releasing
from stages import report as reporting

ROOT = Path(__file__).resolve().parents[2]
NAMES, CORE, POOL, TEST, WIDTH = np.array(["cat", "dog", "tree"]), 80, 80, 40, 6
QUICK = {
    "evaluate": {"draws": 20, "uniform": 1, "steps": 1},
    "reweight": {"steps": 1, "folds": 2},
    "suggest": {"of": ["pool"], "budget": 5},
}


def rows(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Features, and labels that follow them."""
    random = np.random.default_rng(5)
    x = random.normal(size=(CORE + POOL + TEST, WIDTH)).astype(np.float32)
    y = x[:, :3] + 0.1 * random.normal(size=(len(x), 3))
    return x, (y > 0).astype(int) if kind == "multilabel" else (y @ [3.0, -2.0, 1.0]) + 10


def spoilt(y: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A tenth of the entries turned round, or of the numbers moved; which."""
    random = np.random.default_rng(6)
    wrong = random.random(y.shape) < 0.1
    wrong[CORE + POOL :] = False
    return (y ^ wrong if kind == "multilabel" else y + wrong * 30 * random.choice([-1, 1], y.shape)), wrong


def edit(**sections: dict) -> None:
    content = yaml.safe_load(paths.PARAMS.read_text())
    for name, keys in sections.items():
        content[name] |= keys
    paths.PARAMS.write_text(yaml.safe_dump(content))


def all_stages() -> None:
    book = ledger.read()
    for batch in ledger.order(book):
        download.download(batch)
        extract.extract(batch)
    fit.fit()
    score.score("soft")
    start.start()
    for link in ledger.chain(book.pool, "pool"):
        pool.pool(link)
    for name in ledger.chain(book.rounds, "rounds"):
        extend.extend(name)
        curate.curate(name)
    for stage in (reweight.main, releasing.main, evaluate.main):
        stage()
    suggest.suggest("pool")
    reporting.main()


@pytest.fixture(params=["multilabel", "regression"], scope="module")
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, np.ndarray]]:
    """A project whose stages have all run, in its folder; and what of the labels is wrong."""
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    x, y = rows(kind)
    given, wrong = spoilt(y, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        paths.LEDGER.parent.mkdir()
        shutil.copy(ROOT / "params.yaml", paths.PARAMS)
        parts = {"core": slice(CORE), "pool": slice(CORE, CORE + POOL), "test": slice(CORE + POOL, None)}
        for name, part in parts.items():
            ids = [f"s{number}" for number in range(len(x))[part]]
            columns = {"classes": NAMES} if kind == "multilabel" else {}
            np.savez(f"{name}.npz", features=x[part], labels=given[part], sample_id=ids, **columns)
        np.savez("wait.npz", features=x[:20] + 0.01, sample_id=[f"w{number}" for number in range(20)])
        if kind == "regression":
            with pytest.raises(ValueError, match=r"labels are 80 different numbers in 80 samples"):
                project.init(core="core.npz")
        asked = {} if kind == "multilabel" else {"task": "regression"}
        project.init(core="core.npz", pool=["pool.npz", "wait.npz"], test="test.npz", rounds=2, **asked)
        edit(**QUICK)
        all_stages()
        yield kind, wrong


def test_the_task_is_what_params_and_manifests_say(finished):
    kind, _ = finished
    params = yaml.safe_load(paths.PARAMS.read_text())
    assert (params["download"]["task"], manifest.task()) == (kind, kind)
    stored = pl.read_parquet(paths.manifest("core"))["label"]
    assert stored.dtype == (pl.List(pl.String) if kind == "multilabel" else pl.Float64)
    facts = dict(summary.summarise(run_metrics()).facts)
    assert facts["core"] == "80 samples of " + ("3 labels, several each" if kind == "multilabel" else "one number each")


def test_what_is_wrong_is_flagged_entry_by_entry_and_leaves_the_release(finished):
    kind, wrong = finished
    state = curated.read(ledger.read().latest)
    number = state["sample_id"].str.slice(1).cast(pl.Int64).to_numpy()
    bad = (wrong.any(1) if kind == "multilabel" else wrong)[number]
    flagged = state["flagged"].to_numpy()
    assert flagged[bad].mean() > 0.8
    assert bad[flagged].mean() > 0.7
    train = pl.read_parquet(paths.TRAIN)
    assert set(train["sample_id"]).isdisjoint(state.filter("flagged")["sample_id"])
    if kind == "regression":
        assert train["target"].to_list() == [float(text) for text in train["label"]]
        assert state.filter("flagged")["reason"].str.contains("the others say").all()
        return
    assert train["target"].to_list() == [label_names(text) for text in train["label"]]
    entries = tables.read(paths.ENTRIES, release.ENTRIES)
    called = {(int(name[1:]), label) for name, label in entries.select("sample_id", "label").iter_rows()}
    planted = {(i, NAMES[j]) for i, j in zip(*np.nonzero(wrong), strict=True) if i in set(number)}
    assert len(called & planted) > 0.7 * max(len(called), len(planted))
    row = entries.row(0, named=True)
    reason = state.filter(sample_id=row["sample_id"])["reason"].item()
    assert f"{row['label']} is {'wrong' if row['given'] else 'missing'}" in reason


def test_rounds_add_what_helps_and_training_sets_are_judged(finished):
    kind, _ = finished
    assert curated.read("r001").filter(pl.col("origin") == "pool").height > 0
    metrics = tables.read_json(paths.metrics("evaluate"))
    errors = {name: figures["error"] for name, figures in metrics["sets"].items()}
    assert errors[metrics["release"]] <= errors["core"] < (0.25 if kind == "multilabel" else 1)
    assert {metrics["sets"][metrics["release"]][f"release_difference{end}"] for end in ("", "_low", "_high")} == {0.0}
    assert set(metrics["learners"]) >= {"ridge", "logistic" if kind == "multilabel" else "boosting"}
    assert metrics["test"]["measure"].startswith("share of wrong" if kind == "multilabel" else "unexplained")


def test_the_error_by_decisions_on_the_test_set_is_that_of_its_task(finished, monkeypatch):
    """Corrected to what the head predicts, a sample has no error, or next to none; the others' stay."""
    kind, _ = finished
    suspicious, audit = evaluation.read("audit"), tables.read_json(paths.metrics("evaluate"))["audit"]
    test = index.read_batch("test")
    assert reviews.tested().equals(test.select("sample_id", "label")), "labels are written as everywhere"
    name, wrong = test["sample_id"][0], "cat|dog|tree" if kind == "multilabel" else "1000"
    made = []
    for label in (wrong, suggestion(name)):
        test_decisions.add(decisions.frame([decisions.Decision(name, "relabel", label)]))
        evaluate.main()
        made.append(tables.read_json(paths.metrics("evaluate"))["audit"])
    test_decisions.FILE.unlink()
    evaluate.main()
    assert tables.read_json(paths.metrics("evaluate"))["audit"] == audit
    assert evaluation.read("audit").equals(suspicious)
    assert "decided" not in audit
    worse, best = (each["decided"]["mean"] for each in made)
    assert made[0]["with"] == made[1]["with"] == audit["with"]
    assert best <= audit["with"]["mean"] < worse


def suggestion(name: str) -> str:
    """What the release's head says of a test sample."""
    data = judgement.newest(read_problem())
    trial = data.trial(0.2, 0, draws=20, uniform=1, weighing={})
    head = trial.trained(panel.unflagged(data.members), None)
    said = target_rows.texts_of(target_extend.outputs_of(trial.test, head.model), trial.problem)
    return said[trial.exam.rows["sample_id"].to_list().index(name)]


def test_suggestions_and_what_comes_back_are_of_the_task(finished, tmp_path):
    kind, _ = finished
    wanted = tables.read(paths.suggested("pool"), suggested.SCHEMA)
    assert len(wanted) == 5
    assert all(
        label_names(text) or text == "|" if kind == "multilabel" else float(text) for text in wanted["suggested_label"]
    )
    first, second, third = wanted["sample_id"].head(3)
    back = tmp_path / "back.csv"
    said = {first: "dog; cat", second: "lion"} if kind == "multilabel" else {first: "3.50", second: "much"}
    back.write_text("sample_id,label\n" + "".join(f"{name},{label}\n" for name, label in said.items()))
    record = labelling.checked(ledger.read(), back, separator=";")
    taken = record.filter(pl.col("reason").is_null())
    assert taken.select("sample_id", "label").rows() == [(first, "cat|dog" if kind == "multilabel" else "3.5")]
    reason = record.filter(sample_id=second)["reason"].item()
    assert reason.startswith("class the core lacks: 'lion'" if kind == "multilabel" else "no number: 'much'")
    assert third not in set(record["sample_id"])


def test_people_may_give_any_label_of_the_task(finished):
    kind, _ = finished
    about = decisions.reviewable(index.read(paths.CORE), tables.empty(curated.REVIEW))
    new, bad = ("tree|cat", "lion|cat") if kind == "multilabel" else ("123.25", "much")
    decision = decisions.checked(decisions.Decision("s1", "relabel", new, ""), about)
    assert decision.label == ("cat|tree" if kind == "multilabel" else "123.25")
    with pytest.raises(ValueError, match="label must be a class"):
        decisions.checked(decisions.Decision("s1", "relabel", bad, ""), about)
    review = decisions.frame([decision])
    state, pool_index = curated.read("r000"), index.read(paths.pool("b001"))
    assert curated.possible(review, state, pool_index).equals(review)
    after = curated.apply("r001", state, tables.empty(curated.CHANGES), pool_index, review)
    assert after.filter(sample_id="s1")["label"].item() == decision.label
