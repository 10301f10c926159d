"""Weighted ridge regression on streamed rows.

    W = argmin Σ_i α_i ‖y_i − Wᵀz_i‖² + λ‖W‖²  =  C ZᵀDY,   C = (ZᵀDZ + λI)⁻¹,   D = diag(α)

The two moments, `gram` ZᵀDZ (p, p) and `cross` ZᵀDY (p, k), are sums over rows, so chunks, files, processes and
machines only ever add them up; a batch is added or taken away by its own moments. Rows may be float32; what is
p×p is kept and factorised in float64.

n samples, p features (the constant column included), k classes, m rows in a chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diva.chunks import Chunk, Chunks


@dataclass(frozen=True)
class Moments:
    """Sums over rows: ``gram`` (p, p) and ``cross`` (p, k), float64, of ``count`` rows."""

    gram: Tensor
    cross: Tensor
    count: int

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.gram + other.gram, self.cross + other.cross, self.count + other.count)

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(self.gram - other.gram, self.cross - other.cross, self.count - other.count)


@dataclass(frozen=True)
class RidgeModel:
    """A solved problem.

    Attributes:
        head: W (p, k) float64; predictions are z @ head.
        inverse: C (p, p) float64, symmetric.
        ridge: λ.
    """

    head: Tensor
    inverse: Tensor
    ridge: float

    def to(self, like: Tensor) -> "RidgeModel":
        """The same model in the dtype and on the device of ``like``, for the products with its rows."""
        return RidgeModel(self.head.to(like), self.inverse.to(like), self.ridge)


def weighted(chunks: Chunks, weights: Tensor | None) -> Iterator[tuple[Chunk, Tensor]]:
    """Chunks of tensors, each with its rows' weights (m,); ``None`` weighs every row 1.

    Raises:
        ValueError: if ``weights`` is not (n,), not finite, or negative somewhere.
    """
    if weights is not None:
        if tuple(weights.shape) != (chunks.shape[0],):
            raise ValueError(f"weights must have shape ({chunks.shape[0]},), got {tuple(weights.shape)}.")
        if not (torch.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError("weights must be finite and at least 0, got NaN, infinity or a negative weight.")
    for chunk in chunks:
        z = chunk.features
        yield chunk, z.new_ones(len(z)) if weights is None else weights[chunk.rows].to(z)


def moments(chunks: Chunks, classes: int, weights: Tensor | None = None) -> Moments:
    """`gram` and `cross` of all rows, in one pass.

    Args:
        chunks: rows (m, p) as tensors, labels in 0..k−1.
        classes: k.
        weights: α (n,), or None for ones.

    Raises:
        ValueError: if a label is outside 0..k−1.
    """
    n, p = chunks.shape
    gram, cross = torch.zeros(p, p, dtype=torch.float64), torch.zeros(classes, p, dtype=torch.float64)
    for (z, labels, _), alpha in weighted(chunks, weights):
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(f"labels must lie in 0..{classes - 1}, got {int(labels.min())}..{int(labels.max())}.")
        gram, cross = gram.to(z.device), cross.to(z.device)
        weighted_rows = z if weights is None else z * alpha[:, None]
        gram += z.T @ weighted_rows
        # One-hot targets: ZᵀDY is a sum of rows by class, not a matrix product.
        cross += z.new_zeros(classes, p).index_add_(0, labels, weighted_rows)
    return Moments(gram, cross.T.contiguous(), n)


def solve(moments: Moments, ridge: float) -> RidgeModel:
    """The ridge solution from its moments, by one Cholesky factorisation in float64.

    Raises:
        ValueError: if ``ridge`` is not positive and finite, or the Gram matrix is not numerically positive definite
            with it.
    """
    if not 0 < ridge < float("inf"):
        raise ValueError(f"ridge must be positive and finite, got {ridge}.")
    identity = torch.eye(len(moments.gram), dtype=torch.float64, device=moments.gram.device)
    factor, failed = torch.linalg.cholesky_ex(moments.gram + ridge * identity)
    if failed:
        raise ValueError(
            f"ridge must be large enough to make the Gram matrix positive definite, got {ridge}; "
            "increase it, or check the features for rows of very different size."
        )
    return RidgeModel(torch.cholesky_solve(moments.cross, factor), torch.cholesky_inverse(factor), ridge)
