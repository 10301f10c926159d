"""Moments that each round stores for the next one: equal to a fresh sum, whatever came, went or changed between."""

from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
import torch

from diva.curation import rows
from diva.numerics.normalize import Prepared, scaling
from diva.numerics.ridge import Moments, moments
from diva.store import curated, index, paths, tables
from diva.store import moments as sums

WIDTH, CORE, BATCH = 6, 40, 30
POOL = pl.DataFrame(
    {
        "sample_id": [f"s{i:03d}" for i in range(CORE + 3 * BATCH)],
        "batch": ["core"] * CORE + [f"b00{1 + i // BATCH}" for i in range(3 * BATCH)],
        "label": [("m", "z")[i % 2] for i in range(CORE + BATCH)] + [("z", "a", "m")[i % 3] for i in range(2 * BATCH)],
    }
).with_columns(features=pl.format("{}.h5", "batch"), row=pl.int_range(pl.len()).over("batch"), path=pl.lit("p"))


@pytest.fixture(params=["unit", "standardize"])
def fit(request: pytest.FixtureRequest, workplace: Path) -> rows.Problem:
    """A core with its moments, and three batches of features, of which the second brings a class."""
    g = np.random.default_rng(0)
    for batch in POOL["batch"].unique():
        with h5py.File(f"{batch}.h5", "w") as file:
            file["features"] = g.normal(1, 3, size=(CORE, WIDTH)).astype(np.float32)
    fit = rows.Problem(0.1, 8.0, ["m", "z"], request.param, 7, "cpu", "float64", 0.0, [], 0)
    core = POOL.filter(batch="core").with_columns(checksum=pl.lit("core"))
    write_fit(fit, core)
    index.write(paths.CORE, tables.conform(core, index.SCHEMA, "core"))
    return fit


def write_fit(fit: rows.Problem, core: pl.DataFrame) -> None:
    stored = rows.stored(core, fit.classes, 7)
    scale = scaling(stored) if fit.normalize == "standardize" else None
    rows.write_problem(fit, moments(Prepared(stored, fit.normalize, scaling=scale, dtype=torch.float64), 2), scale)


def pool(turn: int, **checksums: str) -> pl.DataFrame:
    """The index after ``turn`` batches."""
    known = [f"b00{batch}" for batch in range(1, turn + 1)]
    return POOL.filter(pl.col("batch").is_in(known)).with_columns(
        checksum=pl.col("batch").replace({name: checksums.get(name, f"of {name}") for name in known})
    )


def members(after: list[tuple[str, str, str]]) -> pl.DataFrame:
    """A set by sample, label and status."""
    said = pl.DataFrame(after, {"sample_id": pl.String, "label": pl.String, "status": pl.String}, orient="row")
    known = POOL.rename({"label": "given_label"}).join(said, on="sample_id", maintain_order="right")
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in curated.SCHEMA.items() if name not in known.columns]
    state = known.with_columns(missing).select(list(curated.SCHEMA))
    return tables.conform(state, curated.SCHEMA, "set")


def fresh(state: pl.DataFrame, problem: rows.Problem) -> Moments:
    return moments(rows.prepared(curated.members(state), problem), len(problem.classes))


def store(name: str, state: pl.DataFrame, turn: int, previous: str, fit: rows.Problem) -> Moments:
    """What a round does after its decisions."""
    problem = fit.with_classes(pool(turn)["label"])
    kept = rows.counted(curated.members(state), previous, pool(turn), problem).moments
    curated.write(paths.curated(name), state)
    used = pool(turn).join(state, on="sample_id", how="semi")["checksum"].unique().sort()
    sums.write_round(name, kept, problem.classes, used.to_list())
    return kept


def begin(fit: rows.Problem) -> pl.DataFrame:
    """r000: the core, and the file from which its chain starts."""
    sums.write(paths.moments("r000"), sums.core(fit.classes).moments, fit.classes)
    state = members([(*row, "member") for row in POOL.filter(batch="core").select("sample_id", "label").iter_rows()])
    curated.write(paths.curated("r000"), state)
    return state


