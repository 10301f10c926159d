"""Any targets: several labels a sample, or numbers. All that comes before the loss holds for every Y (n, q).

    W = C ZᵀDY,   e_i = (y_i − Wᵀz_i) / (1 − h_i),   f_i = y_i − e_i,   L(α) = Σ_ic v_ic ℓ(f_ic, y_ic) / Σ_ic v_ic

What validates are entries, not rows. With G = ∂L/∂f and d, s, B and S as in `diva.numerics.derivative`, so is

    ∂L/∂α_j = ⟨z_jᵀCB, r_j⟩ + z_jᵀCSCz_j − g_j s_j

    entries   ℓ = −log σ(±T (f − ½)),     G = T (σ(T (f − ½)) − y)    y of 0 and 1, the sign that of y − ½
    squared   ℓ = (f − y)² / 2,           G = f − y

Targets stand beside the rows, whose labels play no part. n rows, p features, q targets, m rows in a chunk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from diva.numerics import products
from diva.numerics.chunks import Chunks
from diva.numerics.device import onto
from diva.numerics.grid import RIDGES
from diva.numerics.leave_one_out import temperatures
from diva.numerics.losses import THRESHOLD
from diva.numerics.products import Workspace
from diva.numerics.ridge import Moments, RidgeModel, solve, weighted
from diva.numerics.threads import side_by_side
from diva.text.choices import is_whole

TargetLossName = Literal["entries", "squared"]
MEDIAN_TO_DEVIATION = 1.4826  # 1 / Φ⁻¹(¾)
HOPELESS_DEVIATIONS = 3.0


@dataclass(frozen=True)
class TargetFit:
    """Rows and targets with the model that they train.

    Attributes:
        chunks: n rows, float64.
        targets: Y (n, q) float64.
        model: the solution.
        weights: α (n,), or None for ones.
    """

    chunks: Chunks
    targets: Tensor
    model: RidgeModel
    weights: Tensor | None = None

    def reweighted(self, weights: Tensor) -> "TargetFit":
        """The model of the same rows with other weights, at the same ridge."""
        sums = target_moments(self.chunks, self.targets, weights)
        return replace(self, model=solve(sums, self.model.ridge), weights=weights)


@dataclass(frozen=True)
class TargetPredictions:
    """Of all rows, float64: f (n, q), each without its row, and leverage h (n,)."""

    values: Tensor
    leverage: Tensor


@dataclass(frozen=True)
class TargetLoss:
    """A loss of entries.

    Attributes:
        name: `entries` or `squared`.
        temperature: T of `entries`.
        trim: whether hopeless entries do not validate, of `target_margins` ≤ −¼.
    """

    name: TargetLossName
    temperature: float = 1.0
    trim: bool = False

    def validates(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """v (m, q) of 0 and 1."""
        if not self.trim:
            return torch.ones_like(predictions)
        return (target_margins(self.name, predictions, targets) > -THRESHOLD).to(predictions)

    def values(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """ℓ (m, q)."""
        if self.name == "squared":
            return (predictions - targets).square() / 2
        logits = self.temperature * (predictions - 0.5)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")

    def gradients(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """∂ℓ/∂f (m, q)."""
        if self.name == "squared":
            return predictions - targets
        return self.temperature * (torch.sigmoid(self.temperature * (predictions - 0.5)) - targets)


def entry_margins(predictions: Tensor, targets: Tensor) -> Tensor:
    """(2y − 1)(2f − 1): how far each entry's prediction is on the side of its label."""
    return (2 * targets - 1) * (2 * predictions - 1)


def typical_deviation(residuals: Tensor) -> Tensor:
    """The standard deviation of normal residuals, by the median of their size, which wrong ones hardly move."""
    return residuals.abs().median() * MEDIAN_TO_DEVIATION


