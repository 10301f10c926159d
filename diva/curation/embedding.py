"""Where samples lie in two dimensions: the first two principal components of the core's features, or UMAP of them.

    (x, y)_i = (x_i − μ) V / σ,    V (p, 2) the leading eigenvectors of Σ_core, each with its largest entry positive,
                                   σ the core's standard deviation along the first
    (x, y)_i = Σ_j w_ij y_j,       y_j (2,) the place of the landmark j, a row of the core, by UMAP; over the five that
                                   point most the same way, w_ij ∝ 1 / (1 − cos(x_i − μ, x_j − μ)), Σ_j w_ij = 1

Fitted on the core alone, so that no point moves when samples are added. One pass for V or the landmarks, one for the
points; memory is p × p, or n × n where the core has fewer rows than features.
"""

import warnings
from typing import NamedTuple

import numpy as np
import polars as pl

from diva.curation.shares import Numbers
from diva.numerics.chunks import Chunks
from diva.store import tables

PLACES: tables.Schema = {"sample_id": pl.String, "x": pl.Float32, "y": pl.Float32}  # of landmarks
NEAREST = 5  # landmarks by which other samples lie
CLOSE = 1e-6  # 1 − cos of what is the same


class Axes(NamedTuple):
    """μ (p,), V / σ (p, 2), and the share of the core's variance along each of both."""

    centre: Numbers
    directions: Numbers
    shares: Numbers

    @property
    def about(self) -> str:
        """What the map shows, in words."""
        share = f"{100 * self.shares.sum():.0f} % of its variance"
        return f"the first two principal components of the core's features ({share})"

    def points(self, chunks: Chunks) -> Numbers:
        """(n, 2) of rows."""
        parts = [(np.asarray(features, np.float64) - self.centre) @ self.directions for features, _, _ in chunks]
        return np.concatenate(parts) if parts else np.zeros((0, 2))


class Landmarks(NamedTuple):
    """μ (p,), directions of rows of the core (m, p), their places (m, 2), of unit deviation along x."""

    centre: Numbers
    directions: Numbers
    places: Numbers

    @property
    def about(self) -> str:
        """What the map shows, in words."""
        return f"UMAP of {len(self.places):,} samples of the core, and each other sample by the nearest of them"

    def points(self, chunks: Chunks) -> Numbers:
        """(n, 2) of rows."""
        parts = [self._placed(np.asarray(features, np.float32)) for features, _, _ in chunks]
        return np.concatenate(parts) if parts else np.zeros((0, 2))

    def _placed(self, features: Numbers) -> Numbers:
        nearest = min(NEAREST, len(self.places))
        cosines = _unit(features - self.centre) @ self.directions.T
        columns = np.argpartition(-cosines, nearest - 1, axis=1)[:, :nearest]
        weights = 1 / np.maximum(1 - np.take_along_axis(cosines, columns, 1).astype(np.float64), CLOSE)
        return np.asarray(np.einsum("ij,ijd->id", weights / weights.sum(1, keepdims=True), self.places[columns]))


def landmarks(rows: Chunks, places: Numbers) -> Landmarks:
    """Of rows of the core, and where UMAP has them (m, 2)."""
    features = _whole(rows)
    centre = features.mean(0)
    deviation = places[:, 0].std() or 1.0
    return Landmarks(centre, _unit(features - centre), (places - places.mean(0)) / deviation)


def umap(rows: Chunks, neighbours: int, min_dist: float, seed: int) -> Numbers:
    """Places (n, 2) of rows by UMAP, by the angle between their features less the mean; the same for the same seed.

    Raises:
        ValueError: umap-learn is not installed, or there are too few rows for that many neighbours.
    """
    try:
        import umap as library  # type: ignore[import-not-found, import-untyped, unused-ignore]  # on request alone
    except ImportError:
        raise ValueError(
            "embed.by must name what is installed, got umap; `pip install 'diva-curation[umap]'` brings it."
        ) from None
    features = _whole(rows)
    if len(features) <= neighbours:
        raise ValueError(f"embed.neighbours must be less than the core's {len(features)} samples, got {neighbours}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed means one thread
        reducer = library.UMAP(n_neighbors=neighbours, min_dist=min_dist, metric="cosine", random_state=seed, n_jobs=1)
        return np.asarray(reducer.fit_transform(features - features.mean(0)), np.float64)


def _whole(rows: Chunks) -> Numbers:
    return np.concatenate([np.asarray(features, np.float32) for features, _, _ in rows])


def _unit(rows: Numbers) -> Numbers:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny))


def axes(core: Chunks) -> Axes:
    """The two directions in which the core varies most; zeros where it has fewer."""
    centre, values, vectors = (_of_few if core.shape[0] < core.shape[1] else _of_many)(core)
    whole, directions, shares = max(float(values.sum()), np.finfo(float).tiny), np.zeros((len(centre), 2)), np.zeros(2)
    for column in np.flatnonzero(values[:2] > 1e-12 * whole):
        unit = vectors[:, column]
        directions[:, column] = unit * np.sign(unit[np.abs(unit).argmax()])
        shares[column] = values[column] / whole
    deviation = np.sqrt(values[0] / core.shape[0]) if shares[0] else 1.0
    return Axes(centre, directions / deviation, shares)


def _of_many(core: Chunks) -> tuple[Numbers, Numbers, Numbers]:
    """Mean, eigenvalues and eigenvectors of the scatter, the largest first, streamed."""
    n, p = core.shape
    total, products = np.zeros(p), np.zeros((p, p))
    for features, _, _ in core:
        block = np.asarray(features, np.float64)
        total += block.sum(0)
        products += block.T @ block
    centre = total / max(n, 1)
    values, vectors = np.linalg.eigh(products - n * np.outer(centre, centre))
    return centre, np.maximum(values[::-1], 0), vectors[:, ::-1]


def _of_few(core: Chunks) -> tuple[Numbers, Numbers, Numbers]:
    """The same of fewer rows than features."""
    if not core.shape[0]:
        return np.zeros(core.shape[1]), np.zeros(0), np.zeros((core.shape[1], 0))
    rows = np.concatenate([np.asarray(features, np.float64) for features, _, _ in core])
    centre = rows.mean(0)
    _, lengths, directions = np.linalg.svd(rows - centre, full_matrices=False)
    return centre, lengths**2, directions.T
