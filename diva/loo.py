"""Leave-one-out predictions in closed form, and the two settings that are chosen by them: ridge and temperature.

    g_i = z_iᵀ C z_i,   h_i = α_i g_i,   r_i = y_i − Wᵀz_i,   e_i = r_i / (1 − h_i),   f_i = y_i − e_i

f_i is the prediction of i by the model trained without i, on all n rows for the price of one fit. Residuals here are
never weighted: α enters only through the leverage h. Rows of weight 0 have h = 0 and f their plain prediction.

One eigendecomposition of `gram` serves a whole grid of ridges: with ZᵀDZ = QΛQᵀ, C(λ) = Q (Λ + λ)⁻¹ Qᵀ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diva import products
from diva.chunks import Chunks
from diva.products import Workspace
from diva.ridge import Moments, RidgeModel, moments, weighted

RIDGES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class LeaveOneOut:
    """Of m rows.

    Attributes:
        leverage: h (m,), in [0, 1).
        quadratic: g (m,), the leverage per unit of weight.
        residuals: r (m, k), target minus prediction.
        loo_residuals: e (m, k).
        predictions: f (m, k).
    """

    leverage: Tensor
    quadratic: Tensor
    residuals: Tensor
    loo_residuals: Tensor
    predictions: Tensor


def one_hot(labels: Tensor, like: Tensor) -> Tensor:
    """Y (m, k) in the shape and dtype of ``like``."""
    return torch.zeros_like(like).scatter_(1, labels[:, None], 1)


def leave_one_out(
    features: Tensor,
    labels: Tensor,
    weights: Tensor,
    model: RidgeModel,
    quadratic: Tensor | None = None,
    work: Workspace | None = None,
) -> LeaveOneOut:
    """Leave-one-out quantities of m rows of a model trained on all n with their weights.

    Args:
        features: z (m, p).
        labels: (m,).
        weights: α (m,), those the model was trained with.
        model: in the dtype of ``features``.
        quadratic: g (m,), where it is known already.
        work: buffers to reuse from chunk to chunk.

    Raises:
        ValueError: where 1 − h is not positive: this precision does not resolve the leverage.
    """
    if quadratic is None:
        quadratic = products.squares(features, model.root, work or Workspace())
    return left_out(products.times(features, model.head), labels, weights, quadratic, model.ridge)


def left_out(outputs: Tensor, labels: Tensor, weights: Tensor, quadratic: Tensor, ridge: float) -> LeaveOneOut:
    """The same from plain predictions ``outputs`` (m, k) and g (m,) at hand."""
    leverage = weights * quadratic
    if len(leverage) and not leverage.max() < 1:
        raise ValueError(
            f"leverage must be below 1, got {float(leverage.max())} at ridge {ridge} in {outputs.dtype}; "
            "use float64 or a larger ridge."
        )
    targets = one_hot(labels, outputs)
    residuals = targets - outputs
    loo_residuals = residuals / (1 - leverage)[:, None]
    return LeaveOneOut(leverage, quadratic, residuals, loo_residuals, targets - loo_residuals)


@dataclass(frozen=True)
class RidgeChoice:
    """What the grid showed.

    Attributes:
        ridge: the best λ; of several, the largest.
        grid: (λ, leave-one-out classification error, mean squared leave-one-out residual) of each.
        moments: of the rows, for the fit that follows.
    """

    ridge: float
    grid: tuple[tuple[float, float, float], ...]
    moments: Moments

    @property
    def error(self) -> float:
        """Leave-one-out classification error at the chosen ridge."""
        return next(error for ridge, error, _ in self.grid if ridge == self.ridge)


def choose_ridge(
    chunks: Chunks, classes: int, grid: Sequence[float] = RIDGES, weights: Tensor | None = None
) -> RidgeChoice:
    """λ by leave-one-out classification error over a grid: two passes and one eigendecomposition for all of it.

    Rows count by their weight, so that a row of weight 0 is as good as absent.

    Raises:
        ValueError: if the grid is empty or holds a ridge that is not positive, or no row has weight.
    """
    if not grid or min(grid) <= 0:
        raise ValueError(f"grid must hold positive ridges, got {list(grid)}.")
    sums = moments(chunks, classes, weights)
    eigenvalues, eigenvectors = torch.linalg.eigh(sums.gram)
    ridges = torch.tensor(sorted(grid), dtype=torch.float64, device=eigenvalues.device)
    shrinkage = 1 / (eigenvalues.clamp_min(0) + ridges[:, None])  # (grid, p): the spectrum of C at each λ
    rotated_cross = eigenvectors.T @ sums.cross
    totals = torch.zeros(3, len(ridges), dtype=torch.float64, device=ridges.device)
    for (z, labels, _), alpha in weighted(chunks, weights):
        rotated = z @ eigenvectors.to(z)
        leverage = alpha[:, None] * (rotated.square() @ shrinkage.T.to(z))
        for i, spectrum in enumerate(shrinkage.to(z)):
            outputs = rotated @ (spectrum[:, None] * rotated_cross.to(z))
            targets = one_hot(labels, outputs)
            loo_residuals = (targets - outputs) / (1 - leverage[:, i, None])
            wrong = (targets - loo_residuals).argmax(1) != labels
            totals[:, i] += torch.stack([alpha @ wrong.to(z), alpha @ loo_residuals.square().sum(1), alpha.sum()])
    if not (totals[2] > 0).all():
        raise ValueError("weights must have a positive sum to choose a ridge by, got none.")
    errors, squares = totals[:2] / totals[2]
    best = int((errors <= errors.min()).nonzero().max())
    rows = zip(ridges.tolist(), errors.tolist(), squares.tolist(), strict=True)
    return RidgeChoice(float(ridges[best]), tuple(rows), sums)


def temperatures() -> Tensor:
    """The grid that T* is chosen from: geomspace(1, 200, 60)."""
    return torch.logspace(0, torch.log10(torch.tensor(200.0, dtype=torch.float64)).item(), 60, dtype=torch.float64)


def choose_temperature(chunks: Chunks, model: RidgeModel, weights: Tensor | None = None) -> float:
    """T*: minimises the mean cross-entropy of softmax(T·f) over the leave-one-out predictions f, in one pass.

    Rows of weight 0 do not count; least-squares outputs need T of 6 to 36, never 1.
    """
    grid = temperatures()
    totals = torch.zeros(len(grid), dtype=torch.float64)
    for (z, labels, _), alpha in weighted(chunks, weights):
        predictions = leave_one_out(z, labels, alpha, model.to(z)).predictions[alpha > 0]
        own = predictions.gather(1, labels[alpha > 0, None])[:, 0]
        for i, temperature in enumerate(grid.tolist()):
            totals[i] += ((predictions * temperature).logsumexp(1) - own * temperature).sum().item()
    return float(grid[totals.argmin()])
