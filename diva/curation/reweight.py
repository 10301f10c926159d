"""Reweight: a few steps down the dataset derivative.

    α = 1;   α ← max(0, α − η ∇L / max|∇L|),   everything recomputed at each step

Model and leverages at the start serve T*, the first derivative and, with `auto`, every fold; a row of weight 0 costs
nothing in the sums over weights. The step is normalised, so η is the largest change of a weight in a step. More steps
overfit the leave-one-out loss: three of η = 0.5 are the default, and ``steps="auto"`` watches a fold of the validating
samples instead. With `calibrated`, T* is chosen once, at α = 1, over all rows that are weighed.

Reference: Dukler et al., ICLR 2022, Sec. 4 and the appendix on validation overfitting.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from diva.numerics.chunks import Chunks
from diva.numerics.derivative import DatasetDerivative, dataset_derivative, loo_loss
from diva.numerics.leave_one_out import choose_temperature, quadratics
from diva.numerics.losses import Loss, LossName
from diva.numerics.precision import fit
from diva.numerics.ridge import Moments, RidgeModel, moments, solve

FOLDS = 4
FEWEST_STEPS, MOST_STEPS = 2, 6


@dataclass(frozen=True)
class Step:
    """One update of the weights: the loss before it, how many samples validated, the largest |derivative|."""

    loss: float
    validating: float
    largest: float


@dataclass(frozen=True)
class Reweighting:
    """Weights and how they came about.

    Attributes:
        weights: α (n,) float64; all as they started where nothing validates.
        derivative: ∂L/∂α (n,) at the weights the first step started from.
        margin: m (n,) there.
        history: one entry per step taken.
        loss: the loss in use, with its temperature.
        start: the model at the weights that the first step started from.
        held_out: with ``steps="auto"``, the mean loss of the watched folds after 0, 1, … steps; else empty.
    """

    weights: Tensor
    derivative: Tensor
    margin: Tensor
    history: tuple[Step, ...]
    loss: Loss
    start: RidgeModel
    held_out: tuple[float, ...] = ()


def prepare_loss(
    name: LossName,
    chunks: Chunks,
    classes: int,
    ridge: float,
    temperature: float | None,
    weights: Tensor | None = None,
    model: RidgeModel | None = None,
    quadratic: Tensor | None = None,
) -> Loss:
    """The loss by its name; `calibrated` gets its T*, chosen on ``chunks`` where none is given.

    ``model`` and its g (n,) ``quadratic`` spare their passes where they are known.
    """
    if name != "calibrated":
        return Loss(name)
    if temperature is None:
        model = solve(moments(chunks, classes, weights), ridge) if model is None else model
        temperature = choose_temperature(chunks, model, weights, quadratic)
    return Loss(name, temperature=temperature)


def step(weights: Tensor, derivative: Tensor, step_size: float) -> Tensor:
    """α ← max(0, α − η ∇L / max|∇L|); unchanged where the derivative is zero everywhere."""
    largest = derivative.abs().max() if len(derivative) else torch.tensor(0.0)
    return weights if largest == 0 else (weights - step_size * derivative / largest).clamp_min(0)


def reweight(
    chunks: Chunks,
    classes: int,
    ridge: float,
    *,
    loss: LossName = "calibrated",
    steps: int | Literal["auto"] = 3,
    step_size: float = 0.5,
    temperature: float | None = None,
    weights: Tensor | None = None,
    validation: Chunks | None = None,
    seed: int = 0,
    sums: Moments | None = None,
) -> Reweighting:
    """Weights that lower the validation loss.

    Args:
        chunks: n rows as tensors.
        classes: k.
        ridge: λ, kept.
        loss: `calibrated` (ours) or `hard_margin`, `trimmed`, `all` (the paper's setting is `hard_margin`).
        steps: how many, or `auto`: four folds of validating samples, the derivative sees three, and the steps stop
            before the mean loss of the fourth rises (at least 2, at most 6).
        step_size: η, the largest change of a weight in a step.
        temperature: T*; chosen on ``chunks`` where None.
        weights: where to start, (n,); None for ones.
        validation: a separate validation set instead of the leave-one-out loss; not with ``steps="auto"``.
        seed: of the folds of `auto`.
        sums: moments of the rows with the weights to start from, where they are known.

    Raises:
        ValueError: if ``steps`` or ``step_size`` is out of range.
    """
    if steps != "auto" and (isinstance(steps, str) or steps < 0):
        raise ValueError(f"steps must be 'auto' or at least 0, got {steps!r}.")
    if not 0 < step_size < float("inf"):
        raise ValueError(f"step_size must be positive and finite, got {step_size}.")
    if steps == "auto" and validation is not None:
        raise ValueError("steps must be a number with a separate validation set, got 'auto'.")
    start = torch.ones(chunks.shape[0], dtype=torch.float64) if weights is None else weights.cpu().double()
    fitted = fit(chunks, classes, ridge, start, sums)
    chunks, model, validation = fitted.chunks, fitted.model, validation and fitted.like(validation)
    g = quadratics(chunks, model)
    chosen = prepare_loss(loss, chunks, classes, ridge, temperature, start, model, g)
    known: dict[str, Any] = {"model": model, "quadratic": g}  # of the weights at the start; they change with these
    held_out: tuple[float, ...] = ()
    if steps == "auto":
        held_out = _watched_losses(chunks, classes, ridge, chosen, step_size, start, seed, known)
        steps = stop_at(held_out)
    alpha = start
    history: list[Step] = []
    first: DatasetDerivative | None = None
    for _ in range(max(steps, 1)):  # the first derivative is reported even where no step is taken
        derivative = dataset_derivative(chunks, classes, ridge, chosen, weights=alpha, validation=validation, **known)
        first, known = first or derivative, {}
        if len(history) == steps or derivative.validating == 0:
            break
        history.append(Step(derivative.loss, derivative.validating, float(derivative.values.abs().max())))
        alpha = step(alpha, derivative.values, step_size)
    assert first is not None  # noqa: S101  # the loop runs at least once
    return Reweighting(alpha, first.values, first.margin.double(), tuple(history), chosen, first.model, held_out)


def stop_at(held_out: tuple[float, ...]) -> int:
    """The number of steps after which the watched loss first rises, between 2 and 6."""
    for steps in range(FEWEST_STEPS, len(held_out) - 1):
        if held_out[steps + 1] > held_out[steps]:
            return steps
    return len(held_out) - 1


def _watched_losses(
    chunks: Chunks,
    classes: int,
    ridge: float,
    loss: Loss,
    step_size: float,
    start: Tensor,
    seed: int,
    known: dict[str, Any],
) -> tuple[float, ...]:
    """Mean loss of the validating samples that the derivative did not see, after 0 … 6 steps.

    All folds start from one model; a step's model and g serve the derivative and the fold that watches it.
    """
    n = chunks.shape[0]
    fold = torch.randperm(n, generator=torch.Generator().manual_seed(seed)) % FOLDS
    totals = torch.zeros(MOST_STEPS + 1, dtype=torch.float64)
    for left in range(FOLDS):
        alpha, model, g = start, known["model"], known["quadratic"]
        for taken in range(MOST_STEPS + 1):
            if taken:
                model = solve(moments(chunks, classes, alpha), ridge)
                g = quadratics(chunks, model)
            total, watching = loo_loss(chunks, model, loss, alpha, fold == left, g)
            totals[taken] += total / max(watching, 1) / FOLDS
            if taken < MOST_STEPS:
                seen = dataset_derivative(
                    chunks, classes, ridge, loss, weights=alpha, validating=fold != left, model=model, quadratic=g
                )
                alpha = step(alpha, seen.values, step_size)
    return tuple(totals.tolist())
