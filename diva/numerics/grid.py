"""λ by leave-one-out over a grid: two passes over the rows and one eigendecomposition for all of it.

    ZᵀDZ = QΛQᵀ,   C(λ) = Q (Λ + λ)⁻¹ Qᵀ,   u = Qᵀz:   g(λ) = Σ_j u_j² / (Λ_j + λ),   o(λ) = uᵀ (Λ + λ)⁻¹ QᵀZᵀDY

As functions of Λ the filters (Λ + λ)⁻¹ of neighbouring λ are alike: those of a long grid are sums of a few, found by
a singular value decomposition to the precision of the rows, and only those few are multiplied with rows. From the
outputs o and h = αg, the prediction without i is wrong where o_y − h ≤ max_{c ≠ y} o_c, and its squared residual is
((1 − o_y)² + Σ_{c ≠ y} o_c²) / (1 − h)².
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diva.numerics import products
from diva.numerics.chunks import Chunk, Chunks, Subset
from diva.numerics.device import onto
from diva.numerics.groups import gathered_groups, shared_groups
from diva.numerics.losses import margins
from diva.numerics.precision import ENOUGH, RidgeFit, fit_ridge
from diva.numerics.products import Workspace
from diva.numerics.ridge import ACCURACY, EPSILON, Moments, RidgeModel, moments, weighted
from diva.numerics.threads import in_order

WIDER = tuple(10 ** (i / 2) for i in range(1, 7))  # beyond an edge of the grid: three decades in steps of √10
RIDGES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
STORED = 2**24  # leverages (rows × ridges) that are stored for the chosen ridge; more are computed again
ENTRIES = {"cpu": 2**18, "cuda": 2**26}  # outputs (ridges × rows × classes) at a time: they stay in the cache

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RidgeChoice:
    """What the grid showed.

    Attributes:
        ridge: the best λ; of several, the largest.
        grid: (λ, leave-one-out classification error, mean squared leave-one-out residual) of each that float64
            resolves.
        chunks: the rows.
        weights: α (n,), or None for ones.
        moments: of the rows with these weights.
        leverage_factor: g (n,) at the best λ, for the leave-one-out predictions that follow; None of very many rows.
        groups: (n,) of rows that were left out together, or None.
    """

    ridge: float
    grid: tuple[tuple[float, float, float], ...]
    chunks: Chunks
    weights: Tensor | None
    moments: Moments
    leverage_factor: Tensor | None = None
    groups: Tensor | None = None

    @property
    def error(self) -> float:
        """Leave-one-out classification error at the chosen ridge."""
        return next(error for ridge, error, _ in self.grid if ridge == self.ridge)

    def fit(self) -> RidgeFit:
        """The model of the rows at the chosen ridge."""
        classes = self.moments.cross.shape[1]
        return fit_ridge(self.chunks, classes, self.ridge, self.weights, self.moments, self.groups)


@dataclass(frozen=True)
class Filters:
    """(Λ + λ)⁻¹ of a grid, as ``mix`` (grid, r) of ``basis`` (r, p); ``mix`` is None where each stands for itself."""

    spectra: Tensor
    basis: Tensor
    mix: Tensor | None


def choose_ridge(
    chunks: Chunks,
    classes: int,
    grid: Sequence[float] = RIDGES,
    weights: Tensor | None = None,
    groups: Tensor | None = None,
    *,
    judged: Tensor | None = None,
    widen: bool = True,
) -> RidgeChoice:
    """λ by leave-one-out classification error over a grid: two passes and one eigendecomposition for all of it.

    Rows count by their weight, so that a row of weight 0 is as good as absent; rows of equal ``groups`` (n,) are left
    out together. Ridges too small for float64 to resolve the solution are left out, with a warning. All rows train; of
    those of ``judged`` (n,), a mask, the error is the mean, where there is one and no groups.

    With ``widen``, where the first or last of several ridges is the best, those up to three decades beyond it are tried
    too, in steps of √10 (as far as the rows' precision resolves them). They are taken only for a lower error, the
    nearest of several.

    Raises:
        ValueError: if the grid is empty or holds a ridge that is not positive, none of it can be resolved, or no row
            has weight.
    """
    if not grid or min(grid) <= 0:
        raise ValueError(f"grid must hold positive ridges, got {list(grid)}.")
    sums = moments(chunks, classes, weights)
    eigenvalues, eigenvectors = products.eigenvectors(sums.gram)
    eigenvalues, cross, shared = eigenvalues.clamp_min(0), eigenvectors.T @ sums.cross, shared_groups(groups)

    def search(ridges: Tensor) -> _Search:
        return _Search(chunks, eigenvalues, eigenvectors, cross, ridges, weights, shared, judged).run()

    best = inner = search(_resolved(sorted(grid), eigenvalues))
    beyond = _beyond(inner, sums.rounding, eigenvalues)
    if widen and len(beyond):
        best = min(inner, search(beyond), key=lambda tried: tried.error)
    rows = inner.rows if best is inner else sorted(inner.rows + best.rows)
    if best is not inner:
        logger.info("ridge %g, beyond the grid's %g, has a lower error: the grid was widened", best.ridge, inner.ridge)
    return RidgeChoice(best.ridge, tuple(rows), chunks, weights, sums, best.factor, groups)


def _beyond(search: "_Search", rounding: float, eigenvalues: Tensor) -> Tensor:
    """Ridges beyond the edge that is best, the nearest last; none where the best lies inside or nothing is wrong."""
    ridges, wider = search.ridges, search.ridges.new_tensor(WIDER)
    if len(ridges) == 1 or search.error == 0 or ridges[0] < search.ridge < ridges[-1]:
        return ridges[:0]
    beyond = ridges[-1] * wider if search.ridge == ridges[-1] else ridges[0] / wider
    beyond = beyond[_resolvable(beyond, eigenvalues) & (rounding / (eigenvalues.min() + beyond) <= ENOUGH)]
    return beyond.flip(0)  # of equal errors the last one wins


def _resolvable(ridges: Tensor, eigenvalues: Tensor) -> Tensor:
    """Whether `diva.numerics.ridge.solve` will accept each ridge."""
    condition = (eigenvalues.max() + ridges) / (eigenvalues.min() + ridges)
    return condition * EPSILON * 2 <= ACCURACY


def _resolved(ridges: list[float], eigenvalues: Tensor) -> Tensor:
    """Those of the ridges that `diva.numerics.ridge.solve` will accept."""
    grid = torch.tensor(ridges, dtype=torch.float64, device=eigenvalues.device)
    good = _resolvable(grid, eigenvalues)
    if not good.any():
        raise ValueError(
            f"grid must hold a ridge of at least {float(eigenvalues.max()) * EPSILON * 2 / ACCURACY:.1e} for features "
            f"of this size, got {ridges[-1]} at most; add larger ones, or normalise the features."
        )
    if not good.all():
        logger.warning("ridges %s are too small for features of this size and left out", grid[~good].tolist())
    return grid[good]


def filters(eigenvalues: Tensor, ridges: Tensor, precision: torch.dtype) -> Filters:
    """The filters of a grid, to the precision of the rows."""
    spectra = 1 / (eigenvalues + ridges[:, None])
    scale = eigenvalues + ridges.min()  # (Λ + λ_min) / (Λ + λ) lies in (0, 1]: errors are relative to that
    before, sizes, after = torch.linalg.svd(spectra * scale, full_matrices=False)
    rank = int((sizes > torch.finfo(precision).eps).sum())
    if rank > 0.8 * len(ridges):  # mixing costs more than it saves
        return Filters(spectra, spectra, None)
    return Filters(spectra, after[:rank] / scale, before[:, :rank] * sizes[:rank])


class _Search:
    """The second pass; `rows`, `ridge`, `error` and `factor` are there once it was run."""

    def __init__(
        self, chunks: Chunks, eigenvalues: Tensor, eigenvectors: Tensor, cross: Tensor, ridges: Tensor,
        weights: Tensor | None, shared: Tensor | None, judged: Tensor | None,
    ) -> None:  # fmt: skip
        if judged is not None:
            chunks, weights = Subset(chunks, judged), None if weights is None else weights[judged]
        self.chunks, self.weights, n = chunks, weights, chunks.shape[0]
        self.shared, self.single = shared, None if shared is None else onto(shared < 0, ridges.device)
        self.eigenvalues, self.eigenvectors, self.cross, self.ridges = eigenvalues, eigenvectors, cross, ridges
        self.totals = torch.zeros(3, len(ridges), dtype=torch.float64, device=ridges.device)
        self.leverage_factor = torch.zeros(len(ridges), n) if judged is None and n * len(ridges) <= STORED else None
        self.local: tuple[Tensor, Filters, Tensor] | None = None

    @property
    def rows(self) -> list[tuple[float, float, float]]:
        """(λ, error, mean squared residual) of each ridge."""
        errors, squares = self.totals[:2] / self.totals[2]
        return list(zip(self.ridges.tolist(), errors.tolist(), squares.tolist(), strict=True))

    @property
    def best(self) -> int:
        """Position of the last ridge of least error."""
        errors = self.totals[0] / self.totals[2]
        return int((errors <= errors.min()).nonzero().max())

    @property
    def ridge(self) -> float:
        """The best λ."""
        return float(self.ridges[self.best])

    @property
    def error(self) -> float:
        """The least error."""
        return self.rows[self.best][1]

    @property
    def factor(self) -> Tensor | None:
        """g (n,) at the best λ, where leverages were stored."""
        return None if self.leverage_factor is None else self.leverage_factor[self.best].double()

    def run(self) -> "_Search":
        """Sum over the rows."""
        for rows, factor, totals in in_order(self._of_chunk, weighted(self.chunks, self.weights)):
            if self.leverage_factor is not None:
                self.leverage_factor = self.leverage_factor.to(factor)
                self.leverage_factor[:, rows] = factor
            for part in totals:
                self.totals += part
        if self.shared is not None:
            self._count_groups(self.shared)
        if not (self.totals[2] > 0).all():
            raise ValueError("weights must have a positive sum to choose a ridge by, got none.")
        return self

    def _of_chunk(self, chunk: Chunk, alpha: Tensor, work: Workspace) -> tuple[slice, Tensor, list[Tensor]]:
        """Rows, g (grid, m), and error, squared residual and weight (3, grid) of the parts of a chunk."""
        z, labels, rows = chunk
        eigenvectors, bank, heads = self.local = self.local or self._prepare(z)
        turned = products.times(z, eigenvectors, work, "turned")
        basis = products.times(turned, heads, work, "outputs")
        factor = products.times(turned.square_(), bank.spectra.T, work, "factor").T
        counted = alpha if self.single is None else alpha * self.single[rows].to(alpha)
        totals = []
        for part in _parts(z, len(self.ridges) * self.cross.shape[1]):
            outputs = self._outputs(basis[part], bank, work)
            totals.append(_count(outputs, labels[part], counted[part], alpha[part] * factor[:, part]))
        return rows, factor, totals

    def _prepare(self, like: Tensor) -> tuple[Tensor, Filters, Tensor]:
        """Q, the filters and the heads of their basis side by side (p, r k), in the precision of the rows."""
        bank = filters(self.eigenvalues, self.ridges, like.dtype)
        heads = (bank.basis[:, :, None] * self.cross).permute(1, 0, 2).reshape(len(self.cross), -1)
        mix = None if bank.mix is None else bank.mix.to(like)
        return self.eigenvectors.to(like), Filters(bank.spectra.to(like), bank.basis, mix), heads.to(like)

    def _outputs(self, basis: Tensor, bank: Filters, work: Workspace) -> Tensor:
        """o (grid, m, k) from the basis' outputs (m, r k)."""
        m, k = len(basis), self.cross.shape[1]
        separate = basis.view(m, -1, k).transpose(0, 1).reshape(-1, m * k)
        mixed = separate if bank.mix is None else products.times(bank.mix, separate, work, "mixed")
        return mixed.view(-1, m, k)

    def _count_groups(self, shared: Tensor) -> None:
        """Add errors and squared residuals of the rows that share a group, in the eigenvectors' basis, in float64."""
        for bundle in gathered_groups(self.chunks, shared, self.weights):
            turned = bundle.turned(self.eigenvectors)
            for i, ridge in enumerate(self.ridges):
                spectrum = self.eigenvalues + ridge
                model = RidgeModel(self.cross / spectrum[:, None], spectrum.rsqrt(), float(ridge))
                for part in turned.parts(model):
                    alpha, wrong = part.weights, (margins(part.predictions, part.labels) <= 0).to(part.weights)
                    squares = part.loo_residuals.square().sum(1)
                    self.totals[:, i] += torch.stack([wrong @ alpha, squares @ alpha, alpha.sum()])


def _count(outputs: Tensor, labels: Tensor, alpha: Tensor, leverage: Tensor) -> Tensor:
    """Errors, squared residuals and weight (3, grid) of m rows; ``outputs`` is used up."""
    where = labels[None, :, None].expand(len(outputs), -1, 1)
    own = outputs.gather(2, where)[:, :, 0]
    others = torch.linalg.vector_norm(outputs.scatter_(2, where, 0), dim=2).square()
    wrong = ~(own - leverage > outputs.scatter_(2, where, -torch.inf).amax(2))  # a tie is no hit
    squares = ((1 - own).square() + others) / (1 - leverage).clamp_min(torch.finfo(own.dtype).eps).square()
    return torch.stack([wrong.to(alpha) @ alpha, squares @ alpha, alpha.sum().expand(len(own))])


def _parts(z: Tensor, width: int) -> list[slice]:
    m, size = len(z), max(1, ENTRIES[z.device.type] // width)
    return [slice(start, min(start + size, m)) for start in range(0, m, size)]
