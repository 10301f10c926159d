"""Labels called wrong, by ours or another method, and as a table: for the core's scores and for the rounds."""

import logging
from typing import cast, get_args

import polars as pl

from diva.curation.detect import Score, Suspicion, detect
from diva.methods import registry
from diva.numerics.precision import fit_ridge
from stages import rows
from stages.params.curate import Curate

logger = logging.getLogger(__name__)


def suspicion(chunks: rows.Rows, classes: int, ridge: float, method: str, settings: Curate) -> Suspicion:
    """Scores by ``method``, flags by the section's rule; margin, suggestion and derivative are ours in any case."""
    ours = method in get_args(Score)  # one fit gives all of them, streamed
    score = cast(Score, method) if ours else registry.scores(method, *rows.gathered(chunks), classes=classes)
    found = detect(
        fit_ridge(chunks, classes, ridge), score=score, rule=settings.rule, by_class=settings.by_class,
        second_round=settings.second_round, with_derivative=True,
    )  # fmt: skip
    if found.message:
        logger.warning("%s", found.message)
    return found


def table(sample_id: pl.Series, found: Suspicion, classes: list[str]) -> pl.DataFrame:
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
