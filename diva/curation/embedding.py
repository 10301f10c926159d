"""Where samples lie in two dimensions: the first two principal components of the core's features.

    (x, y)_i = (x_i − μ) V / σ,    V (p, 2) the leading eigenvectors of Σ_core, each with its largest entry positive,
                                   σ the core's standard deviation along the first

Fitted on the core alone, so that no point moves when samples are added. One pass for V, one for the points, numpy
alone; memory is p × p, or n × n where the core has fewer rows than features.
"""

from typing import NamedTuple

import numpy as np

from diva.curation.shares import Numbers
from diva.numerics.chunks import Chunks


class Axes(NamedTuple):
    """μ (p,), V / σ (p, 2), and the share of the core's variance along each of both."""

    centre: Numbers
    directions: Numbers
    shares: Numbers


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


def points(chunks: Chunks, by: Axes) -> Numbers:
    """(n, 2) of rows."""
    parts = [(np.asarray(features, np.float64) - by.centre) @ by.directions for features, _, _ in chunks]
    return np.concatenate(parts) if parts else np.zeros((0, 2))
