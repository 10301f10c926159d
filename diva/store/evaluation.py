"""Tables beside the metrics of ``evaluate``: errors by class, the curve of Reweight, what the pool still holds."""

import polars as pl

from diva.store import paths, tables

CLASSES: tables.Schema = {
    "label": pl.String,
    "samples": pl.Int64,  # of the test set
    "core": pl.Float64,  # share of them that a head trained on the set gets wrong
    "release_weighted": pl.Float64,
    "release_unweighted": pl.Float64,
    "everything": pl.Float64,
}
STEPS: tables.Schema = {
    "step": pl.Int64,
    "loss": pl.Float64,  # leave-one-out, of the validating samples
    "error": pl.Float64,  # on the test set
    "low": pl.Float64,
    "high": pl.Float64,
}
REMAINING: tables.Schema = {
    "sample_id": pl.String,
    "path": pl.String,
    "batch": pl.String,
    "features": pl.String,
    "row": pl.Int64,
    "label": pl.String,
    "suggested_label": pl.String,
    "score": pl.Float64,
    "margin": pl.Float64,
    "derivative": pl.Float64,
    "gain": pl.Float64,
    "reason": pl.String,
}
SCHEMAS = {"classes": CLASSES, "steps": STEPS, "left": REMAINING}


def read(name: str) -> pl.DataFrame:
    """One of the tables."""
    return tables.read(paths.evaluation(name), SCHEMAS[name])


def write(name: str, frame: pl.DataFrame) -> None:
    """Write one of the tables."""
    tables.write(paths.evaluation(name), tables.conform(frame, SCHEMAS[name], name), SCHEMAS[name])
