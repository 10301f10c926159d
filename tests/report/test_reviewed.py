import polars as pl

from diva.report.reviewed import agreement, reviewers, said, summarise
from diva.store import curated, tables
from diva.versions.reviews import HISTORY

NOBODY = tables.empty(HISTORY)

BEFORE = pl.DataFrame(
    {
        "sample_id": ["a", "b", "c", "d", "e"],
        "given_label": ["cat"] * 5,
        "score": [0.999, 0.95, 0.95, 0.1, 0.2],
        "suggested_label": ["dog"] * 5,
        "called": [True, True, True, False, False],
    }
)


def decisions(*rows) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict(curated.REVIEW), orient="row")


def test_who_overruled_what_is_counted_from_both_sides() -> None:
    review = decisions(
        ("a", "relabel", "dog", None),
        ("b", "relabel", "owl", None),
        ("c", "accept", None, "a cat indeed"),
        ("d", "reject", None, None),
        ("e", "accept", None, None),
    )
    found = summarise(review, BEFORE, NOBODY)
    wrong, right = found.overruled.rows
    assert wrong.cells == ("called wrong", "1", "0", "1", "1", "1", "3")  # one accepted: the scores were overruled
    assert right.cells == ("not called", "1", "1", "0", "0", "1", "2")  # one rejected that no score had called
    every, high, middle = found.precision.rows
    assert every.cells[:3] == ("all", "3", "2")
    assert every.cells[3].startswith("66.7 [")
    assert high.cells[:3] == ("score 0.99 to 1", "1", "1")
    assert middle.cells[:3] == ("score 0.9 to 0.99", "2", "1")


def test_takedowns_are_no_opinion_of_a_label() -> None:
    review = decisions(("a", "reject", None, "forgotten: asked for"), ("b", "reject", None, "blurred"))
    assert summarise(review, BEFORE, NOBODY).samples == 1


def test_nobody_is_overruled_where_no_score_had_judged() -> None:
    """Neither on a sample that no set has, as those left in the pool, nor on one that entered a set unscored."""
    unscored = BEFORE.head(1).with_columns(sample_id=pl.lit("f"), score=pl.lit(None, pl.Float64), called=False)
    review = decisions(
        ("left", "relabel", "dog", None), ("f", "reject", None, None), ("d", "reject", None, None),
    )  # fmt: skip
    found = summarise(review, pl.concat([BEFORE, unscored]), NOBODY)
    assert (found.samples, found.unjudged) == (3, 2)
    assert [row.cells[1:] for row in found.overruled.rows] == [
        ("0", "0", "0", "0", "0", "0"),
        ("0", "1", "0", "0", "1", "1"),
    ]


def test_without_reviews_the_precision_is_undefined() -> None:
    found = summarise(tables.empty(curated.REVIEW), BEFORE, NOBODY)
    assert found.samples == 0
    assert found.precision.rows[0].cells == ("all", "0", "0", "–")


def test_scores_are_heard_as_they_spoke_before_people_did() -> None:
    columns = {
        "origin": "core",
        "given_label": "cat",
        "label": "cat",
        "status": "member",
        "score": 0.9,
        "suggested_label": "dog",
    }
    first = pl.DataFrame({"sample_id": ["a"], "flagged": [True], "reason": ["called dog"]}).with_columns(
        **{name: pl.lit(value) for name, value in columns.items()}
    )
    after = first.with_columns(flagged=pl.lit(value=False), reason=pl.lit("review: accept"))
    assert said([first, after])["called"].to_list() == [True]
    assert said([first, after.with_columns(reason=pl.lit(None, pl.String))])["called"].to_list() == [False]


def test_agreement_is_of_the_labels_that_two_people_would_let_stand() -> None:
    """The last word of each counts; to accept a label and to give it is one; unknown people agree with nobody."""
    rows = [
        ("a", "accept", None, "Ada"), ("a", "relabel", "cat", "Bob"),
        ("b", "reject", None, "Ada"), ("b", "reject", None, "Bob"),
        ("c", "relabel", "dog", "Ada"), ("c", "accept", None, "Bob"), ("c", "relabel", "dog", "Bob"),
        ("d", "accept", None, "Ada"), ("d", "reject", None, "Bob"), ("d", "accept", None, "Cleo"),
        ("e", "accept", None, None), ("e", "accept", None, "Ada"),
    ]  # fmt: skip
    columns = ("sample_id", "decision", "label", "reviewer")
    history = pl.DataFrame(rows, dict.fromkeys(columns, pl.String), orient="row").with_columns(
        given_label=pl.lit("cat"), note=pl.lit(None, pl.String)
    )
    assert [row.cells[:3] for row in agreement(history).rows] == [
        ("Ada, Bob", "4", "3"), ("Ada, Cleo", "1", "1"), ("Bob, Cleo", "1", "0"),
    ]  # fmt: skip
    assert agreement(history).rows[0].cells[3].startswith("75.0 [")
    assert [row.cells for row in reviewers(history).rows] == [
        ("Ada", "3", "1", "1", "5"), ("Bob", "0", "2", "2", "4"), ("Cleo", "1", "0", "0", "1"),
    ]  # fmt: skip
    assert agreement(NOBODY).rows == reviewers(NOBODY).rows == ()
