"""Stage extend takes people at their word before it computes anything."""

import polars as pl
from polars.testing import assert_frame_equal

from diva.curation.round import present
from diva.store import curated
from diva.store.curated import reviewed

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