def target_margins(name: TargetLossName, predictions: Tensor, targets: Tensor) -> Tensor:
    """Margins of entries (m, q); of numbers ¼ − |f − y| / 6σ̂, so that −¼ is at three typical deviations."""
    if name == "entries":
        return entry_margins(predictions, targets)
    residuals = (predictions - targets).abs()
    deviation = typical_deviation(residuals).clamp_min(torch.finfo(residuals.dtype).tiny)
    return THRESHOLD - 2 * THRESHOLD * residuals / (HOPELESS_DEVIATIONS * deviation)


def target_moments(chunks: Chunks, targets: Tensor, weights: Tensor | None = None) -> Moments:
    """`gram` and `cross` of all rows with targets (n, q), in one pass."""
    (n, p), work = chunks.shape, Workspace()
    gram, cross = torch.zeros(p, p, dtype=torch.float64), torch.zeros(p, targets.shape[1], dtype=torch.float64)
    for (z, _, rows), alpha in weighted(chunks, weights):
        gram, cross, targets = gram.to(z.device), cross.to(z.device), onto(targets, z.device)
        products.add_gram(gram, z, None if weights is None else alpha, work)
        products.add_cross(cross, z, alpha[:, None] * targets[rows].to(z), work)
    return Moments(products.mirror(gram), cross, n)


def fit_targets(
    chunks: Chunks,
    targets: Tensor,
    ridge: float | None = None,
    weights: Tensor | None = None,
    grid: Sequence[float] = RIDGES,
) -> TargetFit:
    """The ridge model; λ is that of the least mean squared leave-one-out residual of a grid where it is not given.

    Of a grid those too small for these rows are left out; of equal residuals the last one wins.

    Args:
        chunks: n rows, float64.
        targets: Y (n, q).
        ridge: λ.
        weights: α (n,), or None for ones.
        grid: to choose from.

    Raises:
        ValueError: on targets of another length or not finite, and as `diva.numerics.ridge.solve`.
    """
    targets = targets.double()
    if targets.ndim != 2 or len(targets) != chunks.shape[0]:
        raise ValueError(f"targets must have shape ({chunks.shape[0]}, q), got {tuple(targets.shape)}.")
    if not torch.isfinite(targets).all():
        row = int((~torch.isfinite(targets)).any(1).nonzero()[0])
        raise ValueError(f"targets must be finite, got NaN or infinity in row {row}.")
    sums = target_moments(chunks, targets, weights)

    def fit(ridge: float) -> TargetFit:
        return TargetFit(chunks, targets, solve(sums, ridge), weights)

    return _best(fit, grid) if ridge is None else fit(ridge)


def _best(fit: Callable[[float], TargetFit], grid: Sequence[float]) -> TargetFit:
    """The fit of least residual; ValueError where no ridge gives one."""
    best: tuple[float, TargetFit] | None = None
    refusal = ValueError("grid must hold a ridge, got none.")
    for ridge in reversed(grid):
        try:
            fitted = fit(ridge)
            residual = mean_squared_residual(fitted)
        except ValueError as error:
            refusal = error
        else:
            best = (residual, fitted) if best is None or residual < best[0] else best
    if best is None:
        raise refusal
    return best[1]


def mean_squared_residual(fitted: TargetFit) -> float:
    """Of the leave-one-out predictions, rows by their weight."""
    squares = (loo_predictions_of_targets(fitted).values - fitted.targets).square().mean(1)
    return float(squares.mean() if fitted.weights is None else squares @ fitted.weights / fitted.weights.sum())


def loo_predictions_of_targets(fitted: TargetFit) -> TargetPredictions:
    """f and h of all rows, on the CPU, in one pass."""
    model, work = fitted.model, Workspace()
    targets, leverage = onto(fitted.targets, model.head.device), model.head.new_empty(len(fitted.targets))
    values = torch.empty_like(targets)
    for (z, _, rows), alpha in weighted(fitted.chunks, fitted.weights):
        h = leverage[rows] = alpha * products.squares(z, model.root, work)
        y = targets[rows].to(z)
        values[rows] = y - (y - products.times(z, model.head)) / (1 - h)[:, None]
    if not (leverage < 1).all():
        raise ValueError(f"leverage must be below 1, got {float(leverage.max())}; use a larger ridge.")
    return TargetPredictions(values.cpu(), leverage.cpu())


