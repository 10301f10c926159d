"""Weighted ridge regression on streamed rows.

    W = argmin Σ_i α_i ‖y_i − Wᵀz_i‖² + λ‖W‖²  =  C ZᵀDY,   C = (ZᵀDZ + λI)⁻¹,   D = diag(α)

The two moments, `gram` ZᵀDZ (p, p) and `cross` ZᵀDY (p, k), are sums over rows, so chunks, files, processes and
machines only ever add them up; a batch is added or taken away by its own moments. Rows may be float32; what is
p×p is kept and factorised in float64. The Gram matrix is symmetric and costs half a product (`diva.numerics.products`).

n samples, p features (the constant column included), k classes, m rows in a chunk.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from diva.numerics import products
from diva.numerics.chunks import Chunk, Chunks
from diva.numerics.conditions import Conditions, deferred
from diva.numerics.device import onto
from diva.numerics.parallel import over_parts
from diva.numerics.products import Workspace
from diva.numerics.threads import in_order, single_threaded_libraries

EPSILON = torch.finfo(torch.float64).eps
ACCURACY = 1e-6  # what a solution may be off by, relatively; beyond it `solve` raises
POWER_STEPS = 5


@dataclass(frozen=True)
class Moments:
    """Sums over rows.

    Attributes:
        gram: (p, p) float64.
        cross: (p, k) float64.
        count: of how many rows.
        rounding: by about how much (as a spectral norm) the products' precision may have moved `gram`; what is added
            and what is taken away both count, so that it grows with every change.
    """

    gram: Tensor
    cross: Tensor
    count: int
    rounding: float = 0.0

    def __add__(self, other: "Moments") -> "Moments":
        rounding = self.rounding + other.rounding
        return Moments(self.gram + other.gram, self.cross + other.cross, self.count + other.count, rounding)

    def __sub__(self, other: "Moments") -> "Moments":
        rounding = self.rounding + other.rounding
        return Moments(self.gram - other.gram, self.cross - other.cross, self.count - other.count, rounding)

    def to(self, device: torch.device | str) -> "Moments":
        """The same on another device."""
        return replace(self, gram=self.gram.to(device), cross=self.cross.to(device))


@dataclass(frozen=True)
class RidgeModel:
    """A solved problem.

    Attributes:
        head: W (p, k) float64; predictions are z @ head.
        root: R (p, p) float64, upper triangular, C = RRᵀ.
        ridge: λ.
        condition: of ZᵀDZ + λI, the ratio of its largest to its smallest eigenvalue, estimated.
        residual: ‖ZᵀDY − (ZᵀDZ + λI)W‖ / (‖ZᵀDZ + λI‖ ‖W‖ + ‖ZᵀDY‖), what the solve left over.
        rounding: by about which share the precision of the products with rows may have moved the solution.
    """

    head: Tensor
    root: Tensor
    ridge: float
    condition: float = 1.0
    residual: float = 0.0
    rounding: float = 0.0

    @property
    def accuracy(self) -> dict[str, float]:
        """How well it is solved: condition, residual, rounding."""
        return {"condition": self.condition, "residual": self.residual, "rounding": self.rounding}

    @cached_property
    def inverse(self) -> Tensor:
        """C (p, p), symmetric."""
        return products.outer(self.root)

    def to(self, like: Tensor) -> "RidgeModel":
        """The same model in the dtype and on the device of ``like``, for the products with its rows."""
        if self.head.dtype == like.dtype and self.head.device == like.device:
            return self
        return replace(self, head=self.head.to(like), root=self.root.to(like))


class LocalModel:
    """A model in the precision and on the device of the rows, cast once a pass and not once a chunk."""

    def __init__(self, model: RidgeModel) -> None:
        self.model = self._local = model

    def like(self, rows: Tensor) -> RidgeModel:
        """The model for the products with ``rows``."""
        head = self._local.head
        if head.dtype != rows.dtype or head.device != rows.device:
            self._local = self.model.to(rows)
        return self._local


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
        weights = None if weights is None else onto(weights, z.device)
        yield chunk, z.new_ones(len(z)) if weights is None else weights[chunk.rows].to(z)


def beside(model: RidgeModel, *columns: Tensor | None) -> list[Tensor | None]:
    """What stands for each row, moved to the device of the model, and so of the rows, once a pass."""
    return [None if column is None else onto(column, model.head.device) for column in columns]


def one_hot(labels: Tensor, like: Tensor) -> Tensor:
    """Y (m, k) of labels (m,), in the shape and dtype of ``like``."""
    return torch.zeros_like(like).scatter_(1, labels[:, None], 1)


@over_parts("weights")
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
    unit = 0.0

    def sums(chunk: Chunk, alpha: Tensor, work: Workspace) -> tuple[Tensor, Tensor]:
        z, labels = chunk.features, _within(chunk.labels, classes, work.conditions)
        scaled = z if weights is None else torch.mul(z, alpha[:, None], out=work.take("turned", z, *z.shape))
        # One-hot targets: ZᵀDY is a sum of rows by class, not a matrix product.
        by_class = work.take("sums", z, classes, p).zero_().index_add_(0, labels, scaled)
        return products.gram(z, None if weights is None else alpha, work), by_class

    for part, by_class in in_order(sums, weighted(chunks, weights)):
        gram, cross, unit = gram.to(part.device), cross.to(part.device), torch.finfo(part.dtype).eps / 2
        gram += part
        cross += by_class
    # Rounding errors of the entries are as good as independent: a random matrix of that size has this norm.
    rounding = 2 * unit * float(torch.linalg.norm(products.mirror(gram))) / max(1, p) ** 0.5
    return Moments(gram, cross.T.contiguous(), n, rounding)


def relabelled(sums: Moments, chunks: Chunks, before: Tensor, classes: int) -> Moments:
    """``sums`` after the rows of ``chunks``, which counted with weight 1, have changed labels; `gram` stays.

    Args:
        sums: with the labels as they were.
        chunks: the rows in question, with their new labels.
        before: their labels as they were (n,).
        classes: k.
    """
    cross = torch.zeros(classes, chunks.shape[1], dtype=torch.float64, device=sums.cross.device)
    conditions = Conditions()
    for z, new, rows in chunks:
        before = onto(before, z.device)
        labels, old = (_within(codes.to(new), classes, conditions) for codes in (new, before[rows]))
        cross.index_add_(0, labels, z.double()).index_add_(0, old, z.double(), alpha=-1)
    conditions.settle()
    return replace(sums, cross=sums.cross + cross.T)


def _within(labels: Tensor, classes: int, conditions: Conditions) -> Tensor:
    """The labels, which must lie in 0..k−1; where that shows only later, others do not harm until then."""

    def error() -> ValueError:
        return ValueError(f"labels must lie in 0..{classes - 1}, got {int(labels.min())}..{int(labels.max())}.")

    conditions.require((labels >= 0) & (labels < classes), error)
    return labels.clamp(0, classes - 1) if deferred(labels) else labels


@single_threaded_libraries()  # they spend six times the processor seconds on two threads at p = 513
def solve(moments: Moments, ridge: float) -> RidgeModel:
    """The ridge solution from its moments, by one Cholesky factorisation in float64.

    Raises:
        ValueError: if ``ridge`` is not positive and finite, or float64 does not resolve the solution to `ACCURACY`:
            the Gram matrix is not numerically positive definite with it, too ill-conditioned, or the equations are not
            solved as far as that condition asks.
    """
    if not 0 < ridge < float("inf"):
        raise ValueError(f"ridge must be positive and finite, got {ridge}.")
    shifted = moments.gram.clone()
    shifted.diagonal().add_(ridge)
    root = products.inverse_root(shifted)
    if root is None:
        raise ValueError(
            f"ridge must be large enough to make the Gram matrix positive definite, got {ridge}; "
            "increase it, or check the features for rows of very different size."
        )
    largest = _norm(lambda v: shifted @ v, shifted)
    inverse_norm = _norm(lambda v: root @ (root.T @ v), root)
    condition = largest * inverse_norm
    if not condition * EPSILON <= ACCURACY:
        raise ValueError(
            f"ridge must be large enough for a relative accuracy of {ACCURACY:g}, got {ridge}: the condition number is "
            f"{condition:.1e}; increase it to about {largest * EPSILON / ACCURACY:.1e}, or normalise the features."
        )
    head = root @ (root.T @ moments.cross)
    remainder = moments.cross - shifted @ head
    head += root @ (root.T @ remainder)  # a step of refinement makes up for the inverse
    remainder = moments.cross - shifted @ head
    size = largest * torch.linalg.norm(head) + torch.linalg.norm(moments.cross)
    residual = float(torch.linalg.norm(remainder) / size) if size > 0 else 0.0
    if not condition * residual <= ACCURACY:
        raise ValueError(
            f"ridge must be large enough for a relative accuracy of {ACCURACY:g}, got {ridge}: the residual is "
            f"{residual:.1e}, the condition number {condition:.1e}; check the features for NaN and infinity."
        )
    return RidgeModel(head, root, ridge, condition, residual, moments.rounding * inverse_norm)


def _norm(apply: Callable[[Tensor], Tensor], like: Tensor) -> float:
    """The largest eigenvalue of a symmetric positive map, by a few steps of power iteration: its order of magnitude."""
    vector = torch.randn(len(like), generator=torch.Generator().manual_seed(0), dtype=like.dtype).to(like.device)
    size = torch.zeros((), dtype=like.dtype, device=like.device)
    for _ in range(POWER_STEPS):
        vector = apply(vector / torch.linalg.norm(vector))
        size = torch.linalg.norm(vector)
    return float(size)
