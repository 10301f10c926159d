"""Where a set is bad: slices with more wrong labels, or more errors, than the rest; pairs of classes that are confused.

    p(slice)   P(X ≥ wrong),  X hypergeometric: ``wrong`` of all n, drawn ``samples`` at a time (Fisher's exact test)
    p(a → b)   P(X ≥ called), X binomial of n_a draws, at the rate of all other pairs:
               (calls less these + 1) / Σ_c n_c (k − 1) less n_a

A slice is a value of a column: the class as given, the delivery, or a further column; numbers and times are cut at
their quartiles. Each table's q values are Benjamini and Hochberg's over all its rows, and its order is that of p.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from scipy.special import bdtrc

from diva.curation.shares import discovery_rates, wilson
from diva.store import columns, evaluation, tables
from diva.store.curated import called_wrong

LEVEL = 0.05  # of false discoveries
FEWEST = 10  # samples of a slice
MOST_VALUES = 200  # of a column, the most frequent
DISTINCT = 12  # values from which numbers are cut at their quartiles
CLASS, DELIVERY = "class as given", "delivery"
OWN = {"label": CLASS, "batch": DELIVERY}
SAID = ("batch", "label", "suggested_label", "wrong", "missed", "weight")  # of a sample, beside further columns
CUTS = (0, 0.25, 0.5, 0.75, 1)


def observations(
    state: pl.DataFrame, remaining: pl.DataFrame, weights: pl.DataFrame, *sources: pl.DataFrame
) -> pl.DataFrame:
    """What is said of each sample of core and pool: label as given, suggestion, whether wrong, mispredicted, weight.

    Args:
        state: the newest curated set.
        remaining: what the pool still holds, and why (`evaluation.REMAINING`).
        weights: of the newest set.
        sources: manifests or indices, whose further columns are added.
    """
    hopeless = (pl.col("reason") == evaluation.HOPELESS).fill_null(value=False)
    shown = ("sample_id", "batch", "suggested_label", "wrong", "margin")
    rows = pl.concat(
        [
            state.with_columns(wrong=called_wrong()).select(*shown, label="given_label"),
            remaining.with_columns(wrong=hopeless).select(*shown, label="label"),
        ]
    )
    weighed = rows.join(weights.select("sample_id", "weight"), on="sample_id", how="left", maintain_order="left")
    return columns.described(weighed.with_columns(missed=pl.col("margin") < 0).drop("margin"), *sources)


def ranked(rows: pl.DataFrame, named: Mapping[str, str] = OWN) -> pl.DataFrame:
    """The slices of all columns, those least likely by chance first: `evaluation.SLICES` without ``of``.

    Args:
        rows: ``wrong`` (truth values), and perhaps missed, weight; ``label``, ``batch`` and further columns.
        named: columns of this project that make slices, and what they are called.
    """
    from scipy.stats import hypergeom  # a second that the page, which cuts columns alike, need not wait

    further = [name for name in rows.columns if name not in {*columns.OWN, *SAID}]
    extra = [name for name in ("missed", "weight") if name not in rows.columns]
    rows = rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in extra)
    parts = [_of_column(rows, name, named.get(name, name)) for name in (*named, *further) if name in rows.columns]
    every = pl.concat(parts) if parts else tables.empty(evaluation.SLICES).drop("of", "low", "high", "rest", "p", "q")
    n, total = len(rows), int(rows["wrong"].sum())
    samples, wrong = (every[name].to_numpy().astype(np.float64) for name in ("samples", "wrong"))
    p, (low, high) = hypergeom.sf(wrong - 1, n, total, samples), wilson(wrong, samples)
    judged = every.with_columns(
        rate=pl.col("wrong") / pl.col("samples"), low=pl.Series(low), high=pl.Series(high),
        rest=pl.Series((total - wrong) / np.maximum(n - samples, 1)), p=pl.Series(p), q=pl.Series(discovery_rates(p)),
    )  # fmt: skip
    return judged.sort("p", "column", "value", maintain_order=True)


def _of_column(rows: pl.DataFrame, name: str, title: str) -> pl.DataFrame:
    """Counts of each value of a column that enough samples have, but not all."""
    counted = rows.select("wrong", "missed", "weight", value=cut(rows[name])).drop_nulls("value")
    groups = counted.group_by("value").agg(
        samples=pl.len().cast(pl.Int64), wrong=pl.col("wrong").sum().cast(pl.Int64),
        error=pl.col("missed").cast(pl.Float64).mean(), weight=pl.col("weight").mean(),
    )  # fmt: skip
    groups = groups.filter((pl.col("samples") >= FEWEST) & (pl.col("samples") < len(rows)))
    frequent = groups.sort("samples", "value", descending=[True, False]).head(MOST_VALUES)
    return frequent.select(pl.lit(title).alias("column"), "value", "samples", "wrong", "error", "weight")


def cut(values: pl.Series) -> pl.Series:
    """A column as text; numbers and times of many values by their quartiles, such as ``3 to 7.5``."""
    continuous = values.dtype.is_numeric() or values.dtype.is_temporal()
    if not continuous or values.n_unique() <= DISTINCT:
        return values.cast(pl.String)
    values = values.fill_nan(None) if values.dtype.is_float() else values
    ordered = values.drop_nulls().sort()
    ends = list(dict.fromkeys(ordered[int(cut * (len(ordered) - 1))] for cut in CUTS if len(ordered)))
    if len(ends) < 2:
        return values.cast(pl.String)
    texts = [f"{end:.4g}" if isinstance(end, float) else str(end) for end in ends]
    names = [f"{low} to {high}" for low, high in pairwise(texts)]
    part = pl.Series(ends[1:-1], dtype=values.dtype).search_sorted(values, "left")
    return pl.Series(names)[part].set(values.is_null(), None)


def pairs(rows: pl.DataFrame) -> pl.DataFrame:
    """Labels called wrong by pair, given → suggested, those least likely by chance first: `evaluation.PAIRS`."""
    if rows["label"].dtype.is_numeric():
        return tables.empty(evaluation.PAIRS)
    sizes = dict(rows.group_by("label").len().iter_rows())
    wrong = rows.filter(pl.col("wrong") & (pl.col("suggested_label") != pl.col("label")))
    called = wrong.group_by(given="label", suggested="suggested_label").len("called")
    counts = called["called"].to_numpy().astype(np.int64)
    samples = np.array([sizes[name] for name in called["given"]], np.int64)
    classes = len({*sizes, *called["suggested"]})
    trials = max(1.0, sum(sizes.values()) * (classes - 1.0)) - samples
    p = bdtrc(counts - 1, samples, np.minimum(1.0, (counts.sum() - counts + 1) / np.maximum(trials, 1)))
    every = np.concatenate([p, np.ones(max(0, classes * (classes - 1) - len(p)))])  # pairs without a call count, too
    low, high = wilson(counts, samples)
    judged = called.with_columns(
        samples=pl.Series(samples, dtype=pl.Int64), rate=pl.Series(counts / samples), low=pl.Series(low),
        high=pl.Series(high), p=pl.Series(p), q=pl.Series(discovery_rates(every)[: len(p)]),
    )  # fmt: skip
    return tables.conform(judged.sort("p", "given", "suggested").select(list(evaluation.PAIRS)), evaluation.PAIRS, "")


def deliveries(worst: pl.DataFrame, drift: pl.DataFrame, limits: Sequence[float]) -> pl.DataFrame:
    """What is known of each delivery, with an alert where it is above a limit: `evaluation.DELIVERIES`.

    Args:
        worst: slices.
        drift: of each batch (`diva.curation.drift.drifts`).
        limits: of the share of wrong labels and of the drift, which the lower ends of their intervals exceed.
    """
    noise, distance = limits
    own = worst.filter(pl.col("column") == DELIVERY).select(
        "samples", "wrong", "rate", "low", "high", "q", batch="value"
    )
    joined = drift.join(own, on="batch", how="left", maintain_order="left")
    noisy = (pl.col("low") > noise).fill_null(value=False)
    far = (pl.col("drift_low") > distance).fill_null(value=False)
    words = [pl.when(noisy).then(pl.lit("labels")), pl.when(far).then(pl.lit("features"))]
    alert = pl.concat_str(words, separator=" and ", ignore_nulls=True)
    return tables.conform(
        joined.with_columns(alert=alert).select(list(evaluation.DELIVERIES)), evaluation.DELIVERIES, "deliveries"
    )
