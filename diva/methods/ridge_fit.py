"""The ridge model that the methods built on it share: rows to unit norm, a constant column, λ by leave-one-out."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from diva.methods.inputs import Labelled
from diva.numerics import products
from diva.numerics.chunks import Chunks, InMemory
from diva.numerics.grid import RIDGES, choose_ridge
from diva.numerics.leave_one_out import chunkwise
from diva.numerics.normalize import Prepared, scaling
from diva.numerics.precision import RidgeFit, fit_ridge
from diva.text.choices import Normalization


def prepared(data: Labelled, like: Labelled, normalize: Normalization) -> Prepared:
    """``data`` scaled as ``like`` is."""
    chosen = scaling(InMemory(like.features, like.labels)) if normalize == "standardize" else None
    x = data.features
    return Prepared(InMemory(x, data.labels), normalize, scaling=chosen, device=x.device, dtype=x.dtype)


def fit(data: Labelled, *, ridge: float | None, normalize: Normalization, ridges: Sequence[float] = RIDGES) -> RidgeFit:
    """The model of all rows; λ is chosen from ``ridges`` by leave-one-out error where it is not given."""
    data.require_classes(2)
    chunks = prepared(data, data, normalize)
    if ridge is not None:
        return fit_ridge(chunks, data.classes, ridge)
    choice = choose_ridge(chunks, data.classes, ridges)
    fitted = choice.fit()
    return replace(fitted, leverage_factor=choice.leverage_factor) if fitted.chunks is chunks else fitted


def loo_predictions(fitted: RidgeFit) -> Tensor:
    """Leave-one-out predictions f (n, k) float64 of the rows the model was trained on, in one pass."""
    passed = chunkwise(fitted.chunks, fitted.model, fitted.weights, fitted.leverage_factor)
    return torch.cat([loo.predictions.double() for _, _, loo in passed])


def predictions(fitted: RidgeFit, chunks: Chunks) -> Tensor:
    """Plain predictions (n, k) float64 of rows outside the model."""
    return torch.cat([products.times(z, fitted.model.head.to(z)).double() for z, _, _ in fitted.like(chunks)])
