"""Reweight: a few steps down the dataset derivative.

    α = 1;   α ← max(0, α − η ∇L / max|∇L|),   everything recomputed at each step

Model and leverages at the start serve T*, the first derivative and, with `auto`, every fold; a row of weight 0 costs
nothing in the sums over weights. A step takes three passes over the rows, and folds take theirs together. The step is
normalised, so η is the largest change of a weight in a step. More steps overfit the leave-one-out loss: three of η = .5
are the default, and ``steps="auto"`` watches folds of the validating samples instead. No class vanishes (`floored`).
With `calibrated`, T* is chosen once, at α = 1, over all rows that are weighed.

Reference: Dukler et al., ICLR 2022, Sec. 4 and the appendix on validation overfitting.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Literal, cast

import torch
from torch import Tensor

from diva.numerics.chunks import Chunks
from diva.numerics.derivative import DatasetDerivative, SecondPass, dataset_derivative, second_pass, third_pass
from diva.numerics.gathering import labels_of
from diva.numerics.groups import shared_groups
from diva.numerics.leave_one_out import choose_temperature, temperature_and_leverage, with_leverage_factors
from diva.numerics.losses import NOISY, THRESHOLD, Loss
from diva.numerics.passes import together
from diva.numerics.precision import RidgeFit
from diva.numerics.residence import turned
from diva.numerics.ridge import RidgeModel
from diva.text.choices import LossName, is_whole

FOLDS = 4
ENOUGH = 20_000  # rows left out of the derivative, of which a mean is exact enough: no further fold is made for more
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
            before the mean loss of the fourth rises (at least 2, at most 6). Each fold has its turn to be the fourth,
            of more than 20,000 samples only as many as hold 20,000 (`folds_needed`).
        step_size: η, the largest change of a weight in a step.
        temperature: T*; chosen on the rows where None.
        validation: a separate validation set instead of the leave-one-out loss; not with ``steps="auto"``.
        seed: of the folds of `auto`.

    Raises:
        ValueError: if ``steps`` or ``step_size`` is out of range.
    """
    _check(steps, step_size, validation)
    model, watched = start.model, tuple[float, ...]()
    start, chosen = _begun(start, loss, temperature, validation)
    path = Descent(start, chosen, step_size, validation=validation)
    if steps == "auto":
        watched = watched_losses(path, seed)
        steps = stop_at(watched)
    first = path.first or path.derive()
    while len(path.history) < steps and path.derive().validating:
        path.step()
    alpha, history = path.alphas[min(steps, len(path.alphas) - 1)], path.history[:steps]
    if history:
        alpha = floored(alpha, initial_weights(start), labels_of(start.chunks), start.classes)
    return WeightPath(alpha, first.values, first.margin.double(), tuple(history), chosen, model, watched)


def walk(
    start: RidgeFit, *, loss: LossName = "calibrated", steps: int = 3, step_size: float = 0.5
) -> Iterator[tuple[float, Tensor]]:
    """Loss of what validates, and weights (n,), after 0, 1, … ``steps`` steps; ends before where nothing validates."""
    start, chosen = _begun(start, loss, None, None)
    path, labels = Descent(start, chosen, step_size), labels_of(start.chunks)
    while len(path.history) <= steps and (made := path.derive()).validating:
        yield made.loss, floored(path.alphas[-1], path.alphas[0], labels, start.classes)
        path.step()


def _begun(
    start: RidgeFit, loss: LossName, temperature: float | None, validation: Chunks | None
) -> tuple[RidgeFit, Loss]:
    """The fit with its leverages, in coordinates of its rows where they are few, and the loss."""
    if validation is not None:
        start = with_leverage_factors(start)
        return start, prepare_loss(loss, start, temperature)
    start = turned(start)
    if loss == "calibrated" and temperature is None:
        temperature, start = temperature_and_leverage(start)
        return start, Loss(loss, temperature=temperature)
    return with_leverage_factors(start), prepare_loss(loss, start, temperature)


