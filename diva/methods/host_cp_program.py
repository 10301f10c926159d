"""The convex programs of HOST-CP: which of B new points represent the new points, beside M points kept already.

    min  ⟨Dn, Zn⟩ + ⟨Do, Zo⟩ + ε R(Z)                       Dn (B, B), Do (B, M): distances;  Z = [Zn Zo] (B, B + M)
    s.t. Z ≥ 0,   Zn·1 + Zo·1 = 1 for each new point,   Σ_j ‖(Zn)_{:,j}‖_q ≤ capacity

Row i says by whom new point i is represented, and the score of new point j is the norm of its column. Two programs:

published   q = 1, ε = 0. The norms add up to the mass that rests on new points, so a new point's cheapest
            representative among the new is itself, at no cost: with d_i = min_j Do_ij the program is
            min Σ_i (1 − w_i) d_i over 0 ≤ w ≤ 1, Σ w ≤ capacity. Solution: w = 1 for the ⌊capacity⌋ largest d, what
            is left of the capacity for the next. The set does not change with small changes of D: no gradient.
smooth      q = ∞ and a strictly convex R, ½‖Z‖² (`quadratic`) or Σ z log z (`entropy`): one representative may
            serve many points for the price of one, the solution is unique and a smooth function of D.

Both are batched over leading dimensions; `smooth` is solved in float64 (`diva.methods.host_cp_solver`). The smaller ε,
the nearer the scores are to those of the linear program, which are mostly 0 and 1; a larger one spreads the mass of a
tight cluster over its members, none of which then stands out.

Reference: Das et al., "Finding High-Value Training Data Subset Through Differentiable Convex Programming", ECML-PKDD
2021.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from diva.methods.host_cp_solver import Solution, Term

Program = Literal["published", "smooth"]


@dataclass(frozen=True)
class Assignment:
    """By whom each new point is represented.

    Attributes:
        new: Zn (…, B, B), shares on new points.
        old: Zo (…, B, M), shares on kept points.
    """

    new: Tensor
    old: Tensor

    @property
    def scores(self) -> Tensor:
        """Largest entry of each column of Zn (…, B); for a diagonal Zn that is the norm for any q."""
        return self.new.amax(-2)


def published(new_distances: Tensor, old_distances: Tensor, capacity: float) -> Assignment:
    """The program of the authors' code (q = 1, linear) in closed form; ties go to the first.

    Args:
        new_distances: Dn (…, B, B), not negative, zero on the diagonal.
        old_distances: Do (…, B, M), M ≥ 1.
        capacity: fraction · B.

    Raises:
        ValueError: on shapes that do not fit, a distance that is negative or not finite, a diagonal that is not zero,
            or no kept point (the program has no solution then, unless capacity ≥ B).
    """
    _check(new_distances, old_distances, capacity)
    if new_distances.diagonal(dim1=-2, dim2=-1).any():
        raise ValueError("new_distances must be zero on the diagonal, got a point at a distance from itself.")
    size, count = old_distances.shape[-2:]
    if not count and capacity < size:
        raise ValueError(f"old_distances must hold at least one kept point at capacity {capacity} < {size}, got none.")
    nearest, at = old_distances.min(-1) if count else (new_distances.new_zeros(new_distances.shape[:-1]), None)
    order = torch.argsort(nearest, dim=-1, descending=True, stable=True)
    in_order = (capacity - torch.arange(size, dtype=nearest.dtype, device=nearest.device)).clamp(0, 1)
    chosen = torch.zeros_like(nearest).scatter_(-1, order, in_order.expand_as(nearest).contiguous())
    old = torch.zeros_like(old_distances)
    if at is not None:
        old.scatter_(-1, at[..., None], (1 - chosen)[..., None])
    return Assignment(torch.diag_embed(chosen), old)


def smooth(
    new_distances: Tensor,
    old_distances: Tensor,
    capacity: float,
    *,
    term: Term = "quadratic",
    coefficient: float = 0.02,
    tolerance: float = 1e-10,
) -> Assignment:
    """The program with q = ∞ and a strictly convex term; differentiable in both distances.

    Args:
        new_distances: Dn (…, B, B), not negative.
        old_distances: Do (…, B, M), M ≥ 0.
        capacity: fraction · B; above 1 where nothing is kept (a single representative leaves no interior).
        term: R, `quadratic` or `entropy`.
        coefficient: ε, in units of the distances. The larger, the softer the assignment and its derivative.
        tolerance: mean complementarity at which the steps end, in units of the distances.

    Raises:
        ValueError: as `published`, or on an unknown term or a coefficient that is not positive.
        RuntimeError: where the steps do not reach the tolerance.
    """
    _check(new_distances, old_distances, capacity)
    if term not in get_args(Term):
        raise ValueError(f"term must be one of {', '.join(get_args(Term))}, got {term!r}.")
    if not 0 < coefficient < float("inf"):
        raise ValueError(f"coefficient must be positive and finite, got {coefficient}.")
    if not old_distances.shape[-1] and capacity <= 1:
        raise ValueError(f"capacity must be above 1 where no point is kept, got {capacity}.")
    size, count = new_distances.shape[-1], new_distances.shape[-1] + old_distances.shape[-1]
    distances = torch.cat([new_distances, old_distances], -1).double().reshape(-1, size, count)
    # (D, ε) and (D, ε) / scale have one solution; in units of the typical distance the tolerance means something.
    scale = max(float(distances.detach().mean()), coefficient)
    solution: Tensor = Solution.apply(distances / scale, capacity, term, coefficient / scale, tolerance)
    solution = solution.reshape(*new_distances.shape[:-1], count).to(new_distances.dtype)
    return Assignment(solution[..., :size], solution[..., size:])


def objective(
    assignment: Assignment,
    new_distances: Tensor,
    old_distances: Tensor,
    *,
    term: Term = "quadratic",
    coefficient: float = 0.0,
) -> Tensor:
    """⟨Dn, Zn⟩ + ⟨Do, Zo⟩ + ε R(Z), (…)."""
    shares = torch.cat([assignment.new, assignment.old], -1)
    cost = (torch.cat([new_distances, old_distances], -1) * shares).sum((-2, -1))
    regular = shares.square() / 2 if term == "quadratic" else torch.special.xlogy(shares, shares)
    return cost + coefficient * regular.sum((-2, -1))


def _check(new: Tensor, old: Tensor, capacity: float) -> None:
    if new.ndim < 2 or new.shape[-1] != new.shape[-2]:
        raise ValueError(f"new_distances must have shape (…, B, B), got {tuple(new.shape)}.")
    if old.ndim != new.ndim or old.shape[:-1] != new.shape[:-1]:
        raise ValueError(f"old_distances must have shape {tuple(new.shape[:-1])} and M last, got {tuple(old.shape)}.")
    for name, distances in (("new_distances", new), ("old_distances", old)):
        if not (torch.isfinite(distances).all() and (distances >= 0).all()):
            raise ValueError(f"{name} must be finite and at least 0, got NaN, infinity or a negative distance.")
    if not 0 < capacity < float("inf"):
        raise ValueError(f"capacity must be positive and finite, got {capacity}.")
