"""Stage curate: a round's decisions and the review it names, applied to the set it names."""

import json
from pathlib import Path

import polars as pl
import pytest

from diva.store import curated, index, ledger, paths, tables
from stages.curate import curate
from stages.download import download
from stages.pool import pool
from stages.start import start
from tests.projects import digits
from tests.projects import stage_inputs as small


@pytest.fixture
def pooled(workplace: Path) -> Path:
    """r000, a pool of 20, and a round r001 in the ledger."""
    small.write_ledger(test=("none", {}), b001=("digits", digits.options(100, 20)))
    for name in ("core", "test", "b001"):
        download(name)
        small.extract(name)
    small.fit()
    start()
    pool("b001")
    return workplace


def ids(path: Path, count: int) -> list[str]:
    return index.read(path)["sample_id"].to_list()[:count]


def test_a_round_is_applied_to_the_set_before_it(pooled: Path) -> None:
    core, more = ids(paths.CORE, 5), ids(paths.pool("b001"), 2)
    small.decide("r001", *((name, "add") for name in more), (core[4], "remove"), (more[0], "flag"))
    curate("r001")
    state = curated.read("r001")
    assert len(state) == 62
    assert set(state.filter(pl.col("round") == "r001")["sample_id"]) == set(more)
    assert state.filter(pl.col("status") == "removed")["sample_id"].to_list() == [core[4]]
    assert json.loads((paths.METRICS / "curate" / "r001.json").read_text()) == {
        "members": 61,
        "core": 59,
        "added": 2,
        "removed": 1,
        "flagged": 1,
        "relabelled": 0,
    }
    before = paths.curated("r001").read_bytes()
    curate("r001")
    assert paths.curated("r001").read_bytes() == before


def test_the_review_that_the_round_names_stands_above_its_scores(pooled: Path) -> None:
    core = ids(paths.CORE, 3)
    said = pl.DataFrame({"sample_id": core, "decision": ["accept", "reject", "relabel"], "label": [None, None, "7"]})
    tables.write(paths.review("v001"), said.with_columns(note=pl.lit("seen")), curated.REVIEW)
    ledger.write(paths.LEDGER, ledger.plan_round(ledger.read(), small.SETTINGS, review="v001"))
    small.decide("r001")
    small.decide("r002", (core[0], "remove"), (core[1], "flag"), (core[2], "remove"))
    curate("r001")
    curate("r002")
    state = curated.read("r002")[:3]
    assert state["status"].to_list() == ["member", "removed", "member"]
    assert state["label"][2] == "7"
    assert not state["flagged"].any()
    assert state["reason"].to_list() == ["review: accept (seen)", "review: reject (seen)", "review: relabel (seen)"]


def test_what_a_round_lacks_is_named(pooled: Path) -> None:
    with pytest.raises(ValueError, match=r"data/rounds/r001\.parquet must exist"):
        curate("r001")
    with pytest.raises(ValueError, match=r"ledger\.yaml:rounds must have an entry r009, got r001"):
        curate("r009")
