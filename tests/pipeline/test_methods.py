"""Other methods score and choose in the place of the derivative, through the real pipeline."""

import json

import numpy as np
import polars as pl
import pytest

from tests.projects.checkout import ran


@pytest.mark.slow
def test_other_methods_score_and_choose(fresh, tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 150)
    features = rng.normal(size=(150, 8)) + 4 * np.eye(8)[labels]
    given = labels.copy()
    given[:10] = (labels[:10] + 1) % 3  # wrong labels in the core
    for name, rows in (("core", slice(0, 60)), ("pool", slice(60, 110)), ("test", slice(110, 150))):
        np.savez(tmp_path / f"{name}.npz", features=features[rows], labels=given[rows].astype(str))
    sources = [part for name in ("core", "pool", "test") for part in (f"--{name}", str(tmp_path / f"{name}.npz"))]
    fresh.diva("init", *sources, "--rounds", "1", "--force")

    def other(params):
        params["score"].update(methods=["soft", "cg_score", "knn_shapley"])
        params["curate"].update(score="cg_score")
        params["extend"].update(choose="smallest_margin", per_round=7)

    fresh.edit("params.yaml", other)
    fresh.diva("init", *sources, "--rounds", "1", "--force")  # rounds take their settings from params.yaml
    assert {"score@soft", "score@cg_score", "score@knn_shapley"} <= ran(fresh.repro())
    scores = pl.read_parquet(fresh.root / "data/scores/cg_score.parquet")
    assert scores["score"][:10].mean() > scores["score"][10:].mean()
    told = json.loads((fresh.root / "data/metrics/rounds/r001.json").read_text())
    assert (told["added"], told["candidates"]) == (7, 50)
    decisions = pl.read_parquet(fresh.root / "data/rounds/r001.parquet").filter(pl.col("change") == "add")
    assert decisions["margin"].abs().max() < 0.9
