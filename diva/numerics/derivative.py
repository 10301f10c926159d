"""The dataset derivative: how the leave-one-out loss answers to each sample's weight.

    L(α) = Σ_i v_i ℓ(f_i, y_i) / Σ_i v_i,    f_i the prediction of i without i, G_i = ∂L/∂f_i, d_i = 1 − h_i

Three passes over the rows, with nothing n×n:

    1. moments         gram, cross; factorise; head W, inverse C                                      (numerics.ridge)
    2. adjoint         s_i = ⟨G_i, e_i⟩ / d_i;   B = Zᵀ diag(1/d) G  (p, k);   S = Zᵀ diag(α∘s) Z  (p, p)
    3. derivative      ∂L/∂α_j = ⟨z_jᵀ(CB), r_j⟩ + z_jᵀ(CSC)z_j − g_j s_j

O(np² + npk + p³) time and O(p² + pk + n + chunk) memory. B and S are sums over rows, like the moments, and add up the
same way over shards. Rows the model was not trained on (a pool with α = 0, a validation set) have h = 0: they put
nothing into S, and where they do not validate s_j = 0. A negative derivative says: more of this sample, less loss.
The second pass is `numerics.adjoint`. Rows that share a group add to B and S, and have in place of g_j s_j, what
`numerics.groups` says.

Reference: Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022, Prop. 3 and Eq. 13. The form here
differs from Eq. 13 where that is 0/0: at α_j = 0, which is the case that extension needs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diva.numerics import products
from diva.numerics.adjoint import Adjoint, RowAdjoints, member_pass, outsider_adjoint, pull_of
from diva.numerics.chunks import Chunk, Chunks
from diva.numerics.leave_one_out import from_outputs
from diva.numerics.losses import Loss
from diva.numerics.parallel import over_parts
from diva.numerics.precision import RidgeFit
from diva.numerics.products import Workspace
from diva.numerics.ridge import LocalModel, RidgeModel, beside, weighted
from diva.numerics.threads import in_order, side_by_side


@dataclass(frozen=True)
class RowDerivatives:
    """Per row of what was asked about.

    Attributes:
        derivative: ∂L/∂α (n,) float64.
        leverage_factor: g (n,) = zᵀCz, in the rows' dtype.
        margin: m (n,) of the leave-one-out prediction (the plain prediction for rows outside the model), likewise.
    """

    derivative: Tensor
    leverage_factor: Tensor
    margin: Tensor


@dataclass(frozen=True)
class DatasetDerivative:
    """The derivative of L at α.

    Attributes:
        values: ∂L/∂α (n,) float64, on the CPU; all 0 where nothing validates.
        loss: L; NaN where nothing validates.
        validating: how many rows validate, Σv.
        margin: m (n,) in the rows' dtype, on the CPU.
        model: the ridge model at α.
    """

    values: Tensor
    loss: float
    validating: float
    margin: Tensor
    model: RidgeModel


@over_parts("weights", "leverage_factor", "validating", "seen")
def member_derivatives(
    chunks: Chunks,
    model: RidgeModel,
    adjoint: Adjoint,
    loss: Loss | None,
    weights: Tensor | None = None,
    leverage_factor: Tensor | None = None,
    validating: Tensor | None = None,
    seen: RowAdjoints | None = None,
) -> RowDerivatives:
    """Third pass.

    Args:
        chunks: n rows.
        model: trained on these rows with these weights.
        adjoint: of every row that validates.
        loss: that of the second pass; None where these rows do not validate (s = 0).
        weights: α (n,), or None for ones; zeros for a pool.
        leverage_factor: g (n,); None computes it.
        validating: as in the second pass.
        seen: of `member_pass`; then ``leverage_factor``, ``loss`` and ``validating`` are not needed, nor their work.
    """
    third, n = _ThirdPass(model, adjoint), chunks.shape[0]
    leverage_factor, validating = beside(model, leverage_factor, validating)
    values, whole = torch.zeros(n, dtype=torch.float64, device=model.head.device), seen

    def of_chunk(chunk: Chunk, alpha: Tensor, work: Workspace) -> tuple[slice, RowAdjoints, Tensor]:
        z, labels, rows = chunk
        outputs, pulled = third.outputs(z, work)
        if seen is None:
            g = third.leverage_factor(z, work) if leverage_factor is None else leverage_factor[rows].to(z)
            loo = from_outputs(outputs, labels, alpha, g, model.ridge, work.conditions)
            part = pull_of(loo, labels, loss, validating, rows)[0]
        else:
            part = seen.take(rows, z)
        return rows, part, third.derivative(z, labels, outputs, pulled, part, work).double()

    for rows, part, derivative in in_order(of_chunk, weighted(chunks, weights)):
        values[rows] = derivative
        if seen is None:
            whole = whole or RowAdjoints.zeros(n, part.margin)
            whole.put(rows, part)
    whole = whole or RowAdjoints.zeros(0, values)
    return RowDerivatives(values, whole.leverage_factor, whole.margin)


class _ThirdPass:
    """What the third pass needs of model and adjoint, cast once to the precision of the rows."""

    def __init__(self, model: RidgeModel, adjoint: Adjoint) -> None:
        self.scale = 1 / adjoint.validating if adjoint.validating else 0.0
        inverse = model.inverse
        self._heads = torch.cat([model.head, self.scale * (inverse @ adjoint.head)], 1)  # W, CB / Σv
        self._half = products.half(
            products.sandwich(inverse, self.scale * adjoint.inverse, side_by_side)
        )  # of CSC / Σv
        self._local = LocalModel(model)

    def outputs(self, z: Tensor, work: Workspace) -> tuple[Tensor, Tensor]:
        """zW and zCB/Σv, each (m, k), by one product."""
        self._heads, self._half = self._heads.to(z), self._half.to(z)
        both = products.times(z, self._heads, work, "outputs")
        k = both.shape[1] // 2
        return both[:, :k], both[:, k:]

    def leverage_factor(self, z: Tensor, work: Workspace) -> Tensor:
        """g (m,)."""
        return products.squares(z, self._local.like(z).root, work)

    def derivative(
        self, z: Tensor, labels: Tensor, outputs: Tensor, pulled: Tensor, seen: RowAdjoints, work: Workspace
    ) -> Tensor:
        """∂L/∂α (m,)."""
        # ⟨zᵀCB, r⟩ with r = y − Wᵀz: y picks one entry
        first: Tensor = pulled.gather(1, labels[:, None])[:, 0] - torch.linalg.vecdot(pulled, outputs)
        second: Tensor = products.quadratics(z, self._half, work)
        return first + second - seen.own * self.scale


def outsider_derivatives(
    chunks: Chunks, model: RidgeModel, adjoint: Adjoint, loss: Loss | None, leverage_factor: Tensor | None = None
) -> RowDerivatives:
    """Third pass over rows of weight 0: what adding each would do. ``loss`` is None where they do not validate.

    With g (n,) as ``leverage_factor`` the pass takes one symmetric product, not two.
    """
    nothing = torch.zeros(chunks.shape[0], dtype=torch.float64, device=model.head.device)
    return member_derivatives(chunks, model, adjoint, loss, weights=nothing, leverage_factor=leverage_factor)


def dataset_derivative(
    fitted: RidgeFit, loss: Loss, *, validating: Tensor | None = None, validation: Chunks | None = None
) -> DatasetDerivative:
    """∂L/∂α of every row, in two passes beside that of the fit.

    Args:
        fitted: n rows with their weights (`diva.numerics.precision.fit_ridge`), and perhaps g for the passes.
        loss: which samples validate, and how sharply.
        validating: (n,) of at least 0, how often a row validates that the loss lets; None for once each.
        validation: a separate validation set; L is then its loss under the plain predictions of the model.
    """
    if validation is None:
        return third_pass(fitted, *second_pass(fitted, loss, validating))
    chunks, model = fitted.chunks, fitted.model
    adjoint = outsider_adjoint(fitted.like(validation), model, loss)
    rows = member_derivatives(chunks, model, adjoint, None, fitted.weights, fitted.leverage_factor)
    return DatasetDerivative(rows.derivative.cpu(), adjoint.mean, adjoint.validating, rows.margin.cpu(), model)


SecondPass = tuple[Adjoint, RowAdjoints]


def second_pass(
    fitted: RidgeFit, loss: Loss, validating: Tensor | None = None, watching: Tensor | None = None
) -> SecondPass:
    """`diva.numerics.adjoint.member_pass` of a fit."""
    chunks, model, weights, factor = fitted.chunks, fitted.model, fitted.weights, fitted.leverage_factor
    return member_pass(chunks, model, loss, weights, validating, factor, fitted.groups, watching)


def third_pass(fitted: RidgeFit, adjoint: Adjoint, seen: RowAdjoints) -> DatasetDerivative:
    """∂L/∂α of every row of a fit, from what its second pass saw."""
    model = fitted.model
    rows = member_derivatives(fitted.chunks, model, adjoint, None, fitted.weights, seen=seen)
    return DatasetDerivative(rows.derivative.cpu(), adjoint.mean, adjoint.validating, rows.margin.cpu(), model)
