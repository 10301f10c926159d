"""Instances of the programs of HOST-CP, and the same programs written out for other solvers."""

from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import linprog
from torch import Tensor

from diva.methods.host_cp_program import Assignment


def distances(new: Tensor, old: Tensor) -> tuple[Tensor, Tensor]:
    """Dn and Do, divided by the mean of both."""
    every = torch.cdist(new, torch.cat([new, old]), compute_mode="donot_use_mm_for_euclid_dist")
    mean = every.mean() if every.any() else 1.0
    return every[:, : len(new)] / mean, every[:, len(new) :] / mean


def instance(seed: int, size: int = 40, kept: int = 40, features: int = 5) -> tuple[Tensor, Tensor]:
    """Dn (size, size) and Do (size, kept) of normal points."""
    g = torch.Generator().manual_seed(seed)
    points = torch.randn(size + kept, features, generator=g, dtype=torch.float64)
    return distances(points[:size], points[size:])


def unseen_clusters(seed: int, spread: float = 0.3) -> tuple[Tensor, Tensor, Tensor]:
    """Four clusters of ten new points, kept points in a fifth only; Dn, Do and the cluster of each new point."""
    g = torch.Generator().manual_seed(seed)
    angle = torch.arange(5, dtype=torch.float64) * 2 * torch.pi / 5
    # The farther, the more published prefers a cluster.
    radius = torch.tensor([3.0, 3.0, 3.5, 4.0, 5.0], dtype=torch.float64)
    centres = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    cluster = torch.arange(1, 5).repeat_interleave(10)
    new = centres[cluster] + spread * torch.randn(40, 2, generator=g, dtype=torch.float64)
    old = centres[0] + spread * torch.randn(5, 2, generator=g, dtype=torch.float64)
    return *distances(new, old), cluster


def by_linprog(new: Tensor, old: Tensor, capacity: float, *, q: float = np.inf) -> Assignment:
    """The linear program (no strictly convex term) by HiGHS, over Z by rows and then t, the column norms."""
    size, kept = old.shape
    count = size + kept
    cells, on_new = np.arange(size * count), np.arange(size * count) % count < size
    own = sparse.csr_array((np.ones(cells.size), (cells, cells % count)), (cells.size, count))[on_new][:, :size]
    pick = sparse.eye_array(cells.size, format="csr")[on_new]
    below = sparse.hstack([pick, -own]) if q == np.inf else sparse.hstack([own.T @ pick, -sparse.eye_array(size)])
    norms = sparse.csr_array(np.r_[np.zeros(cells.size), np.ones(size)][None])
    rows = sparse.hstack([sparse.kron(sparse.eye_array(size), np.ones((1, count))), sparse.csr_array((size, size))])
    found = linprog(
        np.r_[torch.cat([new, old], 1).numpy().ravel(), np.zeros(size)],
        A_ub=sparse.vstack([below, norms]), b_ub=np.r_[np.zeros(below.shape[0]), capacity],
        A_eq=rows, b_eq=np.ones(size),
    )  # fmt: skip
    shares = torch.from_numpy(found.x[: cells.size].reshape(size, count))
    columns = shares[:, :size] if q == np.inf else torch.diag(shares[:, :size].sum(0))
    return Assignment(columns, shares[:, size:])


def program(size: int, kept: int, capacity: float, q: float, term: str, coefficient: float) -> Any:
    """The problem with its variable Z and its parameter D, as `diva.methods.host_cp_program` states it."""
    import cvxpy as cp

    shares, costs = cp.Variable((size, size + kept)), cp.Parameter((size, size + kept))
    norms = sum(cp.norm(shares[:, j], "inf" if q == np.inf else 1) for j in range(size))
    goal = cp.sum(cp.multiply(costs, shares))
    if coefficient:
        regular = cp.sum_squares(shares) / 2 if term == "quadratic" else -cp.sum(cp.entr(shares))
        goal = goal + coefficient * regular
    constraints = [shares >= 0, shares <= 1, cp.sum(shares, 1) == 1, norms <= capacity]
    return cp.Problem(cp.Minimize(goal), constraints), shares, costs


def by_cvxpy(
    new: Tensor, old: Tensor, capacity: float, *, q: float = np.inf, term: str = "quadratic", coefficient: float = 0.0
) -> Assignment:
    """Solved by Clarabel; the scores are those of the column norm ∞, for q = 1 of Zn's columns summed."""
    size, kept = old.shape
    problem, shares, costs = program(size, kept, capacity, q, term, coefficient)
    costs.value = torch.cat([new, old], 1).numpy()
    problem.solve(solver="CLARABEL")
    found = torch.from_numpy(shares.value).clamp_min(0)
    if q == 1:  # a representative at distance 0 other than oneself does not occur here
        return Assignment(torch.diag(found[:, :size].sum(0)), found[:, size:])
    return Assignment(found[:, :size], found[:, size:])


def layer(kind: Any, size: int, kept: int, capacity: float, coefficient: float) -> Any:
    """A `CvxpyLayer` from D to Z."""
    problem, shares, costs = program(size, kept, capacity, np.inf, "quadratic", coefficient)
    return kind(problem, parameters=[costs], variables=[shares])
