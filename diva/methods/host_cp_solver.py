"""The solver of HOST-CP's `smooth` program: a primal-dual interior-point method, batched, with its derivative.

    min ⟨D, z⟩ + ε R(z)    s.t.  z ≥ 0 (x),  Σ_j z_ij = 1 (ν),  u_ij = t_j − z_ij ≥ 0 (y),  k = capacity − Σ t ≥ 0 (μ)

over z (G, B, N) and t (G, B), for G programs of B new points and N = B + M columns, the first B of them new; in
brackets the multipliers. After the eliminations in `Newton` a step costs one Cholesky factorisation of (B, B). The
matrix of the optimality conditions is symmetric, so ∂⟨v, z⟩/∂D is −dz of one more solve, with v at the right.

References: Mehrotra, "On the Implementation of a Primal-Dual Interior Point Method", SIAM J. Optim. 2 (1992) (the
steps); Amos and Kolter, "OptNet", ICML 2017 (the derivative).
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Term = Literal["quadratic", "entropy"]

TO_BOUNDARY = 0.995  # share of the way to the boundary that a step may go
MOST_STEPS = 80


@dataclass(frozen=True)
class _Point:
    """Where the steps are: z, x (G, B, N), t, nu (G, B), y (G, B, B), mu (G,)."""

    z: Tensor
    t: Tensor
    nu: Tensor
    x: Tensor
    y: Tensor
    mu: Tensor
    capacity: float

    @property
    def u(self) -> Tensor:
        return self.t[:, None, :] - self.z[..., : self.t.shape[-1]]

    @property
    def k(self) -> Tensor:
        return self.capacity - self.t.sum(-1)

    def moved(self, step: "_Step", primal: Tensor, dual: Tensor) -> "_Point":
        """The point after a step of the lengths (G,)."""
        rows, cells = dual[:, None], dual[:, None, None]
        return _Point(
            self.z + primal[:, None, None] * step.z, self.t + primal[:, None] * step.t, self.nu + rows * step.nu,
            self.x + cells * step.x, self.y + cells * step.y, self.mu + dual * step.mu, self.capacity,
        )  # fmt: skip

    def complementarity(self) -> Tensor:
        """Mean product of slack and multiplier (G,)."""
        count = self.x[0].numel() + self.y[0].numel() + 1
        return ((self.x * self.z).sum((1, 2)) + (self.y * self.u).sum((1, 2)) + self.mu * self.k) / count


@dataclass(frozen=True)
class _Step:
    """A direction, entry by entry that of `_Point`."""

    z: Tensor
    t: Tensor
    nu: Tensor
    x: Tensor
    y: Tensor
    mu: Tensor


class Newton:
    """The linearised optimality conditions at a point, factorised once.

    After elimination of the multipliers, with w = y/u (0 on kept columns) and H = εR''(z) + x/z + w:

        H dz − dν_i − w dt_j = g      (G, B, N)
        Σ_j dz               = a      (G, B)
        Σ_i w (dt_j − dz) + (μ/k) Σ dt = h   (G, B)

    dz and dν go next; what is left is (S + QᵀP⁻¹Q) dt = …, with Q = w/H, P = diag(Σ_j 1/H) and
    S = diag(Σ_i w(H − w)/H) + μ/k: positive definite, (B, B).
    """

    def __init__(self, point: _Point, curvature: Tensor) -> None:
        size = point.t.shape[-1]
        self.size, rest = size, curvature + point.x / point.z
        self.w = torch.zeros_like(point.z)
        self.w[..., :size] = point.y / point.u
        self.inverse = 1 / (rest + self.w)
        self.q = (self.w * self.inverse)[..., :size]
        self.p = self.inverse.sum(-1)
        self.matrix = torch.diag_embed((self.q * rest[..., :size]).sum(-2)) + self.q.mT @ (self.q / self.p[..., None])
        diagonal = self.matrix.diagonal(dim1=-2, dim2=-1)
        # μ/k grows without bound and would drown the rest, which alone may be singular: half of the orders of
        # magnitude between them go into the matrix, the others by rank one.
        self.slope = point.mu / point.k
        within = torch.minimum(self.slope, (self.slope * diagonal.mean(-1)).sqrt())
        # Scaled to a unit diagonal: entries of very different size are most of its condition.
        self.scale = (diagonal + within[:, None]).rsqrt()
        scaled = self.scale[..., None] * (self.matrix + within[:, None, None]) * self.scale[:, None, :]
        scaled.diagonal(dim1=-2, dim2=-1).add_(1e-15)
        self.factor = torch.linalg.cholesky_ex(scaled)[0]
        self.along = self._solve_factor(torch.ones_like(point.t))
        beyond = self.slope - within
        self.pull = beyond / (1 + beyond * self.along.sum(-1))

    def _solve_factor(self, right: Tensor) -> Tensor:
        return self.scale * torch.cholesky_solve((self.scale * right)[..., None], self.factor)[..., 0]

    def _solve_columns(self, right: Tensor) -> Tensor:
        """dt of the last system, refined once."""
        dt = torch.zeros_like(right)
        for _ in range(2):
            missing = right - (self.matrix @ dt[..., None])[..., 0] - (self.slope * dt.sum(-1))[:, None]
            change = self._solve_factor(missing)
            dt = dt + change - self.along * (change.sum(-1) * self.pull)[:, None]
        return dt

    def solve(self, g: Tensor, a: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """dz, dt, dν of the right-hand sides g, a, h."""
        spread = self.inverse * g
        rows = a - spread.sum(-1)
        columns = h + (self.w * spread)[..., : self.size].sum(-2)
        right = columns + (self.q.mT @ (rows / self.p)[..., None])[..., 0]
        dt = self._solve_columns(right)
        dnu = (rows - (self.q @ dt[..., None])[..., 0]) / self.p
        dz = spread + self.inverse * dnu[..., None]
        dz[..., : self.size] += self.q * dt[:, None, :]
        return dz, dt, dnu


def _derivatives(z: Tensor, term: Term, coefficient: float) -> tuple[Tensor, Tensor]:
    """ε R'(z) and ε R''(z)."""
    if term == "quadratic":
        return coefficient * z, torch.full_like(z, coefficient)
    return coefficient * (z.log() + 1), coefficient / z


