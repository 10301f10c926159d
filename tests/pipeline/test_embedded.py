"""The embedded default through the real pipeline: results, reruns, bytes."""

import hashlib
import json

import polars as pl
import pytest

from tests.projects import checkout
from tests.projects.checkout import ran

pytestmark = pytest.mark.xdist_group("embedded")

ROUNDS = {"extend@r001", "extend@r002", "extend@r003", "curate@r001", "curate@r002", "curate@r003"}
NEWEST = {"reweight", "release", "evaluate", "report"}


def metrics(run, name: str) -> dict:
    return json.loads((run.root / "data" / "metrics" / f"{name}.json").read_text())


def due(run) -> set[str]:
    """Stages that a run would begin with."""
    return set(json.loads(run.run("dvc", "status", "--json").stdout))


def digests(run) -> dict[str, str]:
    files = sorted((run.root / "data").rglob("*.parquet"))
    return {str(file.relative_to(run.root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_the_release_beats_the_core_uniform_choice_and_everything(embedded):
    error = {name: row["error"] for name, row in metrics(embedded, "evaluate")["sets"].items()}
    assert error["release_weighted"] < error["core"]
    assert error["release_weighted"] < error["uniform"]
    assert error["release_weighted"] < error["everything"]


def test_the_release_is_the_core_and_what_three_rounds_added_without_what_is_called_wrong(embedded):
    train, removed = (pl.read_parquet(embedded.root / f"data/release/{name}.parquet") for name in ("train", "removed"))
    state = pl.read_parquet(embedded.root / "data/curated/r003.parquet")
    members = state.filter(pl.col("status") == "member")
    assert (members["origin"] == "core").sum() == 400
    added = {row["round"]: row["added"] for row in metrics(embedded, "evaluate")["rounds"]}
    assert (members["origin"] == "pool").sum() == sum(added.values()) > 0
    flagged = members.filter("flagged")["sample_id"]
    assert len(train) == len(members) - len(flagged)
    assert set(flagged) == set(removed["sample_id"])
    assert {*train["sample_id"], *flagged} == {*members["sample_id"]}
    assert train["sample_id"].is_unique().all()
    assert (train["weight"] >= 0).all()


def test_most_labels_called_wrong_were_planted_wrong(embedded):
    planted = metrics(embedded, "evaluate")["planted"]["core"]
    assert planted["wrong"] == 73
    assert planted["precision"] > 0.75
    assert planted["recall"] > 0.75


def test_tiles_that_were_taken_for_another_class_are_called_wrong_too(embedded):
    core = pl.read_parquet(embedded.root / "data/curated/r003.parquet").filter(pl.col("origin") == "core")
    true = pl.read_parquet(embedded.root / "data/truth/core.parquet")
    mistaken = core.join(true, on="sample_id").filter(true_label="tiles", label="weave")
    assert len(mistaken) >= 10
    assert mistaken["flagged"].mean() > 0.5


def test_the_release_is_better_than_the_core_for_the_panel(embedded):
    judged = metrics(embedded, "evaluate")
    names = ("core", "everything", "uniform", judged["release"])
    mean = {name: judged["sets"][name]["panel"]["mean"]["error"] for name in names}
    assert min(mean, key=mean.get) == judged["release"]


def test_additions_hold_fewer_planted_mistakes_than_the_pool(embedded):
    rounds = metrics(embedded, "evaluate")["planted"]["rounds"]
    share = sum(row["wrong"] for row in rounds) / sum(row["added"] for row in rounds)
    assert share < 0.1  # the pool has 40 %


def test_features_of_a_trained_network_beat_raw_pixels(embedded):
    import numpy as np
    import torch
    from PIL import Image

    from diva.numerics.chunks import InMemory
    from diva.numerics.grid import choose_ridge
    from diva.numerics.normalize import Prepared

    core = pl.read_parquet(embedded.root / "data/fit/core.parquet")
    pixels = np.stack([np.asarray(Image.open(embedded.root / path)).ravel() for path in core["path"]]).astype("float32")
    labels = torch.tensor(core["label"].rank("dense").to_numpy().astype("int64") - 1)
    raw = choose_ridge(Prepared(InMemory(pixels[:, ::9], labels)), 10)
    assert metrics(embedded, "fit")["loo_error"] < 0.7 * raw.error


def test_moments_that_rounds_hand_on_are_those_of_their_sets(embedded, monkeypatch):
    from diva.curation import rows
    from diva.numerics.ridge import moments
    from diva.store import curated
    from diva.store import moments as sums

    monkeypatch.chdir(embedded.root)
    fit = rows.read_problem()
    for name in ("r001", "r002", "r003"):
        state = curated.members(pl.read_parquet(f"data/curated/{name}.parquet"))
        kept = sums.read(embedded.root / f"data/moments/{name}.h5", fit.classes)
        fresh = moments(rows.prepared(state, fit), len(fit.classes))
        assert kept.count == fresh.count == len(state)
        assert (kept.gram - fresh.gram).norm() <= 1e-6 * fresh.gram.norm()  # float32 products, added up otherwise
        assert (kept.cross - fresh.cross).norm() <= 1e-6 * fresh.cross.norm()


def test_a_second_run_does_nothing(embedded):
    done = embedded.repro()
    assert ran(done) == set()
    assert "Data and pipelines are up to date" in done.stdout


@pytest.mark.slow
def test_two_fresh_runs_give_the_same_bytes(embedded, project, tmp_path):
    other = checkout.embedded(tmp_path / "project")
    other.repro()
    assert digests(other) == digests(embedded)
    assert len(digests(other)) > 20


def test_a_rounds_settings_rerun_it_and_later_ones_and_a_new_round_joins_them(rerun):
    def change(book):
        book["rounds"]["r002"]["settings"]["extend"].update(per_round=20)
        book["rounds"]["r004"] = {**book["rounds"]["r003"], "previous": "r003"}
        book["latest"] = "r004"

    rerun.edit("data/ledger.yaml", change)
    later = {f"{stage}@{name}" for stage in ("extend", "curate") for name in ("r002", "r003", "r004")}
    assert ran(rerun.repro("curate@r004")) == later
    assert due(rerun) == NEWEST


def test_params_shape_only_rounds_to_come(rerun):
    rerun.edit("params.yaml", lambda params: params["extend"].update(per_round=7))
    assert not ROUNDS & due(rerun)


def test_touching_detect_extracts_nothing_again(rerun):
    with (rerun.root / "diva/curation/detect.py").open("a") as file:
        file.write("\n# touched\n")
    assert ran(rerun.repro("code")) == {"code"}
    changed = due(rerun)
    assert "score@soft" in changed
    assert not {stage for stage in changed if stage.startswith(("download", "extract")) or stage in ROUNDS}


def test_no_half_written_file_is_left(embedded):
    assert not list((embedded.root / "data").rglob("*.tmp"))


def test_what_is_made_on_request_is_no_part_of_the_default_run(embedded):
    lock = (embedded.root / "dvc.lock").read_text()
    assert "augment@" not in lock
    assert "multimodal@" not in lock
    assert not (embedded.root / "data/augment").exists()


@pytest.mark.slow
def test_on_request_the_worth_of_flips_is_measured_and_nothing_else_runs(rerun):
    flips = {
        f"{way}_flip": {"name": f"Random{way.title()}Flip", "arguments": {"p": 1.0}}
        for way in ("horizontal", "vertical")
    }
    rerun.edit("params.yaml", lambda params: params["augment"].update(of=["core"], transforms=flips, draws=3))
    assert ran(rerun.repro()) == {"augment@core"}
    found = metrics(rerun, "augment/core")["transforms"]
    assert found["identity"]["probability"] > max(found[name]["probability"] for name in flips)
    assert rerun.run("dvc", "status", "--json").stdout.strip() == "{}"