def next_set(state: pl.DataFrame, turn: int, chance: np.random.Generator) -> pl.DataFrame:
    """A third of what waits is added, some members go, some come back, some change their label."""
    now = dict.fromkeys(state["sample_id"])
    rows_ = {name: [label, status] for name, label, status in state.select("sample_id", "label", "status").iter_rows()}
    waiting = [row for row in pool(turn).select("sample_id", "label").iter_rows() if row[0] not in now]
    rows_ |= {name: [label, "member"] for name, label in chance.permutation(waiting)[: len(waiting) // 3].tolist()}
    classes = sorted({*pool(turn)["label"], *state["label"]})
    for name in chance.permutation(sorted(rows_))[:6]:
        rows_[name][1] = "removed" if rows_[name][1] == "member" else "member"
    for name in chance.permutation(sorted(rows_))[:4]:
        rows_[name][0] = str(chance.choice(classes))
    return members([(name, *row) for name, row in rows_.items()])


def assert_equal(actual: Moments, expected: Moments) -> None:
    assert actual.count == expected.count
    torch.testing.assert_close(actual.gram, expected.gram, rtol=1e-12, atol=1e-11)
    torch.testing.assert_close(actual.cross, expected.cross, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("seed", range(3))
def test_a_chain_of_rounds_keeps_the_moments_of_its_sets(fit: rows.Problem, seed: int) -> None:
    state, chance, previous = begin(fit), np.random.default_rng(seed), "r000"
    for number in range(1, 10):
        turn = 1 + (number - 1) // 3  # a batch every third round; the second brings the class a, first by name
        state, name = next_set(state, turn, chance), f"r{number:03d}"
        kept = store(name, state, turn, previous, fit)
        problem = fit.with_classes(pool(turn)["label"])
        assert_equal(kept, fresh(state, problem))
        assert_equal(sums.read(paths.moments(name), problem.classes), kept)
        assert sums.valid(name, pool(turn))
        previous = name


def test_a_round_without_news_sums_no_row(fit: rows.Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    state = next_set(begin(fit), 2, np.random.default_rng(0))
    store("r001", state, 2, "r000", fit)
    monkeypatch.setattr(rows, "prepared", None)
    again = rows.counted(curated.members(state), "r001", pool(2), fit.with_classes(pool(2)["label"]))
    assert torch.equal(again.moments.gram, sums.read(paths.moments("r001"), ["m", "z", "a"]).gram)


def test_only_what_is_new_is_summed(fit: rows.Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    state, summed = next_set(begin(fit), 2, np.random.default_rng(0)), []
    store("r001", state, 2, "r000", fit)
    prepared = rows.prepared
    monkeypatch.setattr(rows, "prepared", lambda frame, *rest: summed.append(len(frame)) or prepared(frame, *rest))
    now = curated.members(state)
    rows.counted(now[1:], "r001", pool(2), fit.with_classes(pl.Series(["a"])))
    rows.counted(
        now.with_columns(label=pl.Series(["a", *now["label"][1:]])), "r001", pool(2), fit.with_classes(pl.Series(["a"]))
    )
    assert summed == [1, 1]


@pytest.mark.parametrize("what", ["features", "fit"])
def test_what_was_made_anew_is_summed_anew_from_the_core(fit: rows.Problem, what: str) -> None:
    state = next_set(begin(fit), 2, np.random.default_rng(1))
    store("r001", state, 2, "r000", fit)
    with h5py.File("b001.h5" if what == "features" else "core.h5", "a") as file:
        file["features"][:] = file["features"][:] + np.float32(0.5)
    if what == "fit":
        write_fit(fit, index.read(paths.CORE))
    anew = pool(2, b001="another") if what == "features" else pool(2)
    problem = fit.with_classes(anew["label"])
    assert not sums.valid("r001", anew)
    assert_equal(rows.counted(curated.members(state), "r001", anew, problem).moments, fresh(state, problem))


def test_where_a_chain_begins_the_core_is_what_is_known(fit: rows.Problem) -> None:
    begin(fit)
    assert not sums.valid("r000", pool(1))
    assert sums.newest("r000", pool(1), fit.classes).rows["sample_id"].to_list() == POOL["sample_id"][:CORE].to_list()
