"""The ridge model that the methods built on it share: rows to unit norm, a constant column, λ by leave-one-out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diva.methods.inputs import Labelled
from diva.numerics import products
from diva.numerics.chunks import InMemory
from diva.numerics.grid import RIDGES, choose_ridge
from diva.numerics.leave_one_out import leave_one_out
from diva.numerics.normalize import Normalization, Prepared, scaling
from diva.numerics.ridge import Local, RidgeModel, moments, solve, weighted


@dataclass(frozen=True)
class Fit:
    """Rows as the closed forms want them, the model they train, and g (n,) where choosing λ has shown it."""

    chunks: Prepared
    model: RidgeModel
    quadratic: Tensor | None = None


def prepared(data: Labelled, like: Labelled, normalize: Normalization) -> Prepared:
    """``data`` scaled as ``like`` is."""
    chosen = scaling(InMemory(like.features, like.labels)) if normalize == "standardize" else None
    x = data.features
    return Prepared(InMemory(x, data.labels), normalize, scaling=chosen, device=x.device, dtype=x.dtype)


def fit(data: Labelled, *, ridge: float | None, normalize: Normalization, ridges: Sequence[float] = RIDGES) -> Fit:
    """The model of all rows; λ is chosen from ``ridges`` by leave-one-out error where it is not given."""
    chunks = prepared(data, data, normalize)
    if ridge is None:
        choice = choose_ridge(chunks, data.classes, ridges)
        return Fit(chunks, solve(choice.moments, choice.ridge), choice.quadratic)
    return Fit(chunks, solve(moments(chunks, data.classes), ridge))


def loo_predictions(fitted: Fit) -> Tensor:
    """Leave-one-out predictions f (n, k) float64 of the rows the model was trained on, in one pass."""
    local, g, parts = Local(fitted.model), fitted.quadratic, []
    for (z, labels, rows), alpha in weighted(fitted.chunks, None):
        known = None if g is None else g[rows].to(z)
        parts.append(leave_one_out(z, labels, alpha, local.like(z), known).predictions.double())
    return torch.cat(parts)


def predictions(fitted: Fit, chunks: Prepared) -> Tensor:
    """Plain predictions (n, k) float64 of rows outside the model."""
    return torch.cat([products.times(z, fitted.model.head.to(z)).double() for z, _, _ in chunks])
