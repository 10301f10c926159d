"""Rows with several labels, or a number, as the closed forms take them; their problem, posed on the core.

    multilabel   Y (n, q) of 0 and 1, an entry for each label
    regression   Y (n, 1), (number − mean of the core) / its deviation, so that squares are shares of the variance

n rows, q labels; rows are left out one by one, in float64.
"""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from diva.curation import rows
from diva.curation.posing import Posed
from diva.curation.rows import Problem
from diva.numerics import device as devices
from diva.numerics.normalize import Prepared
from diva.numerics.normalize import scaling as scaling_of
from diva.numerics.ridge import Moments, RidgeModel, solve
from diva.numerics.targets import (
    TargetFit,
    TargetLoss,
    TargetPredictions,
    choose_entry_temperature,
    fit_targets,
    loo_predictions_of_targets,
    target_moments,
)
from diva.store import index, manifest
from diva.store.features import FeatureFile
from diva.store.moments import Counted
from diva.text.choices import GroupMode, Normalization
from diva.text.targets import classes_of, label_names, label_set, number_text

NUMBER = "number"  # the one column of the targets of numbers
DIGITS = 5  # of numbers that are suggested
UNGROUPED = "what belongs together (groups) is not left out together where samples have several labels, or a number"


def targets_of(labels: pl.Series, problem: Problem) -> Tensor:
    """Y (n, q) float64 of labels as tables hold them."""
    if problem.task == "regression":
        return torch.from_numpy((labels.cast(pl.Float64).to_numpy(writable=True) - problem.centre) / problem.scale)[
            :, None
        ]
    code, made = (
        {name: column for column, name in enumerate(problem.classes)},
        np.zeros((len(labels), len(problem.classes))),
    )
    for row, text in enumerate(labels.to_list()):
        made[row, [code[name] for name in label_names(text)]] = 1
    return torch.from_numpy(made)


def texts_of(outputs: Tensor, problem: Problem) -> list[str]:
    """What predictions (n, q) say, as tables hold it."""
    if problem.task == "regression":
        return [number_text(float(f"{value:.{DIGITS}g}")) for value in numbers_of(outputs, problem).tolist()]
    return [label_set(np.array(problem.classes)[row]) for row in (outputs > 0.5).numpy()]


def numbers_of(outputs: Tensor, problem: Problem) -> Tensor:
    """Predictions (n, 1) in the units of the numbers (n,)."""
    return problem.centre + problem.scale * outputs[:, 0]


def loss_of(problem: Problem, trim: bool = False) -> TargetLoss:
    """The loss of entries, or of squares."""
    return TargetLoss("squared" if problem.task == "regression" else "entries", problem.temperature, trim)


def entry_errors(outputs: Tensor, targets: Tensor, problem: Problem) -> Tensor:
    """1 of each entry (n, q) that is predicted wrongly; of numbers squares, in shares of the core's variance."""
    if problem.task == "regression":
        return (outputs - targets).square()
    return ((outputs > 0.5) != (targets > 0.5)).double()


def fitted(frame: pl.DataFrame, problem: Problem, weights: Tensor | None = None) -> TargetFit:
    """Rows with the model that they train at the problem's λ."""
    return fit_targets(rows.prepared(frame, problem), targets_of(frame["label"], problem), problem.ridge, weights)


def moments_of(frame: pl.DataFrame, base: Counted, problem: Problem) -> Moments:  # noqa: ARG001 - as of classes
    """Moments of the rows of ``frame``, summed anew."""
    return target_moments(rows.prepared(frame, problem), targets_of(frame["label"], problem))


def pose(
    core: pl.DataFrame, excluded: int, group: GroupMode, *, normalize: Normalization, ridges: list[float],
    chunk_size: int | Literal["auto"], device: str, dtype: Literal["auto", "float32", "float64"],
) -> Posed:  # fmt: skip
    """λ, T* and the moments of the core, as `diva.curation.posing.pose`; rows are left out one by one, in float64.

    Raises:
        ValueError: all samples have the same number, or none has a label.
    """
    del group, dtype
    where = devices.resolve(device)
    width = FeatureFile(core["features"][0]).shape[1] + 1
    size = devices.chunk_size(width, where) if chunk_size == "auto" else chunk_size
    problem = _unposed(core["label"], excluded, normalize, size, device)
    raw = rows.stored(core.with_columns(label=pl.lit("")), [""], size, where=where)
    scaling = scaling_of(raw) if normalize == "standardize" else None
    chunks = rows.spread(
        raw, lambda part: Prepared(part, normalize, scaling=scaling, device=where, dtype=torch.float64)
    )
    targets = targets_of(core["label"], problem)
    sums, tried = target_moments(chunks, targets), list[tuple[float, float, RidgeModel, TargetPredictions]]()
    refusal = ValueError("fit.ridges must hold a ridge, got none.")
    for ridge in ridges:
        try:
            model = solve(sums, ridge)
            seen = loo_predictions_of_targets(TargetFit(chunks, targets, model))
            tried.append((float((seen.values - targets).square().mean()), -ridge, model, seen))
        except ValueError as error:  # too small for these rows
            refusal = error
    if not tried:
        raise refusal
    _, _, model, seen = min(tried, key=lambda each: each[:2])
    temperature = choose_entry_temperature(seen.values, targets) if problem.task == "multilabel" else 1.0
    grid = [
        {"ridge": -ridge, "loo_error": float(entry_errors(each.values, targets, problem).mean()), "loo_loss": loss}
        for loss, ridge, _, each in tried
    ]
    wrong = float(entry_errors(seen.values, targets, problem).mean())
    problem = replace(problem, ridge=model.ridge, temperature=temperature, loo_error=wrong, grid=grid)
    grouped = len(index.groups(core.select(list(index.SCHEMA)), stored=False)) > 0
    return Posed(problem, sums, scaling, model, message=UNGROUPED * grouped)


def _unposed(labels: pl.Series, excluded: int, normalize: Normalization, size: int, device: str) -> Problem:
    """The problem before anything was chosen: what the labels are."""
    task = manifest.task()
    about: dict[str, Any] = {"classes": sorted(classes_of(task, labels.to_list()))}
    if task == "regression":
        numbers = labels.cast(pl.Float64).to_numpy()
        about = {"classes": [NUMBER], "centre": float(numbers.mean()), "scale": float(numbers.std())}
    if not about["classes"] or not about.get("scale", 1.0) > 0:
        raise ValueError(f"batches.core must hold at least two different labels, got {labels[0]} in every sample.")
    return Problem(
        ridge=1.0, temperature=1.0, normalize=normalize, chunk_size=size, device=device, dtype="float64",
        loo_error=float("nan"), grid=[], excluded=excluded, task=task, **about,
    )  # fmt: skip
