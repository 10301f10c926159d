"""How the core poses the ridge problem of all later stages: λ and T* by leave-one-out, in the precision it needs."""

from dataclasses import dataclass
from typing import Literal

import polars as pl
import torch

from diva.curation import rows
from diva.numerics import device as devices
from diva.numerics.grid import choose_ridge
from diva.numerics.leave_one_out import choose_temperature
from diva.numerics.normalize import Prepared, Scaling
from diva.numerics.normalize import scaling as scaling_of
from diva.numerics.ridge import Moments, RidgeModel
from diva.store.features import FeatureFile
from diva.text.choices import Normalization


@dataclass(frozen=True)
class Posed:
    """The problem, the core's moments, the scaling of its features, its model."""

    problem: rows.Problem
    moments: Moments
    scaling: Scaling | None
    model: RidgeModel


def pose(
    core: pl.DataFrame, excluded: int, *, normalize: Normalization, ridges: list[float],
    chunk_size: int | Literal["auto"], device: str, dtype: Literal["auto", "float32", "float64"],
) -> Posed:  # fmt: skip
    """λ, T* and the moments of the core.

    Args:
        core: its index.
        excluded: how many samples were set aside before.
        normalize: of each row.
        ridges: the grid for λ.
        chunk_size: rows that travel together; `auto` by the device.
        device: where it is computed.
        dtype: of the products with rows; `auto` by the device, and float64 where float32 is not enough.

    Raises:
        ValueError: fewer than two classes.
    """
    classes = sorted(core["label"].unique())
    if len(classes) < 2:
        raise ValueError(f"batches.core must hold two classes beside the {excluded} samples set aside, got {classes}.")
    where = devices.resolve(device)
    size = (
        devices.chunk_size(FeatureFile(core["features"][0]).shape[1] + 1, where) if chunk_size == "auto" else chunk_size
    )
    kind = devices.precision(where) if dtype == "auto" else getattr(torch, dtype)
    raw = rows.stored(core, classes, size, where=where)
    scaling = scaling_of(raw) if normalize == "standardize" else None
    chunks = rows.spread(raw, lambda part: Prepared(part, normalize, scaling=scaling, device=where, dtype=kind))
    choice = choose_ridge(chunks, len(classes), ridges)
    fitted = choice.fit()
    if fitted.chunks is not chunks:  # float32 was not enough
        kind = torch.float64
    problem = rows.Problem(
        ridge=choice.ridge, temperature=choose_temperature(fitted), classes=classes,
        loo_error=choice.error, excluded=excluded, normalize=normalize, chunk_size=size, device=device,
        grid=[{"ridge": ridge, "loo_error": error, "loo_loss": loss} for ridge, error, loss in choice.grid],
        dtype="float64" if kind == torch.float64 else "float32",
    )  # fmt: skip
    return Posed(problem, fitted.moments, scaling, fitted.model)