def choose_entry_temperature(predictions: Tensor, targets: Tensor, weights: Tensor | None = None) -> float:
    """T* of `entries`: of the least mean loss of leave-one-out predictions (n, q), rows by their weight."""
    alpha = torch.ones(len(targets)).double() if weights is None else weights
    totals = [
        float(alpha @ TargetLoss("entries", t).values(predictions, targets).sum(1)) for t in temperatures().tolist()
    ]
    return float(temperatures()[torch.tensor(totals).argmin()])


def target_derivative(fitted: TargetFit, loss: TargetLoss, validating: Tensor | None = None) -> tuple[Tensor, float]:
    """∂L/∂α (n,) float64 on the CPU, and L: two passes beside that of the predictions.

    Args:
        fitted: rows of weight 0, such as a pool's, are predicted plainly; what weight would do counts for them, too.
        loss: of their entries.
        validating: (n,) booleans, rows that validate; None for all.
    """
    model, (n, p), work = fitted.model, fitted.chunks.shape, Workspace()
    predicted = loo_predictions_of_targets(fitted)
    f, y, d = predicted.values, fitted.targets, 1 - predicted.leverage
    v = loss.validates(f, y)
    v = v if validating is None else v * validating[:, None]
    count = float(v.sum())
    if not count:
        return torch.zeros(n, dtype=torch.float64), float("nan")
    scaled = v * loss.gradients(f, y) / count / d[:, None]  # G / d
    own = torch.linalg.vecdot(scaled, y - f)  # s
    value = float((v * loss.values(f, y)).sum()) / count
    scaled, own, y = (onto(column, model.head.device) for column in (scaled, own, y))
    gram, cross = model.head.new_zeros(p, p), torch.zeros_like(model.head)
    for (z, _, rows), alpha in weighted(fitted.chunks, fitted.weights):
        products.add_cross(cross, z, scaled[rows].to(z), work)
        products.add_gram(gram, z, alpha * own[rows].to(z), work)
    inverse = model.inverse
    half = products.half(products.sandwich(inverse, products.mirror(gram), side_by_side))
    pull, values = inverse @ cross, model.head.new_empty(n)
    for (z, _, rows), _ in weighted(fitted.chunks, None):
        residuals = y[rows].to(z) - products.times(z, model.head)
        first = torch.linalg.vecdot(products.times(z, pull), residuals)
        g = products.squares(z, model.root, work)
        values[rows] = first + products.quadratics(z, half, work) - g * own[rows].to(z)
    return values.cpu(), value


def reweight_targets(fitted: TargetFit, loss: TargetLoss, steps: int = 3, step_size: float = 0.5) -> TargetFit:
    """α ← max(0, α − η ∂L/∂α / max|∂L/∂α|) from ones, T kept; the derivative is computed anew in each step."""
    if not (is_whole(steps) and steps >= 0 and 0 < step_size < float("inf")):
        raise ValueError(f"steps must be at least 0 and step_size positive, got {steps} and {step_size}.")
    for _ in range(steps):
        fitted = stepped(fitted, target_derivative(fitted, loss)[0], step_size)
    return fitted


def stepped(fitted: TargetFit, derivative: Tensor, step_size: float) -> TargetFit:
    """The model after one update of the weights; the same where the derivative is zero everywhere."""
    largest = float(derivative.abs().max())
    alpha = torch.ones(len(derivative)).double() if fitted.weights is None else fitted.weights
    return fitted.reweighted((alpha - step_size * derivative / largest).clamp_min(0)) if largest > 0 else fitted
