"""The second pass: what the validating rows ask of the model.

    s_i = ⟨G_i, e_i⟩ / d_i;   B = Zᵀ diag(1/d) G  (p, k);   S = Zᵀ diag(α∘s) Z  (p, p)

Sums over rows, like the moments; `numerics.derivative` has the whole and the symbols. Rows that share a group add to B
and S what `numerics.groups` says.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from diva.numerics import products
from diva.numerics.chunks import Chunk, Chunks
from diva.numerics.groups import GroupRows, GroupSums, gathered_groups, shared_groups
from diva.numerics.leave_one_out import LeaveOneOut, Passed, of_chunks
from diva.numerics.losses import Loss, margins
from diva.numerics.parallel import over_parts
from diva.numerics.products import Workspace
from diva.numerics.ridge import LocalModel, RidgeModel, beside, weighted
from diva.numerics.threads import in_order


@dataclass(frozen=True)
class Adjoint:
    """What the validating rows ask of the model: sums of the second pass, not yet divided by Σv.

    Attributes:
        head: B (p, k) float64, ∂L/∂W.
        inverse: S (p, p) float64, −∂L/∂C.
        loss: Σ v ℓ.
        validating: Σ v.
        watched_loss: Σ v ℓ of the rows that were watched, of which no other sum knows.
        watched: Σ v of these.
    """

    head: Tensor
    inverse: Tensor
    loss: float
    validating: float
    watched_loss: float = 0.0
    watched: float = 0.0

    def __add__(self, other: "Adjoint") -> "Adjoint":
        return Adjoint(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def mean(self) -> float:
        """L; NaN where nothing validates."""
        return self.loss / self.validating if self.validating else float("nan")


@dataclass(frozen=True)
class RowAdjoints:
    """What the second pass saw of each row, in the rows' dtype, so that the third does not compute it again.

    Attributes:
        leverage_factor: g (n,) = zᵀCz.
        own: ⟨z_jᵀCU_b, e_j⟩ (n,), not yet divided by Σv: what the row's group b, left out, does not answer for;
            g_j s_j of a row by itself, 0 where no row of the group validates.
        margin: m (n,).
    """

    leverage_factor: Tensor
    own: Tensor
    margin: Tensor

    @staticmethod
    def zeros(n: int, like: Tensor) -> "RowAdjoints":
        """Zeros in the dtype and on the device of ``like``, to be filled chunk by chunk."""
        return RowAdjoints(*(like.new_zeros(n) for _ in range(3)))

    def put(self, rows: Any, part: "RowAdjoints") -> None:
        """Fill in one chunk."""
        for whole, new in zip(self.columns, part.columns, strict=True):
            whole[rows] = new.to(whole)

    @property
    def columns(self) -> tuple[Tensor, Tensor, Tensor]:
        """All three."""
        return self.leverage_factor, self.own, self.margin

    def take(self, rows: slice, like: Tensor) -> "RowAdjoints":
        """One chunk, in the dtype and on the device of ``like``."""
        return RowAdjoints(*(column[rows].to(like) for column in self.columns))


def member_pass(
    chunks: Chunks,
    model: RidgeModel,
    loss: Loss,
    weights: Tensor | None = None,
    validating: Tensor | None = None,
    leverage_factor: Tensor | None = None,
    groups: Tensor | None = None,
    watching: Tensor | None = None,
) -> tuple[Adjoint, RowAdjoints]:
    """Second pass over rows the model was trained on.

    Args:
        chunks: n rows.
        model: trained on these rows with these weights (and perhaps on others).
        loss: ℓ and v.
        weights: α (n,), or None for ones.
        validating: (n,) of at least 0, how often a row validates that the loss lets; None for once each.
        leverage_factor: g (n,); None computes it.
        groups: (n,) integers; rows of equal ones are left out together. They are read where this runs, also of `Parts`.
        watching: (n,) of at least 0, how often a row counts in the loss that is watched; None: none is.

    Returns:
        The sums, and what the third pass needs of each row.
    """
    shared = shared_groups(groups)
    adjoint, seen = _single_pass(chunks, model, loss, weights, validating, leverage_factor, shared, watching)
    if shared is not None:
        adjoint = adjoint + _group_pass(chunks, model, loss, weights, validating, shared, seen, watching)
    return adjoint, seen


@over_parts("weights", "validating", "leverage_factor", "shared", "watching")
def _single_pass(
    chunks: Chunks,
    model: RidgeModel,
    loss: Loss,
    weights: Tensor | None,
    validating: Tensor | None,
    leverage_factor: Tensor | None,
    shared: Tensor | None,
    watching: Tensor | None,
) -> tuple[Adjoint, RowAdjoints]:
    """`member_pass` of the rows that share no group."""
    sums, seen = _Sums(model), None
    validating, watching = beside(model, validating, watching)

    def of_chunk(passed: Passed, work: Workspace) -> tuple[Any, RowAdjoints, _ChunkSums]:
        (z, labels, rows), alpha, loo = passed
        part, v, gradients, pull = pull_of(loo, labels, loss, validating, rows)
        losses = _losses(loss, loo.predictions, labels, part.margin, v, watching, rows)
        return rows, part, (products.cross(z, gradients, work), products.gram(z, alpha * pull, work), losses)

    for rows, part, of_rows in of_chunks(of_chunk, chunks, model, weights, leverage_factor, shared):
        seen = seen or RowAdjoints.zeros(chunks.shape[0], part.margin)
        seen.put(rows, part)
        sums.add(*of_rows)
    return sums.adjoint(), seen or RowAdjoints.zeros(chunks.shape[0], model.head)


def _group_pass(
    chunks: Chunks,
    model: RidgeModel,
    loss: Loss,
    weights: Tensor | None,
    validating: Tensor | None,
    shared: Tensor,
    seen: RowAdjoints,
    watching: Tensor | None,
) -> Adjoint:
    """`member_pass` of the others; fills in their rows of ``seen``."""
    (p, k), totals = model.head.shape, model.head.new_zeros(4)
    sums = GroupSums(p, k, model.head.device)

    def gradients(part: GroupRows) -> Tensor:
        v = _validating(loss, part.predictions, part.labels, None, validating, part.rows)
        return v[:, None] * loss.gradients(part.predictions, part.labels)

    for bundle in gathered_groups(chunks, shared, weights):
        for part, own in bundle.adjoint(model, gradients, sums):
            margin = margins(part.predictions, part.labels)
            seen.put(part.rows, RowAdjoints(part.leverage_factor, own, margin))
            v = _validating(loss, part.predictions, part.labels, margin, validating, part.rows)
            totals += _losses(loss, part.predictions, part.labels, margin, v, watching, part.rows)
    return Adjoint(sums.cross, sums.gram, *totals.tolist())


@over_parts()
def outsider_adjoint(chunks: Chunks, model: RidgeModel, loss: Loss) -> Adjoint:
    """Second pass over rows outside the model (a validation set, a pool that validates): their plain predictions."""
    sums, local = _Sums(model), LocalModel(model)

    def of_chunk(chunk: Chunk, _: Tensor, work: Workspace) -> _ChunkSums:
        z, labels = chunk.features, chunk.labels
        predictions = products.times(z, local.like(z).head, work, "outputs")
        v = loss.validates(predictions, labels).to(z)
        losses = _losses(loss, predictions, labels, None, v, None, slice(0))
        return products.cross(z, v[:, None] * loss.gradients(predictions, labels), work), None, losses

    for of_rows in in_order(of_chunk, weighted(chunks, None)):
        sums.add(*of_rows)
    return sums.adjoint()


def _losses(
    loss: Loss,
    predictions: Tensor,
    labels: Tensor,
    margin: Tensor | None,
    v: Tensor,
    watching: Tensor | None,
    rows: Any,
) -> Tensor:
    """Σvℓ and Σv (4,) of those that validate, and of those that are watched."""
    values = loss.values(predictions, labels)
    watched = torch.zeros_like(v)
    if watching is not None:
        watched = _validating(loss, predictions, labels, margin, watching, rows)
    return torch.stack([v @ values, v.sum(), watched @ values, watched.sum()])


_ChunkSums = tuple[Tensor, Tensor | None, Tensor]  # what one chunk puts into B and S, and its losses


class _Sums:
    """B, S and losses as a pass adds them up."""

    def __init__(self, model: RidgeModel) -> None:
        self.head, self.inverse = torch.zeros_like(model.head), torch.zeros_like(model.root)
        self.totals = torch.zeros(4, dtype=torch.float64, device=model.head.device)

    def add(self, head: Tensor, inverse: Tensor | None, totals: Tensor) -> None:
        """Those of one chunk."""
        self.head += head
        if inverse is not None:
            self.inverse += inverse
        self.totals += totals

    def adjoint(self) -> Adjoint:
        return Adjoint(self.head, products.mirror(self.inverse), *self.totals.tolist())


def pull_of(
    loo: LeaveOneOut, labels: Tensor, loss: Loss | None, condition: Tensor | None, rows: slice
) -> tuple[RowAdjoints, Tensor, Tensor, Tensor]:
    """What is kept of m rows, v (m,), v∘G/d (m, k) and s (m,); G and s still to be divided by Σv."""
    predictions = loo.predictions
    margin = margins(predictions, labels)
    if loss is None:
        nothing = torch.zeros_like(margin)
        return RowAdjoints(loo.leverage_factor, nothing, margin), nothing, predictions, nothing
    v = _validating(loss, predictions, labels, margin, condition, rows)
    gradients = loss.gradients(predictions, labels).mul_((v / (1 - loo.leverage))[:, None])
    pull = torch.linalg.vecdot(gradients, loo.loo_residuals)  # s = ⟨G, e⟩ / d
    return RowAdjoints(loo.leverage_factor, loo.leverage_factor * pull, margin), v, gradients, pull


def _validating(
    loss: Loss, predictions: Tensor, labels: Tensor, margin: Tensor | None, condition: Tensor | None, rows: Any
) -> Tensor:
    """v (m,)."""
    v = loss.validates(predictions, labels, margin).to(predictions)
    return v if condition is None else v * condition[rows].to(v)
