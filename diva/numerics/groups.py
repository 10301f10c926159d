"""Leave-one-group-out: each row is predicted by the model trained without any row of its group.

A group b is rows that must not vouch for each other: views of one image, frames of one video, one patient. With its
rows Z_b (m, p), weights D_b = diag(α_b) and residuals r_b = Y_b − Z_b W:

    G_b = Z_b C Z_bᵀ,   Q_b = (I − G_b D_b)⁻¹,   e_b = Q_b r_b,   f_b = Y_b − e_b

and, with the gradients Γ_b = ∂L/∂f_b, P_b = Q_bᵀΓ_b and U_b = Z_bᵀP_b, the derivative of `derivative` has

    B = Σ_b U_b,   S = Σ_b Z_bᵀD_b e_b U_bᵀ,   ∂L/∂α_j = ⟨z_jᵀCB, r_j⟩ + z_jᵀCSCz_j − ⟨z_jᵀCU_b, e_j⟩

Only the last term knows the group, and it is one number a row: the second pass finds it, the third is that of single
rows. A group of m ≤ p rows takes the symmetric I − D^½GD^½ = LLᵀ (m, m), which also holds where a weight is 0, and
groups of one size go together; a larger one, with C = RRᵀ and A_b = Z_bᵀD_bZ_b, takes I − RᵀA_bR = LLᵀ (p, p):

    Q r = r + G D^½ (LLᵀ)⁻¹ D^½ r,                             QᵀΓ = Γ + D^½ (LLᵀ)⁻¹ D^½ G Γ
    C_{−b} = R (LLᵀ)⁻¹ Rᵀ,   W_{−b} = W − C_{−b} Z_bᵀD_b r_b,   U_b = (I + A_b C_{−b}) Z_bᵀΓ_b,   CU_b = C_{−b} Z_bᵀΓ_b

A group may lie in several chunks and files. Rows of groups are gathered, groups in the order of their first rows, up to
`ENTRIES` numbers at a time; where groups do not overlap that is one pass over the rows, else one for each such lot. A
group that is larger than that is not gathered but read again for each of its sums.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from diva.numerics import products
from diva.numerics.chunks import Chunk, Chunks, InMemory, Subset
from diva.numerics.gathering import filled, lots_of
from diva.numerics.products import Workspace
from diva.numerics.ridge import LocalModel, RidgeModel, one_hot, weighted

ENTRIES = 2**27  # numbers of gathered rows: 512 MiB in float32
PACKET = 8192  # rows of small groups that are solved together


@dataclass(frozen=True)
class GroupRows:
    """m rows of groups, predicted without these.

    Attributes:
        rows: (m,) where they stand among all n.
        features: z (m, p).
        labels: (m,).
        weights: α (m,).
        leverage_factor: g (m,).
        residuals: r (m, k).
        loo_residuals: e (m, k).
        predictions: f (m, k).
    """

    rows: Tensor
    features: Tensor
    labels: Tensor
    weights: Tensor
    leverage_factor: Tensor
    residuals: Tensor
    loo_residuals: Tensor
    predictions: Tensor


Gradients = Callable[[GroupRows], Tensor]  # v∘∂ℓ/∂f (m, k)


class GroupSums:
    """B (p, k) and S (p, p) of groups, float64; S as it adds up, before its symmetric part is taken."""

    def __init__(self, p: int, classes: int, device: torch.device) -> None:
        self.cross = torch.zeros(p, classes, dtype=torch.float64, device=device)
        self._gram, self.work = torch.zeros(p, p, dtype=torch.float64, device=device), Workspace()

    @property
    def gram(self) -> Tensor:
        """S, symmetric: all that zᵀCSCz reads of it."""
        symmetric: Tensor = (self._gram + self._gram.T) / 2
        return symmetric

    def add_rows(self, z: Tensor, pulled: Tensor, mixed: Tensor) -> None:
        """Small groups: rows (m, p), P (m, k), and D e Pᵀ Z (m, p)."""
        products.add_cross(self.cross, z, pulled, self.work)
        products.add_cross(self._gram, z, mixed, self.work)

    def add_group(self, pulled: Tensor, residuals: Tensor) -> None:
        """One large group: U (p, k), and ZᵀDe (p, k)."""
        self.cross += pulled
        self._gram += residuals @ pulled.T


class SmallGroups:
    """q groups of ``size`` rows each, at most p, one after the other."""

    def __init__(self, rows: Tensor, features: Tensor, labels: Tensor, weights: Tensor, size: int) -> None:
        self.rows, self.features, self.labels, self.weights, self.size = rows, features, labels, weights, size

    def turned(self, rotation: Tensor) -> "SmallGroups":
        """The same in another basis of the features, whose columns are ``rotation`` (p, p), in its precision."""
        features = products.times(self.features.to(rotation), rotation)
        return SmallGroups(self.rows, features, self.labels, self.weights.to(features), self.size)

    def parts(self, model: RidgeModel) -> Iterator[GroupRows]:
        """All rows at once, without their groups."""
        yield self._solve(model)[0]

    def adjoint(self, model: RidgeModel, gradients: Gradients, sums: GroupSums) -> Iterator[tuple[GroupRows, Tensor]]:
        """The rows, with ⟨z_jᵀCU, e_j⟩ of each (m,); what they add to B and S goes to ``sums``."""
        part, gram, roots, factor = self._solve(model)
        upstream = self._blocks(gradients(part).double())
        pulled = upstream + roots * torch.cholesky_solve(roots * (gram @ upstream), factor)
        errors = self._blocks(part.loo_residuals)
        with products.exactly():
            mixed = (roots.square() * (errors @ pulled.mT)).to(part.features) @ self._blocks(part.features)
        sums.add_rows(part.features, pulled.flatten(0, 1).to(part.features), mixed.flatten(0, 1))
        yield part, (gram @ pulled * errors).sum(2).flatten()

    def _solve(self, model: RidgeModel) -> tuple[GroupRows, Tensor, Tensor, Tensor]:
        """The rows, G (q, m, m), D^½ (q, m, 1) and L (q, m, m)."""
        local = model.to(self.features)
        outputs = products.times(self.features, local.head).double()
        halves = self._blocks(_times_root(self.features, local.root))  # C = RRᵀ, so G = (Z R)(Z R)ᵀ
        with products.exactly():
            gram = (halves @ halves.mT).double()
        roots = self._blocks(self.weights[:, None].double()).sqrt()
        factor = _factor(roots * gram * roots.mT, model.ridge, self.features.dtype)
        targets = one_hot(self.labels, outputs)
        residuals = self._blocks(targets - outputs)
        errors = (residuals + gram @ (roots * torch.cholesky_solve(roots * residuals, factor))).flatten(0, 1)
        leverage_factor, plain = gram.diagonal(dim1=1, dim2=2).flatten(), residuals.flatten(0, 1)
        part = GroupRows(
            self.rows, self.features, self.labels, self.weights, leverage_factor, plain, errors, targets - errors
        )
        return part, gram, roots, factor

    def _blocks(self, rows: Tensor) -> Tensor:
        """(q·m, c) as (q, m, c)."""
        return rows.reshape(-1, self.size, rows.shape[1])


class LargeGroup:
    """One group of more than p rows, chunk by chunk.

    Args:
        rows: (m,) where they stand among all n.
        chunks: the rows; read again for each sum.
        weights: α (m,).
    """

    def __init__(self, rows: Tensor, chunks: Chunks, weights: Tensor) -> None:
        self.rows, self.chunks, self.weights = rows, chunks, weights

    def turned(self, rotation: Tensor) -> "LargeGroup":
        """The same in another basis of the features."""
        return LargeGroup(self.rows, _Turned(self.chunks, rotation), self.weights)

    def parts(self, model: RidgeModel) -> Iterator[GroupRows]:
        """Its rows, chunk by chunk, without the group."""
        return self._rows(model, self._without(model)[0])

    def adjoint(self, model: RidgeModel, gradients: Gradients, sums: GroupSums) -> Iterator[tuple[GroupRows, Tensor]]:
        """As `SmallGroups.adjoint`."""
        head, inverse, gram = self._without(model)
        upstream, errors = torch.zeros_like(head), torch.zeros_like(head)
        for part in self._rows(model, head):
            z = part.features
            products.add_cross(upstream, z, gradients(part).to(z), sums.work)
            products.add_cross(errors, z, (part.weights[:, None] * part.loo_residuals).to(z), sums.work)
        turned = inverse @ upstream  # C_{−b} ZᵀΓ
        sums.add_group(upstream + gram @ turned, errors)
        for part in self._rows(model, head):
            own = products.times(part.features, turned.to(part.features)).double() * part.loo_residuals
            yield part, own.sum(1)

    def _without(self, model: RidgeModel) -> tuple[Tensor, Tensor, Tensor]:
        """W_{−b} (p, k), C_{−b} (p, p) and A_b (p, p)."""
        p, k = model.head.shape
        gram, cross, local = torch.zeros(p, p).to(model.head), torch.zeros(p, k).to(model.head), LocalModel(model)
        work, dtype = Workspace(), model.head.dtype
        for (z, labels, _), alpha in weighted(self.chunks, self.weights):
            dtype = z.dtype
            outputs = products.times(z, local.like(z).head)
            products.add_gram(gram, z, alpha, work)
            products.add_cross(cross, z, alpha[:, None] * (one_hot(labels, outputs) - outputs), work)
        products.mirror(gram)
        root = model.root if model.root.ndim == 2 else torch.diag(model.root)
        factor = _factor(root.T @ gram @ root, model.ridge, dtype)
        half = torch.linalg.solve_triangular(factor, root.T, upper=False)  # L⁻¹Rᵀ
        inverse = half.T @ half
        return model.head - inverse @ cross, inverse, gram

    def _rows(self, model: RidgeModel, head: Tensor) -> Iterator[GroupRows]:
        local, without = LocalModel(model), head
        for (z, labels, rows), alpha in weighted(self.chunks, self.weights):
            without = without.to(z)
            outputs, predictions = products.times(z, local.like(z).head).double(), products.times(z, without).double()
            targets = one_hot(labels, outputs)
            leverage_factor = _times_root(z, local.like(z).root).double().square().sum(1)
            yield GroupRows(
                self.rows[rows],
                z,
                labels,
                alpha,
                leverage_factor,
                targets - outputs,
                targets - predictions,
                predictions,
            )


class _Turned:
    """Rows in another basis of the features."""

    def __init__(self, chunks: Chunks, rotation: Tensor) -> None:
        self.chunks, self.rotation = chunks, rotation

    @property
    def shape(self) -> tuple[int, int]:
        return self.chunks.shape

    def __iter__(self) -> Iterator[Chunk]:
        for features, labels, rows in self.chunks:
            yield Chunk(products.times(features.to(self.rotation), self.rotation), labels, rows)


def _times_root(z: Tensor, root: Tensor) -> Tensor:
    """zR, of a root (p, p) or the diagonal (p,) of one."""
    scaled: Tensor = z * root if root.ndim == 1 else products.times(z, root)
    return scaled


def _factor(leverage: Tensor, ridge: float, dtype: torch.dtype) -> Tensor:
    """L of I − leverage (…, m, m) = LLᵀ."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(torch.eye(leverage.shape[-1]).to(leverage) - leverage)
    if failed.any():
        raise ValueError(
            f"leverage of a group must be below 1, got more at ridge {ridge} in {dtype}; use float64 or a larger ridge."
        )
    return factor


