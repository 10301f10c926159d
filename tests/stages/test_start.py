"""Stage start: the core becomes r000; pool and review begin empty."""

import json
from pathlib import Path

import pytest

from diva.store import curated, index, paths, tables
from stages.download import download
from stages.start import start
from tests.projects import stage_inputs as small


@pytest.fixture
def scored(workplace: Path) -> Path:
    """A core with scores that flag its first three samples."""
    small.write_ledger()
    download("core")
    small.fit()
    return workplace


@pytest.mark.parametrize(
    ("action", "counts"),
    [
        ("weigh", {"members": 60, "core": 60, "added": 0, "removed": 0, "flagged": 3, "relabelled": 0}),
        ("drop", {"members": 57, "core": 57, "added": 0, "removed": 3, "flagged": 0, "relabelled": 0}),
    ],
)
def test_the_core_becomes_the_first_set(scored: Path, action: str, counts: dict[str, int]) -> None:
    small.write_params(curate=small.PARAMS["curate"] | {"action": action})
    start()
    assert json.loads(paths.metrics("start").read_text()) == counts
    state = curated.read("r000")
    assert len(state) == 60
    assert set(state["origin"]) == {"core"}
    assert set(state["round"]) == {"r000"}
    assert state["row"].to_list() == list(range(60))


def test_relabelled_samples_keep_their_given_label(scored: Path) -> None:
    small.write_params(curate=small.PARAMS["curate"] | {"action": "relabel"})
    start()
    state = curated.read("r000")
    assert state["label"].to_list()[:3] == ["9"] * 3
    assert state["given_label"].equals(index.read(paths.CORE)["label"])


def test_pool_and_review_begin_empty_and_a_second_run_writes_the_same_bytes(scored: Path) -> None:
    written = [paths.pool("b000"), paths.review("v000"), paths.curated("r000")]
    start()
    before = [path.read_bytes() for path in written]
    start()
    assert [path.read_bytes() for path in written] == before
    assert index.read(written[0]).is_empty()
    assert tables.read(written[1], curated.REVIEW).is_empty()


def test_scores_that_are_not_there_are_named(scored: Path) -> None:
    small.write_params(curate=small.PARAMS["curate"] | {"score": "margin"})
    with pytest.raises(ValueError, match=r"data/scores/margin\.parquet must exist"):
        start()


def test_the_derivative_rule_may_only_flag(scored: Path) -> None:
    small.write_params(curate=small.PARAMS["curate"] | {"rule": "derivative", "action": "drop"})
    with pytest.raises(ValueError, match="action must be weigh where rule is derivative"):
        start()