class Descent:
    """Weights on their way down the derivative; a step takes three passes.

    Args:
        start: rows with the model that they begin at.
        loss: of the rows that validate.
        step_size: η.
        fold: (n,) booleans, rows that do not validate but are watched; None: none.
        validation: rows that validate in the place of these.

    Attributes:
        alphas: α (n,) after 0, 1, … steps.
        history: of the steps for which something validated.
        first: the derivative at the start; None before it was asked for.
        watched: mean loss of the fold at the weights that were looked at last.
    """

    def __init__(
        self, start: RidgeFit, loss: Loss, step_size: float, *, fold: Tensor | None = None,
        validation: Chunks | None = None,
    ) -> None:  # fmt: skip
        self.start, self.loss, self.step_size, self.fold, self.validation = start, loss, step_size, fold, validation
        self.alphas, self.history, self.watched = [initial_weights(start)], list[Step](), 0.0
        self.first: DatasetDerivative | None = None
        self._fitted: RidgeFit | None = start
        self._seen: SecondPass | None = None
        self._derivative: DatasetDerivative | None = None

    def look(self) -> None:
        """The model at the newest weights, and what the rows that validate ask of it: two passes, at the start one."""
        fitted = self._fitted = self._fitted or self.start.reweighted(self.alphas[-1])
        self._seen = second_pass(fitted, self.loss, None if self.fold is None else ~self.fold, self.fold)
        adjoint = self._seen[0]
        self.watched = adjoint.watched_loss / max(adjoint.watched, 1)

    def derive(self) -> DatasetDerivative:
        """The derivative at the newest weights."""
        if self._derivative is None:
            if self.validation is not None:
                fitted = self._fitted or self.start.reweighted(self.alphas[-1])
                self._derivative = dataset_derivative(fitted, self.loss, validation=self.validation)
            else:
                if self._seen is None:
                    self.look()
                self._derivative = third_pass(cast(RidgeFit, self._fitted), *cast(SecondPass, self._seen))
            self.first = self.first or self._derivative
        return self._derivative

    def step(self) -> None:
        """Weights one step further; as they are where nothing validates."""
        made = self.derive()
        if made.validating:
            self.history.append(Step(made.loss, made.validating, float(made.values.abs().max())))
        self.alphas.append(step(self.alphas[-1], made.values, self.step_size))
        self._fitted = self._seen = self._derivative = None

    def advance(self) -> None:
        """A step, and a look at where it led."""
        self.step()
        self.look()


def _check(steps: int | Literal["auto"], step_size: float, validation: Chunks | None) -> None:
    if steps != "auto" and not (is_whole(steps) and steps >= 0):
        raise ValueError(f"steps must be 'auto' or at least 0, got {steps!r}.")
    if not (isinstance(step_size, Real) and 0 < step_size < float("inf")):
        raise ValueError(f"step_size must be positive and finite, got {step_size!r}.")
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


def folds_needed(n: int, folds: int) -> int:
    """How many of the folds of n rows hold 20,000 of them; all where all hold fewer."""
    return min(folds, math.ceil(folds * ENOUGH / max(n, 1)))


def watched_losses(path: Descent, seed: int) -> tuple[float, ...]:
    """Mean loss of the validating samples that the derivative did not see, after 0, 1, … steps, until they end.

    All folds start from one model and go side by side, and ``path``, which no fold is left out of, with them.
    """
    n = path.start.chunks.shape[0]
    fold, count = validation_folds(n, path.start.groups, seed), folds_needed(n, FOLDS)
    folds = [Descent(path.start, path.loss, path.step_size, fold=fold == number) for number in range(count)]
    together([each.look for each in (path, *folds)])
    means = [sum(each.watched / count for each in folds)]
    while len(means) <= min(MOST_STEPS, stop_at(tuple(means)) + 1):
        together([each.advance for each in (path, *folds)])
        means.append(sum(each.watched / count for each in folds))
    return tuple(means)
