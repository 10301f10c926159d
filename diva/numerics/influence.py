"""One sample's share in each other's leave-one-out loss: the row of products behind its derivative.

    ∂ℓ_i/∂α_j = ⟨G_i, y_j − W_{−b}ᵀz_j⟩ · z_iᵀC_{−b}z_j,    b the group of i, G_i = ∂ℓ_i/∂f_i;    0 where j is in b
    y_j − W_{−b}ᵀz_j = r_j + e_bᵀD_bZ_bCz_j

W_{−b} and C_{−b} are of the model without b. With −Cz_j as one more column of the head, whose target is 0, leaving b
out gives z_iᵀC_{−b}z_j as it gives predictions: a pass over the rows costs what one of leave-one-out costs, nothing is
n×n, and Σ_i v_i ∂ℓ_i/∂α_j / Σv is the derivative of j. The same pass sees how near each row lies, and what the model
would lack without the sample.

Reference: Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022, Prop. 3, before its sum over i.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from diva.numerics.chunks import Chunk, InMemory
from diva.numerics.device import onto
from diva.numerics.groups import shared_groups
from diva.numerics.leave_one_out import LeaveOneOut, Passed, groupwise, of_all_rows
from diva.numerics.losses import Loss
from diva.numerics.precision import RidgeFit
from diva.numerics.ridge import EPSILON, Moments, beside, moments, one_hot


@dataclass(frozen=True)
class Influences:
    """What more weight on one sample does to the loss of each of n rows, and what the rows are to it; on the CPU.

    Attributes:
        values: v_i ∂ℓ_i/∂α_j (n,) float64: negative where it helps; 0 where a row does not validate.
        validating: Σv.
        cosines: of each row with the sample (n,) float64, both without the constant column.
        labels: codes (n,).
        own: moments of the rows that are predicted without the sample; None where there are none.
    """

    values: Tensor
    validating: float
    cosines: Tensor
    labels: Tensor
    own: Moments | None

    @property
    def derivative(self) -> float:
        """∂L/∂α_j, the mean over what validates; NaN where nothing does."""
        return float(self.values.sum()) / self.validating if self.validating else float("nan")


def influences(
    fitted: RidgeFit, loss: Loss, z: Tensor, label: int, together: Tensor, validating: Tensor | None = None
) -> Influences:
    """Of a sample, in the model or outside it, on every row of the model; one pass, and another over shared groups.

    Args:
        fitted: n rows with their weights and groups.
        loss: which rows validate, and how sharply.
        z: the sample's features (p,), prepared as the rows are.
        label: y_j, in 0..k−1.
        together: (n,) booleans, the rows that are predicted without the sample: itself and its group.
        validating: (n,) of at least 0, how often a row validates that the loss lets; None for once each.
    """
    model, n, k = fitted.model, fitted.chunks.shape[0], fitted.classes
    z = z.to(model.head)
    extended = replace(fitted, model=replace(model, head=torch.cat([model.head, -(model.inverse @ z)[:, None]], 1)))
    residual = one_hot(torch.tensor([label], device=z.device), z.new_empty(1, k))[0] - z @ model.head
    shared = shared_groups(fitted.groups)
    by_group = None if shared is None else _changes_by_group(extended, shared, k)
    (validating,) = beside(model, validating)

    def part(passed: Passed) -> tuple[Any, tuple[Tensor, ...], Tensor, Moments | None]:
        chunk, alpha, loo = passed
        f = loo.predictions[:, :k].double()
        v = loss.validates(f, chunk.labels).double()
        v = v if validating is None else v * validating[chunk.rows].to(v)
        numbers = None if shared is None else shared[chunk.rows]
        if by_group is not None and numbers is not None and len(numbers) and int(numbers[0]) >= 0:
            change = by_group[numbers].to(f)
        else:
            change = _changes(alpha, loo, k)
        pull = torch.linalg.vecdot(loss.gradients(f, chunk.labels), residual + change)
        values = v * loo.loo_residuals[:, k].double() * pull
        columns = values, _cosines(chunk.features, z), chunk.labels
        return chunk.rows, columns, v.sum(), _own(chunk, alpha, together, k)

    double, count = model.head.new_zeros(n), model.head.new_zeros(())
    whole = double, double.clone(), double.new_zeros(n, dtype=torch.int64)
    own: Moments | None = None
    for rows, columns, validated, taken in of_all_rows(part, extended):
        for column, values in zip(whole, columns, strict=True):
            column[rows] = values.to(column)
        count += validated
        if taken is not None:
            own = taken if own is None else own + taken
    values, cosines, labels = (column.cpu() for column in whole)
    values[together] = 0
    return Influences(values, float(count), cosines, labels, own)


def _cosines(features: Tensor, z: Tensor) -> Tensor:
    """Of rows (m, p) with z (m,), all without the constant column; 0 where a row is zero."""
    rows, direction = features[:, :-1], (z[:-1] / torch.linalg.norm(z[:-1]).clamp_min(EPSILON)).to(features)
    size = torch.linalg.norm(rows, dim=1)
    return torch.where(size > 0, rows @ direction / size, 0)


def _own(chunk: Chunk, alpha: Tensor, together: Tensor, k: int) -> Moments | None:
    """Moments of those rows of a chunk that are predicted without the sample."""
    chosen = together[chunk.rows].nonzero()[:, 0]
    if not len(chosen):
        return None
    chosen = onto(chosen, alpha.device)
    return moments(InMemory(chunk.features[chosen], chunk.labels[chosen]), k, alpha[chosen])


def _changes(alpha: Tensor, loo: LeaveOneOut, k: int) -> Tensor:
    """α_i z_iᵀCz_j e_i (m, k): what leaving row i out changes in the residual of j."""
    return (alpha[:, None] * loo.residuals[:, k:] * loo.loo_residuals[:, :k]).double()


def _changes_by_group(extended: RidgeFit, shared: Tensor, k: int) -> Tensor:
    """The same of whole groups, e_bᵀD_bZ_bCz_j (groups, k), on the CPU."""
    sums = torch.zeros(int(shared.max()) + 1, k, dtype=torch.float64)
    for (_, _, rows), alpha, loo in groupwise(extended.chunks, extended.model, extended.weights, shared):
        sums.index_add_(0, shared[rows], _changes(alpha, loo, k).cpu())
    return sums
