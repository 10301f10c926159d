"""Who overruled what: people's decisions beside what the scores had said of the same samples.

The scores call a label wrong (flag, remove or relabel its sample) or leave it alone; people accept the given label,
relabel the sample, or reject it. People overrule the scores where they accept what was called wrong, or relabel or
reject what was left alone. Of the calls that people looked at,

    precision = (relabelled to another label than the given one, or rejected) / looked at

What people choose to look at is no random sample: these figures are of the samples reviewed, not of the set. Takedowns
are no judgement and do not count.
"""

from collections.abc import Iterable
from typing import NamedTuple

import polars as pl

from diva.store import curated, ledger, paths, tables
from diva.store.decisions import FORGOTTEN_ROW

SAID = ("wrong", "right", "nothing")  # what the scores said of the given label; nothing where they never saw it
Z = 1.959964  # of an interval of 95 %


class Precision(NamedTuple):
    """How often the scores' calls were right, on the samples that people looked at.

    Attributes:
        reviewed: calls that people looked at.
        wrong: of these, labels that people too found wrong.
        precision: their share; None where no call was looked at.
        low: lower bound of its interval of 95 % (Wilson's).
        high: upper bound.
        suggested: of the calls that people relabelled, those whose new label is the suggested one.
        relabelled: calls that people relabelled.
    """

    reviewed: int
    wrong: int
    precision: float | None
    low: float | None
    high: float | None
    suggested: int
    relabelled: int


class Overruled(NamedTuple):
    """What a report shows of a review; every table is ordered and empty where nobody decided anything.

    Attributes:
        samples: a row per decision: sample_id, decision, label (people's), note, given_label, suggested_label, score,
            said (see ``SAID``), wrong (whether people found the given label wrong), overruled (whether they overruled
            the scores; null where these had said nothing).
        counts: said, decision, samples, overruled (how many of them).
        calls: how often the scores' calls were right.
        curve: score, reviewed, wrong, precision: of the reviewed samples of at least that score, highest first.
    """

    samples: pl.DataFrame
    counts: pl.DataFrame
    calls: Precision
    curve: pl.DataFrame


def read(book: ledger.Ledger) -> Overruled:
    """All decisions that the rounds of a ledger obey, beside the sets that they were about.

    Reads data/reviews and, of data/curated, the sets that people looked at.
    """
    sets = [(curated.read(before), _review(review)) for before, review in looked_at(book)]
    return overruled(_review(ledger.obeyed_review(book)), sets)


def looked_at(book: ledger.Ledger) -> list[tuple[str, str]]:
    """Each review that a round was the first to obey, after the set that people had before them."""
    found, last = [], ledger.origin(book, "review")
    for name in ledger.chain(book.rounds, "rounds"):
        entry = book.rounds[name]
        if entry.review != last:
            found.append((entry.previous, entry.review))
            last = entry.review
    return found


def _review(name: str) -> pl.DataFrame:
    """Decisions of a version; none in the first, wherever the history starts."""
    return (
        tables.empty(curated.REVIEW)
        if name == ledger.REVIEW_ORIGIN
        else tables.read(paths.review(name), curated.REVIEW)
    )


def overruled(decisions: pl.DataFrame, sets: Iterable[tuple[pl.DataFrame, pl.DataFrame]]) -> Overruled:
    """Decisions beside what the scores had said.

    Args:
        decisions: of people, as they stand now (``curated.REVIEW``).
        sets: in their order, a curated set and the review that came of it; a sample is judged in the set before the
            first review that names it, since later ones show what people had made of it.
    """
    samples = judged(decisions.filter(~FORGOTTEN_ROW), first_seen(sets))
    return Overruled(samples, counts(samples), calls(samples), curve(samples))


def first_seen(sets: Iterable[tuple[pl.DataFrame, pl.DataFrame]]) -> pl.DataFrame:
    """sample_id, given_label, suggested_label, score, called: each reviewed sample as people first saw it."""
    called = pl.col("flagged") | (pl.col("status") == "removed") | (pl.col("label") != pl.col("given_label"))
    columns = ["sample_id", "given_label", "suggested_label", "score"]
    known = tables.empty(curated.SCHEMA).select(*columns, called=called)
    for state, review in sets:
        fresh = state.join(review, on="sample_id", how="semi").join(known, on="sample_id", how="anti")
        known = pl.concat([known, fresh.select(*columns, called=called)])
    return known


def judged(decisions: pl.DataFrame, seen: pl.DataFrame) -> pl.DataFrame:
    """A row per decision, ordered by score, highest first, then by sample."""
    wrong = (pl.col("decision") == "reject") | (
        (pl.col("decision") == "relabel") & pl.col("label").ne_missing(pl.col("given_label"))
    )
    said = pl.when("called").then(pl.lit("wrong")).when(~pl.col("called")).then(pl.lit("right"))
    joined = decisions.join(seen, on="sample_id", how="left").with_columns(
        wrong=wrong, overruled=pl.col("called") != wrong, said=said.otherwise(pl.lit("nothing"))
    )
    return joined.drop("called").sort("score", "sample_id", descending=[True, False], nulls_last=True)


def counts(samples: pl.DataFrame) -> pl.DataFrame:
    """How many samples of each verdict met each decision, and how many verdicts people overruled; no empty rows."""
    order = {name: rank for rank, name in enumerate((*SAID, *curated.DECIDED))}
    found = samples.group_by("said", "decision").agg(
        samples=pl.len().cast(pl.Int64), overruled=pl.col("overruled").sum().cast(pl.Int64)
    )
    return found.sort(pl.col("said", "decision").replace_strict(order, return_dtype=pl.Int8))


def calls(samples: pl.DataFrame) -> Precision:
    """The precision of the scores' calls on the samples that people looked at."""
    called = samples.filter(pl.col("said") == "wrong")
    reviewed, wrong = len(called), int(called["wrong"].sum())
    relabelled = called.filter((pl.col("decision") == "relabel") & pl.col("wrong"))
    suggested = int((relabelled["label"] == relabelled["suggested_label"]).sum())
    share, low, high = (wrong / reviewed, *interval(wrong, reviewed)) if reviewed else (None, None, None)
    return Precision(reviewed, wrong, share, low, high, suggested, len(relabelled))


def interval(hits: int, trials: int) -> tuple[float, float]:
    """Wilson's interval of 95 % of a share: it stays within 0 and 1, also where none or all are hits."""
    share, extra = hits / trials, Z**2 / trials
    centre = (share + extra / 2) / (1 + extra)
    half = (share * (1 - share) * extra + extra**2 / 4) ** 0.5 / (1 + extra)
    return max(0.0, centre - half), min(1.0, centre + half)


def curve(samples: pl.DataFrame) -> pl.DataFrame:
    """Of the reviewed samples of at least a score: how many, how many wrong, their share; a row per score."""
    ranked = samples.filter(pl.col("score").is_not_null())
    wrong = pl.col("wrong").sum().cast(pl.Int64)
    by_score = ranked.group_by("score").agg(reviewed=pl.len().cast(pl.Int64), wrong=wrong)
    total = by_score.sort("score", descending=True).with_columns(pl.col("reviewed", "wrong").cum_sum())
    return total.with_columns(precision=pl.col("wrong") / pl.col("reviewed"))
