"""Samples that were suggested for labelling: data/suggested/<round>.parquet, the most useful first."""

from pathlib import Path

import polars as pl

from diva.store import paths, tables

SCHEMA: tables.Schema = {
    "sample_id": pl.String,
    "path": pl.String,
    "rank": pl.Int64,  # from 1
    "reason": pl.String,
    "suggested_label": pl.String,  # what the model would call it; null where there is no model yet
    "probability": pl.Float64,  # of that label
    "gain": pl.Float64,  # what the rule saw in it
}


def read(path: Path) -> pl.DataFrame:
    """Suggestions at a path."""
    return tables.read(path, SCHEMA)


def newest() -> pl.DataFrame:
    """The suggestions that stand, if any."""
    files = sorted(paths.SUGGESTED.glob("*.parquet"))
    return read(files[-1]) if files else tables.empty(SCHEMA)
