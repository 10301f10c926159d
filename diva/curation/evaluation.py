"""What a training set is worth: the test error of the linear head that it trains, with an interval.

The head is ridge regression on the same features, whatever the set; its λ is chosen by leave-one-out on that set.
Of fewer rows than features it is trained in their own coordinates, n × n.
Intervals come from a bootstrap over test samples: draw them with replacement, those of a group together, take the 2.5 %
and 97.5 % quantiles of the mean error; differences between two sets are drawn in pairs, on the same test samples.
Where all n errors are 0, or all are 1, every draw is the same and would claim an interval of no width: there it is the
exact one of Clopper and Pearson (Biometrika 26, 1934), [0, 1 − 0.025^(1/n)] or [0.025^(1/n), 1].
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diva.curation.reweight import ENOUGH
from diva.numerics import products
from diva.numerics.chunks import Chunk, Chunks
from diva.numerics.grid import choose_ridge
from diva.numerics.losses import margins
from diva.numerics.precision import fit_ridge
from diva.numerics.residence import in_own_span
from diva.numerics.ridge import RidgeModel

Errors = npt.NDArray[np.float64]
Units = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Head:
    """A trained head.

    Attributes:
        model: W and C.
        loo_error: leave-one-out error of its training set at its ridge; NaN where the ridge was given.
        basis: Q (p, n) of the training rows' own coordinates, where the model is in these; None: in the features'.
    """

    model: RidgeModel
    loo_error: float
    basis: Tensor | None = None

    @cached_property
    def weights(self) -> Tensor:
        """W (p, k) float64, in the features' own coordinates."""
        return self.model.head if self.basis is None else self.basis @ self.model.head

    def outputs(self, z: Tensor) -> Tensor:
        """zW (m, k) of rows in the features' own coordinates."""
        return products.times(z, self.weights.to(z))

    def correct(self, chunks: Chunks) -> Tensor:
        """Which rows the head classifies as labelled (n,), on the CPU."""
        parts = [self.outputs(z).argmax(1) == labels for z, labels, _ in chunks]
        return torch.cat(parts).cpu() if parts else torch.zeros(0, dtype=torch.bool)

    def margins(self, chunks: Iterable[Chunk]) -> Tensor:
        """The given label's output less the best other one (n,), on the CPU."""
        parts = [margins(self.outputs(z), labels) for z, labels, _ in chunks]
        return torch.cat(parts).cpu() if parts else torch.zeros(0)


def train(chunks: Chunks, classes: int, ridge: float, weights: Tensor | None = None) -> Head:
    """The head at a given ridge."""
    rows, basis = in_own_span(chunks)
    return Head(fit_ridge(rows, classes, ridge, weights).model, float("nan"), basis)


def train_by_leave_one_out(chunks: Chunks, classes: int, grid: Sequence[float], weights: Tensor | None = None) -> Head:
    """The head at the ridge that leave-one-out on its own training set prefers.

    The ridge is chosen with every row counting once, so that a set with weights and the same set without differ in
    the weights alone; of more than 20,000 rows so many, drawn at random, are left out in turn.
    """
    rows, basis = in_own_span(chunks)
    choice = choose_ridge(rows, classes, grid, judged=judged_rows(rows.shape[0]))
    fitted = choice.fit() if weights is None else fit_ridge(rows, classes, choice.ridge, weights)
    return Head(fitted.model, choice.error, basis)


def judged_rows(n: int) -> Tensor | None:
    """A mask (n,) of 20,000 rows, the same whenever n is; None where there are no more."""
    if n <= ENOUGH:
        return None
    order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
    return torch.zeros(n, dtype=torch.bool).index_fill_(0, order[:ENOUGH], value=True)


@dataclass(frozen=True)
class Interval:
    """A mean and its interval of 95 %."""

    mean: float
    low: float
    high: float


def bootstrap(errors: Errors, draws: int, seed: int, units: Units | None = None, exact: bool = True) -> Interval:
    """Mean of per-sample errors (n,) in [−1, 1] and its interval; the same draws for the same n and seed.

    Args:
        errors: of n test samples.
        draws: how many.
        seed: of them.
        units: numbers (n,) from 0 of what is drawn as a whole, such as all views of an image; None: each.
        exact: whether errors that are all 0, or all 1, have the exact interval, of n units; not for differences.

    Raises:
        ValueError: of no samples.
    """
    if not len(errors):
        raise ValueError("errors must hold at least one test sample, got none.")
    each = np.arange(len(errors)) if units is None else units
    sums, sizes = np.bincount(each, errors), np.bincount(each)
    if exact and (errors == errors[0]).all() and errors[0] in (0, 1):
        most = 0.025 ** (1 / len(sums))
        return Interval(0.0, 0.0, 1 - most) if errors[0] == 0 else Interval(1.0, most, 1.0)
    counts = _drawn(len(sums), draws, seed)
    total = counts @ sizes if sizes.max() > 1 else len(errors)
    low, high = np.quantile(counts @ sums / total, [0.025, 0.975])
    return Interval(float(errors.mean()), float(low), float(high))


@lru_cache(maxsize=1)  # a table of intervals asks for hundreds of the same draws
def _drawn(n: int, draws: int, seed: int) -> Errors:
    """How often (draws, n) each of n samples is drawn."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)
