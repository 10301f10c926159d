"""Planted truth: what is bad is at the top of its table, and nothing else above the false discovery rate."""

import numpy as np
import polars as pl
import pytest

from diva.curation import drift, shares, slices
from diva.numerics.chunks import InMemory
from diva.store import evaluation
from tests import naive

SEEDS = range(20)
N, CLASSES = 1500, 8


def rows(seed: int, noise: float = 0.06) -> tuple[pl.DataFrame, np.random.Generator]:
    """Samples of four deliveries and two further columns, a share of them called wrong at random."""
    draw = np.random.default_rng(seed)
    label = draw.integers(0, CLASSES, N)
    frame = pl.DataFrame({
        "sample_id": [f"{row:032x}" for row in range(N)], "batch": draw.choice(["core", "b001", "b002", "b003"], N),
        "label": label.astype(str), "suggested_label": ((label + draw.integers(1, CLASSES, N)) % CLASSES).astype(str),
        "wrong": draw.random(N) < noise, "missed": draw.random(N) < 0.1, "weight": draw.random(N),
        "site": draw.choice(["north", "south", "east"], N), "iso": draw.normal(size=N),
    })  # fmt: skip
    return frame, draw


def false_share(named: list[list[tuple[str, ...]]], planted: tuple[str, ...]) -> float:
    """The mean share, over data sets, of what is named beside what was planted, which stands at the top of each."""
    assert all(one and one[0] == planted for one in named)
    return float(np.mean([(len(one) - 1) / len(one) for one in named]))


def above(table: pl.DataFrame, *names: str) -> list[tuple[str, ...]]:
    return table.filter(pl.col("q") <= slices.LEVEL).select(names).rows()


@pytest.mark.parametrize("planted", [("delivery", "b002", "batch"), ("site", "east", "site")])
def test_a_bad_slice_is_at_the_top_and_others_are_named_less_often_than_the_rate(
    planted: tuple[str, str, str],
) -> None:
    column, value, name = planted
    named = []
    for seed in SEEDS:
        frame, draw = rows(seed)
        bad = (frame[name] == value).to_numpy() & (draw.random(N) < 0.4)
        table = slices.ranked(frame.with_columns(wrong=pl.col("wrong") | pl.Series(bad)))
        named.append(above(table, "column", "value"))
        first = table.row(0, named=True)
        assert first["low"] < first["rate"] < first["high"]
        assert first["low"] > 0.3 > 0.1 > first["rest"]
    assert false_share(named, (column, value)) <= 2 * slices.LEVEL  # the mean of 20 may lie above


def test_where_nothing_is_planted_hardly_ever_anything_is_named() -> None:
    tables_of = [slices.ranked(rows(seed)[0]) for seed in SEEDS]
    assert sum(bool(above(table, "value")) for table in tables_of) <= 2  # of 20, at a rate of .05
    pairs_of = [slices.pairs(rows(seed)[0]) for seed in SEEDS]
    assert sum(bool(above(table, "given")) for table in pairs_of) <= 2


def test_one_confused_pair_is_at_the_top_and_others_are_named_less_often_than_the_rate() -> None:
    named = []
    for seed in SEEDS:
        frame, draw = rows(seed)
        bad = pl.Series((frame["label"] == "3").to_numpy() & (draw.random(N) < 0.3))
        other = pl.when(bad).then(pl.lit("5")).otherwise("suggested_label")
        table = slices.pairs(frame.with_columns(wrong=pl.col("wrong") | bad, suggested_label=other))
        named.append(above(table, "given", "suggested"))
    assert false_share(named, ("3", "5")) <= 2 * slices.LEVEL


def test_tails_discovery_rates_and_counts_are_those_of_their_definitions() -> None:
    frame, _ = rows(3)
    table = slices.ranked(frame)
    total = frame["wrong"].sum()
    expected = [
        naive.hypergeometric_tail(wrong, size, total, N) for wrong, size in table.select("wrong", "samples").rows()
    ]
    assert table["p"].to_list() == pytest.approx(expected, rel=1e-9)
    assert table["q"].to_list() == pytest.approx(naive.discovery_rates(table["p"].to_list()), rel=1e-12)
    east = frame.filter(pl.col("site") == "east")
    row = table.row(by_predicate=pl.col("value") == "east", named=True)
    assert (row["samples"], row["wrong"]) == (len(east), east["wrong"].sum())
    assert (row["error"], row["weight"]) == pytest.approx((east["missed"].mean(), east["weight"].mean()))
    quartiles = table.filter(pl.col("column") == "iso")
    assert len(quartiles) == 4
    assert quartiles["samples"].sum() == N
    assert quartiles["samples"].max() - quartiles["samples"].min() <= 4
    assert shares.wilson([0, 10], [10, 10])[0] == pytest.approx([0, 0.722], abs=1e-3)


def test_too_few_samples_constant_and_empty_columns_make_no_slice() -> None:
    frame, _ = rows(1)
    odd = frame.with_columns(
        same=pl.lit("a"), none=pl.lit(None, pl.Float64), rare=pl.int_range(pl.len()).cast(pl.String)
    )
    assert slices.ranked(odd).equals(slices.ranked(frame))
    assert slices.ranked(frame.clear()).is_empty()
    assert slices.pairs(frame.clear()).is_empty()


def test_a_delivery_that_drifts_is_told_from_those_that_do_not_whatever_the_chunks() -> None:
    names = ("b001", "b002", "b003")
    above_limit, covered = [], []
    for seed in SEEDS:
        draw = np.random.default_rng(seed)
        shift = {"b001": 0.0, "b002": 0.0, "b003": 0.5}
        core = draw.normal(size=(300, 12))
        parts = {name: draw.normal(size=(120, 12)) + shift[name] for name in names}

        def table(size: int, core: np.ndarray = core, parts: dict[str, np.ndarray] = parts) -> pl.DataFrame:
            chunks = {name: InMemory(part, np.zeros(len(part)), size) for name, part in parts.items()}
            return drift.drifts(InMemory(core, np.zeros(len(core)), size), chunks)

        found = table(1000)
        assert np.allclose(found.drop("batch"), table(7).drop("batch"), atol=1e-12)
        assert found["drift"][2] == pytest.approx(naive.drift(parts["b003"], core, drift.FOLDS), rel=1e-9)
        covered.append(found["drift_low"][2] < 0.25 < found["drift_high"][2])
        own = slices.ranked(rows(seed)[0])
        alerts = slices.deliveries(own, found, (0.25, 0.1))
        above_limit.append(alerts.filter(pl.col("alert") != "").select("batch", "alert").rows())
    assert sum(covered) >= 17  # of 20 intervals of 95 %
    assert above_limit == [[("b003", "features")]] * len(SEEDS)


def test_a_delivery_of_wrong_labels_raises_an_alert_and_too_small_ones_none() -> None:
    frame, draw = rows(2)
    bad = (frame["batch"] == "b002").to_numpy() & (draw.random(N) < 0.4)
    worst = slices.ranked(frame.with_columns(wrong=pl.col("wrong") | pl.Series(bad)))
    few = {name: InMemory(draw.normal(size=(3, 4)), np.zeros(3)) for name in ("b002", "b003", "b009")}
    table = slices.deliveries(worst, drift.drifts(InMemory(draw.normal(size=(50, 4)), np.zeros(50)), few), (0.25, 0.1))
    assert table.schema == pl.Schema(evaluation.DELIVERIES)
    assert table.select("batch", "alert").rows() == [("b002", "labels"), ("b003", ""), ("b009", "")]
    assert table["drift"].to_list() == [None] * 3