def shared_groups(groups: Tensor | None) -> Tensor | None:
    """Groups (n,) with −1 for each row that shares its group with no other; None where no row shares one.

    ``groups`` (n,) are integers; negative ones stand for rows without a group.
    """
    if groups is None:
        return None
    _, inverse, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    single = (counts[inverse] == 1) | (groups < 0)
    return None if single.all() else torch.where(single, -1, inverse)


def undivided_classes(groups: Tensor | None, labels: Tensor) -> list[int]:
    """Classes of two rows and more that lie in one group; none where there are no groups."""
    if groups is None:
        return []
    units = torch.where(groups < 0, int(groups.max()) + 1 + torch.arange(len(groups)), groups)
    pairs = torch.unique(torch.stack([labels, units]), dim=1)[0]
    codes, spread = torch.unique(pairs, return_counts=True)
    rows = torch.bincount(labels)
    return [int(code) for code, count in zip(codes, spread, strict=True) if count == 1 and rows[code] > 1]


def gathered_groups(
    chunks: Chunks, groups: Tensor, weights: Tensor | None = None, entries: int | None = None
) -> Iterator[SmallGroups | LargeGroup]:
    """Groups with their rows.

    Args:
        chunks: n rows as tensors.
        groups: (n,) integers; equal ones are left out together, rows of −1 are not gathered.
        weights: α (n,), or None for ones.
        entries: numbers of rows in memory at a time; None for `ENTRIES`.
    """
    n, p = chunks.shape
    alpha = torch.ones(n, dtype=torch.float64) if weights is None else weights
    lots, huge = lots_of(groups, max(2, (entries or ENTRIES) // max(p, 1)))
    for rows, sizes, features, labels in filled(chunks, lots):
        yield from _packets(rows, sizes, features, labels, alpha[rows.to(alpha.device)].to(features))
    for rows in huge:
        mask = torch.zeros(n, dtype=torch.bool)
        mask[rows] = True
        yield LargeGroup(rows, Subset(chunks, mask), alpha[rows.to(alpha.device)])


def _packets(
    rows: Tensor, sizes: Tensor, features: Tensor, labels: Tensor, alpha: Tensor
) -> Iterator[SmallGroups | LargeGroup]:
    """Groups of one size together, up to `PACKET` rows; larger than p one by one."""
    start = 0
    for size, count in zip(*(column.tolist() for column in torch.unique(sizes, return_counts=True)), strict=True):
        stop = start + size * count
        step = size if size > features.shape[1] else max(1, PACKET // size) * size
        for at, end in pairwise([*range(start, stop, step), stop]):
            part = slice(at, end)
            if size > features.shape[1]:
                inside = InMemory(features[part], labels[part], PACKET)
                yield LargeGroup(rows[part], inside, alpha[part])
            else:
                yield SmallGroups(rows[part], features[part], labels[part], alpha[part], size)
        start = stop
