"""Groups of the core that leave nothing to predict a class by are told before anything rests on them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from diva.curation.posing import Posed, pose, shrinkage
from diva.numerics.chunks import InMemory
from diva.numerics.precision import fit_ridge
from diva.store import index, manifest, paths
from tests.projects import stage_inputs as small


@pytest.fixture
def core(workplace: Path) -> pl.DataFrame:
    """Twelve rows of two classes."""
    samples = [manifest.Sample(f"c{number}", f"{number}.png", "ab"[number % 2]) for number in range(12)]
    manifest.write(paths.manifest("core"), manifest.samples(samples))
    small.extract("core")
    return index.read_batch("core")


def posed(core: pl.DataFrame, group: pl.Expr) -> Posed:
    grouped = core.with_columns(group=group)
    return pose(grouped, 0, "auto", normalize="unit", ridges=[0.1], chunk_size=5, device="cpu", dtype="float64")


@pytest.mark.parametrize("group", [pl.lit("all"), pl.col("label")], ids=["one group", "the classes themselves"])
def test_groups_that_leave_no_class_in_two_of_them_are_refused(core: pl.DataFrame, group: pl.Expr) -> None:
    with pytest.raises(
        ValueError, match=r"groups of batches.core must spread classes .* got one for each of a, b: .*name"
    ):
        posed(core, group)


def test_a_class_in_one_group_is_told_and_the_run_goes_on(core: pl.DataFrame) -> None:
    of_pairs = pl.col("sample_id").rank().cast(pl.Int64).floordiv(5).cast(pl.String)
    made = posed(core, pl.when(pl.col("label") == "a").then(pl.lit("a")).otherwise(of_pairs))
    assert made.message == "classes of one group (1: a) are not judged: add a second group of each"
    assert made.problem.loo_error >= 0.5  # without its group nothing predicts a
    assert torch.isfinite(made.model.head).all()
    assert posed(core, of_pairs).message == ""


def test_a_ridge_that_shrinks_every_margin_below_the_threshold_is_told() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 4)) + 6 * np.eye(4)[np.arange(60) % 2]
    chunks = InMemory(torch.tensor(rows / np.linalg.norm(rows, axis=1, keepdims=True)), torch.arange(60) % 2, 25)
    fits = {ridge: fit_ridge(chunks, 2, ridge) for ridge in (0.1, 316.0)}
    assert shrinkage(fits[0.1]) == ""
    assert shrinkage(fits[316.0]).startswith("ridge 316 shrinks predictions so far")
