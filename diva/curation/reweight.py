"""Reweight: a few steps down the dataset derivative.

    α = 1;   α ← max(0, α − η ∇L / max|∇L|),   everything recomputed at each step

Model and leverages at the start serve T*, the first derivative and, with `auto`, every fold; a row of weight 0 costs
nothing in the sums over weights. The step is normalised, so η is the largest change of a weight in a step. More steps
overfit the leave-one-out loss: three of η = 0.5 are the default, and ``steps="auto"`` watches a fold of the validating
samples instead. No class vanishes (`floored`). With `calibrated`, T* is chosen once, at α = 1, over all rows that are
weighed.

Reference: Dukler et al., ICLR 2022, Sec. 4 and the appendix on validation overfitting.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diva.numerics.adjoint import loo_loss
from diva.numerics.chunks import Chunks
from diva.numerics.derivative import dataset_derivative
from diva.numerics.groups import shared_groups
from diva.numerics.leave_one_out import choose_temperature, with_leverage_factors
from diva.numerics.losses import NOISY, THRESHOLD, Loss
from diva.numerics.precision import RidgeFit
from diva.numerics.residence import turned
from diva.numerics.ridge import RidgeModel
from diva.text.choices import LossName, is_whole

FOLDS = 4
FEWEST_STEPS, MOST_STEPS = 2, 6
FLOOR, FEWEST_SAMPLES = 0.1, 2  # of a class: the share of its weight, and the samples of positive weight, that stay


@dataclass(frozen=True)
class Step:
    """One update of the weights: the loss before it, how many samples validated, the largest |derivative|."""

    loss: float
    validating: float
    largest: float


@dataclass(frozen=True)
class WeightPath:
    """Weights and how they came about.

    Attributes:
        weights: α (n,) float64; all as they started where nothing validates.
        derivative: ∂L/∂α (n,) at the weights the first step started from.
        margin: m (n,) there.
        history: one entry per step taken.
        loss: the loss in use, with its temperature.
        start: the model at the weights that the first step started from.
        watched_losses: with ``steps="auto"``, the mean loss of the watched folds after 0, 1, … steps, the last of which
            was one too many where fewer than 6 were taken; else empty.
    """

    weights: Tensor
    derivative: Tensor
    margin: Tensor
    history: tuple[Step, ...]
    loss: Loss
    start: RidgeModel
    watched_losses: tuple[float, ...] = ()

    @property
    def warning(self) -> str:
        """What to say of the loss where more than 5 % of the rows are hopeless; may be empty."""
        hopeless = int((self.margin <= -THRESHOLD).sum()) / max(len(self.margin), 1)
        return self.loss.warning(hopeless, hopeless > NOISY)


def prepare_loss(name: LossName, fitted: RidgeFit, temperature: float | None = None) -> Loss:
    """The loss by its name; `calibrated` gets its T*, chosen on the rows where none is given."""
    if name != "calibrated":
        return Loss(name)
    return Loss(name, temperature=choose_temperature(fitted) if temperature is None else temperature)


def step(weights: Tensor, derivative: Tensor, step_size: float) -> Tensor:
    """α ← max(0, α − η ∇L / max|∇L|); unchanged where the derivative is zero everywhere."""
    largest = derivative.abs().max() if len(derivative) else torch.tensor(0.0)
    return weights if largest == 0 else (weights - step_size * derivative / largest).clamp_min(0)


def reweight(
    start: RidgeFit,
    *,
    loss: LossName = "calibrated",
    steps: int | Literal["auto"] = 3,
    step_size: float = 0.5,
    temperature: float | None = None,
    validation: Chunks | None = None,
    seed: int = 0,
) -> WeightPath:
    """Weights that lower the validation loss.

    Args:
        start: n rows, the weights to start from and their model (`diva.numerics.precision.fit_ridge`); λ stays.
        loss: `calibrated` or `hard_margin`, `trimmed`, `all` (the paper's setting is `hard_margin`).
        steps: how many, or `auto`: four folds of validating samples, the derivative sees three, and the steps stop
            before the mean loss of the fourth rises (at least 2, at most 6).
        step_size: η, the largest change of a weight in a step.
        temperature: T*; chosen on the rows where None.
        validation: a separate validation set instead of the leave-one-out loss; not with ``steps="auto"``.
        seed: of the folds of `auto`.

    Raises:
        ValueError: if ``steps`` or ``step_size`` is out of range.
    """
    _check(steps, step_size, validation)
    model = start.model
    start = with_leverage_factors(start if validation is not None else turned(start))
    alpha = initial_weights(start)
    chosen = prepare_loss(loss, start, temperature)
    watched: tuple[float, ...] = ()
    if steps == "auto":
        watched = watched_losses(start, chosen, step_size, seed)
        steps = stop_at(watched)
    first = derivative = dataset_derivative(start, chosen, validation=validation)
    history: list[Step] = []
    while len(history) < steps and derivative.validating:
        history.append(Step(derivative.loss, derivative.validating, float(derivative.values.abs().max())))
        alpha = step(alpha, derivative.values, step_size)
        if len(history) < steps:
            derivative = dataset_derivative(start.reweighted(alpha), chosen, validation=validation)
    if history:
        labels = torch.cat([labels.cpu() for _, labels, _ in start.chunks])
        alpha = floored(alpha, initial_weights(start), labels, start.classes)
    return WeightPath(alpha, first.values, first.margin.double(), tuple(history), chosen, model, watched)


def _check(steps: int | Literal["auto"], step_size: float, validation: Chunks | None) -> None:
    if steps != "auto" and not (is_whole(steps) and steps >= 0):
        raise ValueError(f"steps must be 'auto' or at least 0, got {steps!r}.")
    if not 0 < step_size < float("inf"):
        raise ValueError(f"step_size must be positive and finite, got {step_size}.")
    if steps == "auto" and validation is not None:
        raise ValueError("steps must be a number with a separate validation set, got 'auto'.")


def floored(weights: Tensor, start: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Weights (n,) under which no class vanishes.

    A class whose weight fell below a tenth of its start, or to fewer than two samples where it had two, gets a tenth of
    its start back, evenly; all others stay as they are.
    """
    had, has = (torch.bincount(labels, values, minlength=classes) for values in (start, weights))
    samples, rest = (torch.bincount(labels, (values > 0).double(), minlength=classes) for values in (start, weights))
    vanishing = (has < FLOOR * had) | (rest < samples.clamp_max(FEWEST_SAMPLES))
    return torch.where(vanishing[labels], weights + FLOOR * start, weights)


def initial_weights(start: RidgeFit) -> Tensor:
    """α (n,) float64 on the CPU."""
    ones = torch.ones(start.chunks.shape[0], dtype=torch.float64)
    return ones if start.weights is None else start.weights.cpu().double()


def stop_at(watched: tuple[float, ...]) -> int:
    """The number of steps after which the watched loss first rises, 2 to 6; all where it does not."""
    for steps in range(FEWEST_STEPS, len(watched) - 1):
        if watched[steps + 1] > watched[steps]:
            return steps
    return len(watched) - 1


def validation_folds(n: int, groups: Tensor | None, seed: int, folds: int = FOLDS) -> Tensor:
    """A fold (n,) of each row; rows of a group are in one."""
    generator, shared = torch.Generator().manual_seed(seed), shared_groups(groups)
    if shared is None:
        return torch.randperm(n, generator=generator) % folds
    _, unit = torch.unique(torch.where(shared < 0, n + torch.arange(n), shared), return_inverse=True)
    return (torch.randperm(int(unit.max()) + 1, generator=generator) % folds)[unit]


def watched_losses(start: RidgeFit, loss: Loss, step_size: float, seed: int) -> tuple[float, ...]:
    """Mean loss of the validating samples that the derivative did not see, after 0, 1, … steps, until they end.

    All folds start from one model and go side by side; a step's model and g serve the derivative and the fold that
    watches it.
    """
    fold = validation_folds(start.chunks.shape[0], start.groups, seed)
    fits, alphas, means = [start] * FOLDS, [initial_weights(start)] * FOLDS, list[float]()
    while len(means) <= min(MOST_STEPS, stop_at(tuple(means)) + 1):
        mean = torch.zeros((), dtype=torch.float64)
        for watching in range(FOLDS):
            if means:
                derivative = dataset_derivative(fits[watching], loss, validating=fold != watching)
                alphas[watching] = step(alphas[watching], derivative.values, step_size)
                fits[watching] = with_leverage_factors(start.reweighted(alphas[watching]))
            total, validating = loo_loss(fits[watching], loss, fold == watching)
            mean += total / max(validating, 1) / FOLDS
        means.append(float(mean))
    return tuple(means)
