"""What people said of samples, against what the scores had said: who overruled what, and how often scores were right.

A sample that people took down says nothing about its label and is left out; so is one that no score had judged. Of what
people brought in from the pool, scores had called those wrong for which they suggest another label than the given one.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import polars as pl

from diva.curation.shares import wilson
from diva.store.curated import called_wrong
from diva.store.decisions import FORGOTTEN_ROW
from diva.text.words import NOTHING, Column, Row, Table, count, percent

BANDS = (0.0, 0.5, 0.9, 0.99, 1.0)


class Reviewed(NamedTuple):
    """Counts and precision, as tables, of samples that scores had judged.

    Attributes:
        samples: that people reviewed.
        unjudged: those of them that no score had judged.
        overruled: who overruled what.
        precision: of the scores.
        reviewers: who decided how much.
        agreement: of people on the same samples.
    """

    samples: int
    unjudged: int
    overruled: Table
    precision: Table
    reviewers: Table
    agreement: Table


def said(states: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """What scores last said of each sample before people judged it: called, score, suggestion, label as given.

    Args:
        states: curated sets, oldest first.
    """
    frames: list[pl.DataFrame] = []
    by_people = pl.col("reason").str.starts_with("review:").fill_null(value=False)
    columns = ("sample_id", "given_label", "score", "suggested_label")
    for state in states:
        own, brought = state.filter(~by_people), state.filter(by_people, origin="pool")
        frames.append(own.select(*columns, called=called_wrong()))
        other = (pl.col("suggested_label") != pl.col("given_label")).fill_null(value=False)
        frames.insert(0, brought.select(*columns, called=other))  # before what scores said of members
    return pl.concat(frames).unique("sample_id", keep="last", maintain_order=True)


def judged(review: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Decisions beside what scores had said, if they had; ``wrong``: whether people found the given label wrong."""
    scored = before.filter(pl.col("score").is_not_null())
    joined = review.join(scored, on="sample_id", how="inner", maintain_order="left")
    relabelled = (pl.col("decision") == "relabel") & (pl.col("label") != pl.col("given_label"))
    return joined.with_columns(
        wrong=(pl.col("decision") == "reject") | relabelled.fill_null(value=False),
        as_suggested=(pl.col("label") == pl.col("suggested_label")).fill_null(value=False),
    )


def summarise(review: pl.DataFrame, before: pl.DataFrame, history: pl.DataFrame) -> Reviewed:
    """All tables; ``history`` is that of the decisions (see `diva.versions.reviews.history`)."""
    decisions = review.filter(~FORGOTTEN_ROW)
    judgements = judged(decisions, before)
    shown = (overruled(judgements), precision(judgements), reviewers(history), agreement(history))
    return Reviewed(len(decisions), len(decisions) - len(judgements), *shown)


def opinions(history: pl.DataFrame) -> pl.DataFrame:
    """What each person said last of each sample; the label is the one that would stand, null where it was rejected."""
    given = pl.when(pl.col("decision") == "accept").then("given_label").otherwise("label")
    rows = history.filter(~FORGOTTEN_ROW, pl.col("reviewer").is_not_null()).with_columns(label=given)
    return rows.unique(["sample_id", "reviewer"], keep="last", maintain_order=True)


def reviewers(history: pl.DataFrame) -> Table:
    """How many samples each person accepted, relabelled and rejected."""
    rows = []
    for (name,), part in opinions(history).sort("reviewer").group_by("reviewer", maintain_order=True):
        numbers = dict(part.group_by("decision").len().iter_rows())
        counts = [count(numbers.get(each, 0)) for each in ("accept", "relabel", "reject")]
        rows.append(Row((str(name), *counts, count(len(part)))))
    columns = [Column("reviewer", number=False), *map(Column, ("accepted", "relabelled", "rejected", "samples"))]
    return Table("Who decided", tuple(columns), tuple(rows))


def agreement(history: pl.DataFrame) -> Table:
    """Of samples that two people decided on, the share on which they say the same, for each two of them."""
    said = opinions(history).select("sample_id", "reviewer", "label")
    both = said.join(said, on="sample_id", suffix="_other").filter(pl.col("reviewer") < pl.col("reviewer_other"))
    same = pl.col("label").eq_missing(pl.col("label_other"))
    pairs = both.group_by("reviewer", "reviewer_other").agg(n=pl.len(), same=same.sum()).sort(pl.all())
    rows = [Row((f"{a}, {b}", count(n), count(k), _share(k, n))) for a, b, n, k in pairs.iter_rows()]
    columns = [Column("reviewers", number=False), *map(Column, ("both decided", "agree", "agreement, %"))]
    return Table("Agreement where two people decided on one sample", tuple(columns), tuple(rows))


def overruled(judgements: pl.DataFrame) -> Table:
    """How many of the samples that scores called wrong, or right, people accepted, rejected or relabelled."""
    relabel, own = pl.col("decision") == "relabel", pl.col("as_suggested")
    kinds = {
        "accepted": pl.col("decision") == "accept",
        "rejected": pl.col("decision") == "reject",
        "relabelled as suggested": relabel & own,
        "relabelled otherwise": relabel & ~own,
    }
    rows = []
    for name, verdict in (("called wrong", True), ("not called", False)):
        part = judgements.filter(pl.col("called") == verdict)
        numbers = [int(part.select(condition.sum()).item()) for condition in kinds.values()]
        against = int((part["wrong"] != verdict).sum())
        rows.append(Row((name, *map(count, numbers), count(against), count(len(part)))))
    columns = [Column("the scores", number=False), *map(Column, kinds), Column("overruled"), Column("reviewed")]
    return Table(
        "Who overruled what: samples by what the scores said and what people decided", tuple(columns), tuple(rows)
    )


def precision(judgements: pl.DataFrame) -> Table:
    """Of reviewed samples that scores called wrong, the share that people found wrong too; by score."""
    calls = judgements.filter("called")
    rows = [_row("all", calls)]
    for low, high in reversed(list(pairwise(BANDS))):
        part = calls.filter((pl.col("score") > low) & (pl.col("score") <= high))
        if len(part):
            rows.append(_row(f"score {low:g} to {high:g}", part))
    titles = ("reviewed", "wrong indeed", "precision, %")
    columns = (Column("called wrong, with", number=False), *map(Column, titles))
    return Table("Precision of the scores on reviewed samples", columns, tuple(rows))


def _row(name: str, part: pl.DataFrame) -> Row:
    n, right = len(part), int(part["wrong"].sum())
    return Row((name, count(n), count(right), _share(right, n)))


def _share(part: int, whole: int) -> str:
    """A share in percent with its interval by Wilson's score."""
    if not whole:
        return NOTHING
    low, high = wilson(part, whole)
    return f"{percent(part / whole, 1)} [{percent(float(low), 0)}, {percent(float(high), 0)}]"