def _start(distances: Tensor, capacity: float) -> _Point:
    """Strictly inside: every row alike, half of the room between it and the capacity left."""
    groups, size, count = distances.shape
    earlier = count - size
    mass = min(size / count, capacity / 2) if earlier else 1.0  # of each row on new points
    room = min((mass + capacity) / 2, 2 * mass)  # Σ t
    z = torch.full_like(distances, mass / size)
    z[..., size:] = (1 - mass) / max(earlier, 1)
    level = distances.mean((1, 2)).clamp_min(1e-3)  # multipliers of the size of the distances
    ones = torch.ones_like(distances) * level[:, None, None]
    t = distances.new_full((groups, size), room / size)
    return _Point(z, t, distances.mean(-1), ones, ones[..., :size] / size, level.clone(), capacity)


def _longest(value: Tensor, change: Tensor) -> Tensor:
    """How far (G,) a step may go, at most 1, for the values to stay positive."""
    ratio = torch.where(change < 0, -value / change, torch.inf)
    return (TO_BOUNDARY * ratio.flatten(1).amin(1)).clamp_max(1)


class _Conditions:
    """Residuals of the optimality conditions at a point, and the steps that reduce them."""

    def __init__(self, point: _Point, distances: Tensor, term: Term, coefficient: float) -> None:
        slope, curvature = _derivatives(point.z, term, coefficient)
        self.point, size = point, point.t.shape[-1]
        self.z = distances + slope - point.nu[..., None] - point.x
        self.z[..., :size] += point.y
        self.t = point.mu[:, None] - point.y.sum(-2)
        self.rows = 1 - point.z.sum(-1)
        self.newton = Newton(point, curvature)

    def size(self) -> Tensor:
        """Largest residual of stationarity (G,)."""
        return torch.maximum(self.z.abs().amax((1, 2)), self.t.abs().amax(1))

    def step(self, target: Tensor, before: _Step | None = None) -> _Step:
        """Towards slack · multiplier = target (G,), corrected for the second order of an earlier step."""
        q, size = self.point, self.point.t.shape[-1]
        goal, u, k = target[:, None, None], q.u, q.k
        xz, yu, mk = goal - q.x * q.z, goal - q.y * u, target - q.mu * k
        if before is not None:
            xz = xz - before.x * before.z
            yu = yu - before.y * (before.t[:, None, :] - before.z[..., :size])
            mk = mk + before.mu * before.t.sum(-1)
        g = xz / q.z - self.z
        g[..., :size] -= yu / u
        h = (yu / u).sum(-2) - (mk / k)[:, None] - self.t
        dz, dt, dnu = self.newton.solve(g, self.rows, h)
        dx = (xz - q.x * dz) / q.z
        dy = (yu - q.y * (dt[:, None, :] - dz[..., :size])) / u
        return _Step(dz, dt, dnu, dx, dy, (mk + q.mu * dt.sum(-1)) / k)

    def lengths(self, step: _Step) -> tuple[Tensor, Tensor]:
        """Primal and dual step lengths (G,)."""
        q, size = self.point, self.point.t.shape[-1]
        du = step.t[:, None, :] - step.z[..., :size]
        primal = torch.minimum(_longest(q.z, step.z), _longest(q.u, du))
        primal = torch.minimum(primal, _longest(q.k[:, None], -step.t.sum(-1, keepdim=True)))
        dual = torch.minimum(_longest(q.x, step.x), _longest(q.y, step.y))
        return primal, torch.minimum(dual, _longest(q.mu[:, None], step.mu[:, None]))


