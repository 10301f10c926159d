"""How far a delivery's features lie from the core's, in shares of the core's variance, with an interval.

    D = ‖μ_b − μ_core‖² / tr Σ_core,    D̂ = Σ_{s≠t} ⟨d_s, d_t⟩ / (S (S − 1) tr Σ̂_core),    d_s = m_b,s − m_core,s

m_s are means over fold s of S: products of two folds share no row, so sampling adds nothing on average, and D̂ is about
0, of either sign, where nothing drifts. The interval is that of the delete-one-fold jackknife, ± t .975 (S − 1).
One pass, numpy alone; memory is S rows of features for each batch.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from diva.curation.shares import Numbers
from diva.numerics.chunks import Chunks

FOLDS = 10
QUANTILE = 2.262  # of Student's t with FOLDS − 1 degrees of freedom, for intervals of 95 %


def drifts(core: Chunks, deliveries: Mapping[str, Chunks]) -> pl.DataFrame:
    """batch, drift, drift_low, drift_high of each delivery; null where it or the core has fewer rows than folds."""
    reference, variance = fold_means(core)
    rows = [
        {"batch": name, **_drift(fold_means(chunks)[0], reference, variance)} for name, chunks in deliveries.items()
    ]
    return pl.DataFrame(rows, {"batch": pl.String, **dict.fromkeys(("drift", "drift_low", "drift_high"), pl.Float64)})


def fold_means(chunks: Chunks) -> tuple[Numbers, float]:
    """Means (S, p) of rows, in turn over the folds, and the trace of their covariance; NaN where a fold is empty."""
    sums, counts, squares = np.zeros((FOLDS, chunks.shape[1])), np.zeros(FOLDS), 0.0
    for features, _, rows in chunks:
        block = np.asarray(features, np.float64)
        for fold in range(FOLDS):
            part = block[(fold - rows.start) % FOLDS :: FOLDS]
            sums[fold] += part.sum(0)
            counts[fold] += len(part)
        squares += float((block * block).sum())
    with np.errstate(invalid="ignore"):
        means = sums / counts[:, None]
    n, mean = counts.sum(), sums.sum(0) / max(counts.sum(), 1)
    return means, float((squares - n * mean @ mean) / max(n - 1, 1))


def _drift(means: Numbers, reference: Numbers, variance: float) -> dict[str, float | None]:
    nothing: dict[str, float | None] = dict.fromkeys(("drift", "drift_low", "drift_high"))
    if (
        means.shape != reference.shape
        or not np.isfinite(means).all()
        or not np.isfinite(reference).all()
        or variance <= 0
    ):
        return nothing
    products = (means - reference) @ (means - reference).T / variance
    np.fill_diagonal(products, 0.0)
    total, touching = products.sum(), products.sum(0)
    drift = total / (FOLDS * (FOLDS - 1))
    without = (total - 2 * touching) / ((FOLDS - 1) * (FOLDS - 2))
    error = np.sqrt((FOLDS - 1) / FOLDS * ((without - without.mean()) ** 2).sum())
    return {
        "drift": float(drift),
        "drift_low": float(drift - QUANTILE * error),
        "drift_high": float(drift + QUANTILE * error),
    }
