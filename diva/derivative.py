"""The dataset derivative: how the leave-one-out loss answers to each sample's weight.

    L(α) = Σ_i v_i ℓ(f_i, y_i) / Σ_i v_i,    f_i the prediction of i without i (diva.loo), G_i = ∂L/∂f_i, d_i = 1 − h_i

Three passes over the rows, with nothing n×n:

    1. moments         gram, cross; factorise; head W, inverse C                                      (diva.ridge)
    2. adjoint         s_i = ⟨G_i, e_i⟩ / d_i;   B = Zᵀ diag(1/d) G  (p, k);   S = Zᵀ diag(α∘s) Z  (p, p)
    3. derivative      ∂L/∂α_j = ⟨z_jᵀ(CB), r_j⟩ + z_jᵀ(CSC)z_j − g_j s_j

O(np² + npk + p³) time and O(p² + pk + n + chunk) memory. B and S are sums over rows, like the moments, and add up the
same way over shards. Rows the model was not trained on (a pool with α = 0, a validation set) have h = 0: they put
nothing into S, and where they do not validate s_j = 0. A negative derivative says: more of this sample, less loss.

Reference: Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022, Prop. 3 and Eq. 13. The form here
differs from Eq. 13 where that is 0/0: at α_j = 0, which is the case that extension needs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diva.chunks import Chunks
from diva.loo import leave_one_out
from diva.losses import Loss, margins
from diva.ridge import RidgeModel, moments, solve, weighted


@dataclass(frozen=True)
class Adjoint:
    """What the validating rows ask of the model: sums of the second pass, not yet divided by Σv.

    Attributes:
        cross: B (p, k) float64.
        gram: S (p, p) float64.
        loss: Σ v ℓ.
        validating: Σ v.
    """

    cross: Tensor
    gram: Tensor
    loss: float
    validating: float

    def __add__(self, other: "Adjoint") -> "Adjoint":
        return Adjoint(
            self.cross + other.cross,
            self.gram + other.gram,
            self.loss + other.loss,
            self.validating + other.validating,
        )


@dataclass(frozen=True)
class RowDerivatives:
    """Per row of what was asked about.

    Attributes:
        derivative: ∂L/∂α (n,).
        quadratic: g (n,) = zᵀCz.
        margin: m (n,) of the leave-one-out prediction (the plain prediction for rows outside the model).
    """

    derivative: Tensor
    quadratic: Tensor
    margin: Tensor


@dataclass(frozen=True)
class DatasetDerivative:
    """The derivative of L at α.

    Attributes:
        values: ∂L/∂α (n,) float64, on the CPU; all 0 where nothing validates.
        loss: L; NaN where nothing validates.
        validating: how many rows validate, Σv.
        margin: m (n,).
        model: the ridge model at α.
    """

    values: Tensor
    loss: float
    validating: float
    margin: Tensor
    model: RidgeModel


def member_adjoint(
    chunks: Chunks,
    model: RidgeModel,
    loss: Loss,
    weights: Tensor | None = None,
    validating: Tensor | None = None,
) -> tuple[Adjoint, Tensor]:
    """Second pass over rows the model was trained on.

    Args:
        chunks: n rows.
        model: trained on these rows with these weights (and perhaps on others).
        loss: ℓ and v.
        weights: α (n,), or None for ones.
        validating: (n,) booleans, a further condition on v; None lets every row validate that the loss lets.

    Returns:
        The sums, and g (n,) for the third pass.
    """
    n, p = chunks.shape
    device = model.inverse.device
    cross = torch.zeros_like(model.head)
    gram = torch.zeros(p, p, dtype=torch.float64, device=device)
    totals = torch.zeros(2, dtype=torch.float64, device=device)
    quadratic = torch.zeros(n, dtype=torch.float64, device=device)
    for (z, labels, rows), alpha in weighted(chunks, weights):
        left_out = leave_one_out(z, labels, alpha, model.to(z))
        v = _validates(loss, left_out.predictions, labels, validating, rows)
        shrink, s, gradients = _pull(loss, left_out.predictions, left_out.loo_residuals, left_out.leverage, labels, v)
        cross += z.T @ (gradients / shrink[:, None])
        gram += z.T @ (z * (alpha * s)[:, None])
        totals += torch.stack([v @ loss.values(left_out.predictions, labels), v.sum()])
        quadratic[rows] = left_out.quadratic.double()
    return Adjoint(cross, gram, float(totals[0]), float(totals[1])), quadratic


def outsider_adjoint(chunks: Chunks, model: RidgeModel, loss: Loss) -> Adjoint:
    """Second pass over rows outside the model (a validation set, a pool that validates): their plain predictions."""
    cross = torch.zeros_like(model.head)
    totals = torch.zeros(2, dtype=torch.float64, device=cross.device)
    for z, labels, _ in chunks:
        predictions = z @ model.head.to(z)
        v = loss.validates(predictions, labels).to(z)
        cross += z.T @ (v[:, None] * loss.gradients(predictions, labels))
        totals += torch.stack([v @ loss.values(predictions, labels), v.sum()])
    return Adjoint(cross, torch.zeros_like(model.inverse), float(totals[0]), float(totals[1]))


def member_derivatives(
    chunks: Chunks,
    model: RidgeModel,
    adjoint: Adjoint,
    loss: Loss | None,
    weights: Tensor | None = None,
    quadratic: Tensor | None = None,
    validating: Tensor | None = None,
) -> RowDerivatives:
    """Third pass.

    Args:
        chunks: n rows.
        model: trained on these rows with these weights.
        adjoint: of every row that validates.
        loss: that of the second pass; None where these rows do not validate (s = 0).
        weights: α (n,), or None for ones; zeros for a pool.
        quadratic: g (n,), where the second pass gave it.
        validating: as in the second pass.
    """
    n = chunks.shape[0]
    device = model.inverse.device
    values, g, margin = (torch.zeros(n, dtype=torch.float64, device=device) for _ in range(3))
    scale = 1 / adjoint.validating if adjoint.validating else 0.0
    pull = scale * (model.inverse @ adjoint.cross)  # CB / Σv
    curvature = scale * (model.inverse @ adjoint.gram @ model.inverse)  # CSC / Σv
    for (z, labels, rows), alpha in weighted(chunks, weights):
        known = None if quadratic is None else quadratic[rows].to(z)
        left_out = leave_one_out(z, labels, alpha, model.to(z), known)
        derivative = ((z @ pull.to(z)) * left_out.residuals).sum(1) + ((z @ curvature.to(z)) * z).sum(1)
        if loss is not None:
            v = _validates(loss, left_out.predictions, labels, validating, rows)
            _, s, _ = _pull(loss, left_out.predictions, left_out.loo_residuals, left_out.leverage, labels, v)
            derivative -= left_out.quadratic * s * scale
        values[rows], g[rows] = derivative.double(), left_out.quadratic.double()
        margin[rows] = margins(left_out.predictions, labels).double()
    return RowDerivatives(values, g, margin)


def outsider_derivatives(chunks: Chunks, model: RidgeModel, adjoint: Adjoint, loss: Loss | None) -> RowDerivatives:
    """Third pass over rows of weight 0: what adding each would do. ``loss`` is None where they do not validate."""
    nothing = torch.zeros(chunks.shape[0], dtype=torch.float64, device=model.inverse.device)
    return member_derivatives(chunks, model, adjoint, loss, weights=nothing)


def dataset_derivative(
    chunks: Chunks,
    classes: int,
    ridge: float,
    loss: Loss,
    *,
    weights: Tensor | None = None,
    validating: Tensor | None = None,
    validation: Chunks | None = None,
) -> DatasetDerivative:
    """∂L/∂α of every row, in three passes.

    Args:
        chunks: n rows as tensors (m, p), re-iterable; `diva.normalize.Prepared` makes them.
        classes: k.
        ridge: λ > 0.
        loss: which samples validate, and how sharply.
        weights: α (n,), or None for ones.
        validating: (n,) booleans, a further condition on which rows validate.
        validation: a separate validation set; L is then its loss under the plain predictions of the model.
    """
    model = solve(moments(chunks, classes, weights), ridge)
    if validation is None:
        adjoint, quadratic = member_adjoint(chunks, model, loss, weights, validating)
        rows = member_derivatives(chunks, model, adjoint, loss, weights, quadratic, validating)
    else:
        adjoint = outsider_adjoint(validation, model, loss)
        rows = member_derivatives(chunks, model, adjoint, None, weights)
    mean = adjoint.loss / adjoint.validating if adjoint.validating else float("nan")
    return DatasetDerivative(rows.derivative.cpu(), mean, adjoint.validating, rows.margin.cpu(), model)


def _validates(loss: Loss, predictions: Tensor, labels: Tensor, condition: Tensor | None, rows: slice) -> Tensor:
    v = loss.validates(predictions, labels)
    if condition is not None:
        v &= condition[rows].to(v.device)
    return v.to(predictions)


def _pull(
    loss: Loss, predictions: Tensor, loo_residuals: Tensor, leverage: Tensor, labels: Tensor, v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """d (m,), s (m,) and v∘G (m, k), the latter two still to be divided by Σv."""
    shrink = 1 - leverage
    gradients = v[:, None] * loss.gradients(predictions, labels)
    return shrink, (gradients * loo_residuals).sum(1) / shrink, gradients