def interior_point(distances: Tensor, capacity: float, term: Term, coefficient: float, tolerance: float) -> _Point:
    """Optimal Z with its multipliers, of G programs at once; those that are done stay where they are.

    Raises:
        RuntimeError: where a program is not solved after 80 steps.
    """
    point = _start(distances, capacity)
    for _ in range(MOST_STEPS):
        conditions = _Conditions(point, distances, term, coefficient)
        gap = point.complementarity()
        open_ = (gap > tolerance) | (conditions.size() > 1e3 * tolerance)
        if not open_.any():
            return point
        affine = conditions.step(torch.zeros_like(gap))
        ahead = point.moved(affine, *conditions.lengths(affine)).complementarity()
        # Never below the tolerance: the gap must not run ahead of the other conditions.
        target = (gap * (ahead / gap).clamp(0, 1) ** 3).clamp_min(tolerance / 2)
        step = conditions.step(target, affine)
        primal, dual = conditions.lengths(step)
        if term == "entropy":  # R' bends: the two sides must move together
            primal = dual = torch.minimum(primal, dual)
        point = point.moved(step, primal * open_, dual * open_)
    raise RuntimeError(f"the convex program was not solved in {MOST_STEPS} steps; use a larger coefficient.")


class Solution(torch.autograd.Function):
    """D (G, B, N) → Z (G, B, N); the derivative is one more solve with the factor at the solution."""

    @staticmethod
    def forward(
        ctx: Any, distances: Tensor, capacity: float, term: Term, coefficient: float, tolerance: float
    ) -> Tensor:
        """Z, as `interior_point` finds it."""
        point = interior_point(distances, capacity, term, coefficient, tolerance)
        ctx.point, ctx.curvature = point, _derivatives(point.z, term, coefficient)[1]
        return point.z.clone()  # the point itself stays with ctx, and must not hold on to its own graph

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """∂⟨gradient, Z⟩/∂D."""
        zero = torch.zeros_like(ctx.point.t)
        dz, _, _ = Newton(ctx.point, ctx.curvature).solve(gradient, zero, zero)
        return -dz, None, None, None, None
