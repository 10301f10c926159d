"""Samples that were suggested for labelling: data/suggested/<pool or batch>.parquet, the most useful first."""

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
    """The suggestions that stand, each sample once, those of the whole pool first."""
    files = sorted(paths.SUGGESTED.glob("*.parquet"), key=lambda file: (file.stem != "pool", file.stem))
    return pl.concat([tables.empty(SCHEMA), *map(read, files)]).unique("sample_id", keep="first", maintain_order=True)


def reason(rule: str, share: float, gain: float) -> str:
    """Why a sample was chosen, in words.

    Args:
        rule: that chose.
        share: its gain, as a part of what the rule had before; NaN where it has no such figure.
        gain: what the rule saw in it.
    """
    if share == share:
        return f"its label, whatever it is, takes {share:.2%} of the uncertainty of all that wait"
    return f"{rule.replace('_', ' ')}: {gain:.3g}"
