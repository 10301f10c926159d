"""A detection as a table, for the core's scores and for the rounds."""

import polars as pl

from diva.detect import Detection


def table(sample_id: pl.Series, found: Detection, classes: list[str]) -> pl.DataFrame:
    """One row per sample: score, margin, flag, suggested label, derivative."""
    return pl.DataFrame(
        {
            "sample_id": sample_id,
            "score": found.score.numpy(),
            "margin": found.margin.numpy(),
            "flagged": found.flagged.numpy(),
            "suggested_label": [classes[code] for code in found.suggested.tolist()],
            "derivative": found.derivative.numpy(),
        },
        schema_overrides={"suggested_label": pl.String},
    )
