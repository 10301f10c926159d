"""Whether float32 is enough for the products with rows; where it is not, they are done again in float64.

`ridge.Moments` carries an estimate of what rounding did to the Gram matrix, ‖ΔA‖ ≈ 2u‖A‖_F/√p for unit roundoff u;
the solution moves by about ‖ΔA‖ ‖C‖. Measured on features of real images, that is an upper bound of the error of a
dataset derivative in float32 (a fifth of it, on the average). Up to `ENOUGH` float32 stands; beyond it a debug message
says so, once per process, and the rows are converted, chunk by chunk, before they are multiplied.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from diva.numerics.chunks import Chunk, Chunks
from diva.numerics.gathering import labels_of
from diva.numerics.parallel import Parts
from diva.numerics.ridge import Moments, RidgeModel, moments, solve

ENOUGH = 1e-2

logger = logging.getLogger(__name__)
fits_in_double = count()  # of this process; only the first is reported


class InDouble:
    """The same rows in float64."""

    def __init__(self, chunks: Chunks) -> None:
        self.chunks = chunks

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p)."""
        return self.chunks.shape

    @property
    def labels(self) -> Tensor:
        """Codes (n,)."""
        return labels_of(self.chunks)

    def __iter__(self) -> Iterator[Chunk]:
        for features, labels, rows in self.chunks:
            yield Chunk(features.double(), labels, rows)


def in_double(chunks: Chunks) -> Chunks:
    """The same rows in float64, in the same parts."""
    if isinstance(chunks, Parts):
        return Parts([InDouble(part) for part in chunks.parts], chunks.mapper)
    return InDouble(chunks)


@dataclass(frozen=True)
class RidgeFit:
    """Rows with the factorised model that they train: factorise once, ask often.

    Attributes:
        chunks: n rows, as they were given, or in float64 where the model needs that.
        moments: of these rows with their weights.
        model: the solution.
        weights: α (n,), or None for ones.
        groups: (n,) integers; rows of equal ones are left out together, negative ones have no group. None: one by one.
        leverage_factor: g (n,) float64 for the passes to come; None lets each pass compute its own.
    """

    chunks: Chunks
    moments: Moments
    model: RidgeModel
    weights: Tensor | None = None
    leverage_factor: Tensor | None = None
    groups: Tensor | None = None

    @property
    def classes(self) -> int:
        """k."""
        return self.moments.cross.shape[1]

    @property
    def ridge(self) -> float:
        """λ."""
        return self.model.ridge

    def like(self, others: Chunks) -> Chunks:
        """Other rows (a pool, a validation set) in the precision of these."""
        first = self.chunks.parts[0] if isinstance(self.chunks, Parts) else self.chunks
        return in_double(others) if isinstance(first, InDouble) else others

    def reweighted(self, weights: Tensor) -> "RidgeFit":
        """The model of the same rows with other weights, at the same ridge."""
        return fit_ridge(self.chunks, self.classes, self.ridge, weights, groups=self.groups)


def fit_ridge(
    chunks: Chunks,
    classes: int,
    ridge: float,
    weights: Tensor | None = None,
    sums: Moments | None = None,
    groups: Tensor | None = None,
) -> RidgeFit:
    """The ridge model of all rows, in float64 throughout where float32 rows would spoil it.

    Args:
        chunks: n rows.
        classes: k.
        ridge: λ.
        weights: α (n,), or None for ones.
        sums: moments of these rows with these weights, where a store or a search for λ holds them.
        groups: (n,) integers; rows of equal ones are left out together, negative ones have no group.

    Raises:
        ValueError: as `diva.numerics.ridge.solve`, or groups of another length.
    """
    if groups is not None and tuple(groups.shape) != (chunks.shape[0],):
        raise ValueError(f"groups must have one entry per row ({chunks.shape[0]},), got {tuple(groups.shape)}.")
    sums = moments(chunks, classes, weights) if sums is None else sums
    model = solve(sums, ridge)
    if model.rounding <= ENOUGH or not _single(chunks):
        return RidgeFit(chunks, sums, model, weights, groups=groups)
    if next(fits_in_double) == 0:
        share = min(100.0, 100 * model.rounding)
        logger.debug("float32 is not enough at ridge %g (it may move the solution by %.0f %%): float64", ridge, share)
    chunks = in_double(chunks)
    sums = moments(chunks, classes, weights)
    return RidgeFit(chunks, sums, solve(sums, ridge), weights, groups=groups)


def _single(chunks: Chunks) -> bool:
    first = next(iter(chunks), None)
    return first is not None and first.features.dtype != torch.float64
