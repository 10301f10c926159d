"""A small project in a temporary folder: parameters, a ledger, features made up on the spot."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import yaml

from diva.store import curated, index, ledger, manifest, paths, release, tables
from tests.projects import digits, ledgers

PARAMS: dict[str, Any] = {
    "download": {"workers": 2, "max_pixels": 1000000, "new_classes": "quarantine"},
    "curate": {"score": "soft", "rule": "rate", "action": "weigh", "second_round": False},
    "release": {"weights": "auto"},
}
APART = {
    "duplicates": {"near_duplicate": None},
    "embed": {"by": [], "neighbours": 15, "min_dist": 0.1, "landmarks": 5000, "seed": 0},
}  # what stages read beside the section of their name
SETTINGS = {"extend": {"per_round": 2}, "curate": {"action": "weigh"}}


def write_params(**sections: Any) -> None:
    """params.yaml of the stages under test."""
    paths.PARAMS.write_text(yaml.safe_dump(PARAMS | APART | sections), encoding="utf-8")


def write_ledger(**batches: ledgers.Source) -> ledger.Ledger:
    """A ledger of these batches, and a round on the newest pool."""
    return ledgers.write(batches.pop("core", ("digits", digits.options(0, 60, 0.2))), settings=SETTINGS, **batches)


def extract(batch: str) -> Path:
    """Features of a batch: numbers of no meaning, in the manifest's order."""
    rows, path = manifest.read(paths.manifest(batch)), paths.features(batch)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=np.ones((len(rows), 3), np.float32), track_times=False)
        file.create_dataset("labels", data=np.zeros(len(rows), np.int32), track_times=False)
        file.create_dataset("sample_id", data=rows["sample_id"].to_numpy().astype("S32"), track_times=False)
        file.create_dataset("classes", data=np.array(["a"], object), dtype=h5py.string_dtype(), track_times=False)
    return path


def fit() -> pl.DataFrame:
    """The core's index, and scores that flag its first three samples."""
    core = index.of_batch("core", manifest.read(paths.manifest("core")), extract("core"))
    index.write(paths.CORE, core)
    paths.MOMENTS.write_bytes(b"moments")
    scored = core.select("sample_id").with_row_index("number")
    scored = scored.select(
        "sample_id",
        score=pl.lit(0.5),
        margin=pl.lit(0.1),
        flagged=pl.col("number") < 3,
        suggested_label=pl.lit("9"),
        derivative=pl.lit(0.0),
    )
    tables.write(paths.scores("soft"), scored, curated.SCORES)
    return core


def decide(round_: str, *changes: tuple[str, str]) -> None:
    """What a round decided."""
    frame = pl.DataFrame(list(changes), schema={"sample_id": pl.String, "change": pl.String}, orient="row")
    values = {"derivative": -0.1, "margin": 0.2, "score": 0.3, "suggested_label": "9", "reason": "because"}
    decisions = frame.with_columns(**{name: pl.lit(value) for name, value in values.items()})
    tables.write(paths.changes(round_), decisions, curated.CHANGES)


def weigh(version: str, held_out: Any) -> None:
    """Weights of all samples of a set, and what reweighting says of a held-out fold."""
    rows = curated.read(version).select("sample_id", weight=pl.lit(0.5), derivative=pl.lit(0.1), margin=pl.lit(0.2))
    tables.write(paths.WEIGHTS, rows, release.WEIGHTS)
    tables.write_json(paths.metrics("reweight"), {"held_out": held_out})
