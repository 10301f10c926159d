"""Stage extend takes people at their word before it computes anything."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from diva.curation import unused
from diva.curation.round import present
from diva.report import reviewed as report
from diva.store import curated, evaluation, ledger, paths, tables
from diva.store.curated import reviewed
from diva.versions.reviews import HISTORY
from tests.projects import real_stages as project

STATE = pl.DataFrame(
    {
        "sample_id": ["kept", "flipped", "gone", "called"],
        "status": ["member", "member", "removed", "member"],
        "given_label": ["a", "a", "a", "a"],
        "label": ["a", "b", "a", "a"],
    }
)


def review(**said: tuple[str, str | None]) -> pl.DataFrame:
    rows = [(name, decision, label, None) for name, (decision, label) in said.items()]
    return pl.DataFrame(rows, dict(curated.REVIEW), orient="row")


def left(said: pl.DataFrame) -> dict[str, str]:
    return dict(reviewed(present(STATE, said), said).select("sample_id", "label").iter_rows())


def test_without_decisions_members_are_what_they_are() -> None:
    assert_frame_equal(reviewed(present(STATE, review()), review()), STATE.filter(status="member"))


def test_an_accepted_sample_counts_under_its_given_label_also_where_scores_had_removed_or_relabelled_it() -> None:
    said = review(flipped=("accept", None), gone=("accept", None))
    assert left(said) == {"kept": "a", "flipped": "a", "gone": "a", "called": "a"}


def test_a_relabelled_sample_counts_under_its_new_label_and_a_rejected_one_not_at_all() -> None:
    said = review(gone=("relabel", "c"), called=("reject", None), kept=("relabel", "b"))
    assert left(said) == {"kept": "b", "flipped": "b", "gone": "c"}


def test_rows_of_the_pool_have_one_label_which_an_accept_lets_stand() -> None:
    pool = STATE.select("sample_id", "label")
    said = review(flipped=("accept", None), called=("reject", None))
    assert reviewed(pool, said).rows() == [("kept", "a"), ("flipped", "b"), ("gone", "a")]


WRONG = [*["owl", "cat", "dog"] * 6, "cat", "dog", "owl"]  # the last three


def pack(name: str, seeds: range, labels: list[str] | None = None) -> Path:
    """Classes that lie far apart."""
    rows = [np.random.default_rng(seed).normal(size=6) + 6 * np.eye(6)[seed % 3] for seed in seeds]
    return project.pack(Path(f"{name}.npz"), seeds, labels=labels, features=np.array(rows, np.float32))


@pytest.fixture
def noisy(workplace: Path) -> pl.DataFrame:
    """A project whose pool has wrong labels that scores leave out; what is left in it after a round, by row."""
    core, test, pool = (pack(name, *of) for name, *of in (
        ("core", range(45)), ("test", range(100, 115)), ("pool", range(200, 221), WRONG),
    ))  # fmt: skip
    project.begin(str(core), str(test), extend={"per_round": 40, "stop": True})
    project.night(pool)
    from stages import evaluate

    evaluate.main()
    return evaluation.read("left")


def decide(**said: tuple[str, str | None]) -> None:
    """A review, and a round that obeys it."""
    tables.write(paths.review("v001"), review(**said), curated.REVIEW)
    book = ledger.plan_review(ledger.read(), "people", "sha256:" + "0" * 64)
    settings = book.rounds[book.latest].settings
    ledger.write(paths.LEDGER, ledger.plan_round(book, settings))


def test_what_people_want_of_the_pool_is_added_above_any_score(noisy: pl.DataFrame) -> None:
    left_out = noisy.filter(pl.col("suggested_label") != pl.col("label"))
    assert set(left_out["reason"]) <= {unused.HOPELESS, unused.HARMFUL}
    left_out = left_out["sample_id"].to_list()
    first, second = left_out[:2]
    given = noisy.filter(sample_id=first)["label"][0]
    other = noisy.filter(sample_id=second)["suggested_label"][0]
    before = curated.read("r001")
    assert not {first, second} & set(before["sample_id"])
    decide(**{first: ("accept", None), second: ("relabel", other)})
    project.run_round()
    state = curated.read("r002").filter(pl.col("sample_id").is_in([first, second])).sort("reason")
    assert state.select("sample_id", "status", "label", "reason", "round").rows() == [
        (first, "member", given, "review: accept", "r002"),
        (second, "member", other, "review: relabel", "r002"),
    ]
    changes = tables.read(paths.changes("r002"), curated.CHANGES).filter(change="add")
    assert changes["reason"].head(2).str.starts_with("people want it; adding it").all()
    said = report.said([before, curated.read("r002")])
    decided = review(**{first: ("accept", None), second: ("relabel", other)})
    found = report.summarise(decided, said, tables.empty(HISTORY))
    assert (found.samples, found.unjudged) == (2, 0)
    called = found.overruled.rows[0]
    assert called.cells == ("called wrong", "1", "0", "1", "0", "1", "2"), "one accepted: the scores were overruled"


def test_a_spent_budget_does_not_keep_out_what_people_want(noisy: pl.DataFrame) -> None:
    wanted = noisy["sample_id"][-1]
    decide(**{wanted: ("accept", None)})
    book = ledger.read().model_dump()
    book["rounds"]["r002"]["settings"]["extend"]["budget"] = 1
    ledger.write(paths.LEDGER, ledger.validated(book))
    project.run_round()
    new = curated.read("r002").filter(round="r002")
    assert new["sample_id"].to_list() == [wanted]
