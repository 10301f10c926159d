"""Stage reweight: which samples get a weight."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from diva.store import curated, index, ledger, paths, release, tables
from stages.release import main as publish
from stages.reweight import main as reweight
from tests.projects import real_stages as project
from tests.projects import stage_inputs as small


def test_what_people_took_down_or_relabelled_is_so_in_the_rest_of_the_pool_too(workplace: Path) -> None:
    """Samples that no round added: one taken down, one relabelled, one as it was delivered."""
    book = ledger.accept(
        ledger.start(ledger.Batch(source="core", checksum="none", options={})), None, "more", {}, "none"
    )
    book = ledger.plan_round(ledger.plan_review(book, "forget", "none"), small.SETTINGS)
    ledger.write(paths.LEDGER, book)
    row = {"batch": "b001", "features": "f.h5", "row": 0, "label": "a", "path": "p", "checksum": "c"}
    pool = pl.DataFrame([{"sample_id": name, **row} for name in ("added", "gone", "other", "rest")])
    index.write(paths.pool("b001"), tables.conform(pool, index.SCHEMA, "index"))
    curated.write(paths.curated("r001"), curated.entered(pool.filter(sample_id="added"), "pool", "r001"))
    said = [("gone", "reject", None, "forgotten"), ("other", "relabel", "b", None)]
    tables.write(paths.review("v001"), pl.DataFrame(said, dict(curated.REVIEW), orient="row"), curated.REVIEW)
    state, review = curated.read(book.latest), release.obeyed(book)
    labels = release.to_weigh("everything", state, pool, review).select("sample_id", "label").rows()
    assert labels == [("added", "a"), ("other", "b"), ("rest", "a")]
    assert release.to_weigh("members", state, pool, review)["sample_id"].to_list() == ["added"]


@pytest.fixture
def confused(workplace: Path) -> Path:
    """Three clusters as ready features; six of sixty labels of the delivery are wrong; a round adds eight of them."""
    labels = np.array([project.CLASSES[seed % 3] for seed in range(200, 260)])
    labels[:6] = [project.CLASSES[(seed + 1) % 3] for seed in range(200, 206)]
    for name, seeds, given in (("core", range(60), None), ("test", range(100, 130), None)):
        project.pack(workplace / f"{name}.npz", seeds, labels=given)
    project.pack(workplace / "pool.npz", range(200, 260), labels=labels.tolist())
    settings = {"extend": {"per_round": 8, "stop": False}, "release": {"set": "everything", "flagged": "out"}}
    project.begin("core.npz", "test.npz", **settings)
    project.accept("pool.npz")
    project.run_round()
    return workplace


def test_everything_less_flagged_can_be_the_release(confused: Path) -> None:
    reweight()
    publish()
    calls = tables.read(paths.CALLS, curated.CHANGES)
    state, pool = curated.read("r001"), index.read(paths.pool("b001"))
    assert set(calls["sample_id"]).isdisjoint(state["sample_id"])
    wrong = set(pool["sample_id"][:6]) - set(state["sample_id"])
    assert len(wrong & set(calls["sample_id"])) >= len(wrong) - 1
    train, removed = tables.read(paths.TRAIN, release.TRAIN), release.read_removed(paths.REMOVED)
    assert set(calls["sample_id"]) <= set(removed["sample_id"])
    assert len(train) + len(removed) == 120
    summary = json.loads(paths.SUMMARY.read_text())
    assert summary["set"]["name"] == json.loads(paths.metrics("release").read_text())["set"] == "everything"


def test_members_or_everything_is_chosen_by_held_out_rows_of_the_core(confused: Path) -> None:
    project.write_params(release={"set": "auto", "flagged": "out"})
    reweight()
    publish()
    chosen = json.loads(paths.metrics("reweight").read_text())["set"]
    assert "held-out gain of everything less flagged over the members" in chosen["reason"]
    assert paths.CALLS.exists() == (chosen["name"] == "everything")
    rows = {"everything": 120, "members": 68}[chosen["name"]]
    assert len(tables.read(paths.TRAIN, release.TRAIN)) + len(release.read_removed(paths.REMOVED)) == rows


def test_members_alone_leave_no_trace_of_other_sets(confused: Path) -> None:
    reweight()
    project.write_params(release={"set": "members", "flagged": "out"})
    reweight()
    assert not paths.CALLS.exists()
    assert "set" not in json.loads(paths.metrics("reweight").read_text())
