"""Leave-one-out by blocks: each row is predicted by the model trained without any row of its block.

A block is v consecutive rows that must not vouch for each other, such as the variants of one image. With its rows
Z_b (v, p), weights D_b = diag(α_b) and residuals R_b = Y_b − Z_b W:

    G_b = Z_b C Z_bᵀ,   E_b = (I − G_b D_b)⁻¹ R_b,   f_b = Y_b − E_b

and, with U_b = ∂L/∂f_b, the derivative of L(α) = Σ v_i ℓ(f_i, y_i) / Σ v_i in three passes, as in `derivative`:

    P_b = (I − D_b G_b)⁻¹ U_b,   B = Σ_b Z_bᵀ P_b,   S = Σ_b Z_bᵀ D_b E_b P_bᵀ Z_b
    ∂L/∂α_j = ⟨z_jᵀ(CB), r_j⟩ + z_jᵀ(CSC)z_j − ⟨(G_b P_b)_j, e_j⟩

because dR_b = −Z_b C Zᵀ dD R and dG_b = −Z_b C Zᵀ dD Z C Z_bᵀ. Blocks of one row give the ordinary leave-one-out and
its derivative. Nothing is inverted but the symmetric I − D^½ G D^½ (v, v), which also holds where a weight is 0:

    (I − GD)⁻¹ R = R + G D^½ (I − D^½ G D^½)⁻¹ D^½ R,     (I − DG)⁻¹ U = U + D^½ (I − D^½ G D^½)⁻¹ D^½ G U
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diva.numerics import products
from diva.numerics.chunks import Chunk, Chunks
from diva.numerics.derivative import DatasetDerivative
from diva.numerics.losses import Loss, margins
from diva.numerics.products import Workspace
from diva.numerics.ridge import LocalModel, RidgeModel, moments, one_hot, solve, weighted


class Interleaved:
    """Rows of several parts in turns: row i of each part, one after the other, is block i.

    Args:
        parts: chunks of tensors with equal shapes, labels and chunk boundaries: one per variant.
    """

    def __init__(self, parts: Sequence[Chunks]) -> None:
        shapes = sorted({part.shape for part in parts})
        if len(shapes) != 1:
            raise ValueError(f"parts must share one shape (n, p), got {shapes}.")
        self.parts = tuple(parts)

    @property
    def shape(self) -> tuple[int, int]:
        """(n · parts, p)."""
        n, p = self.parts[0].shape
        return n * len(self.parts), p

    def __iter__(self) -> Iterator[Chunk]:
        size = len(self.parts)
        for together in zip(*self.parts, strict=True):
            first = together[0]
            for other in together[1:]:
                if other.rows != first.rows or not torch.equal(other.labels, first.labels):
                    raise ValueError(f"parts must agree in chunks and labels, got rows {first.rows} and {other.rows}.")
            features = torch.stack([chunk.features for chunk in together], 1).flatten(0, 1)
            rows = slice(first.rows.start * size, first.rows.stop * size)
            yield Chunk(features, first.labels.repeat_interleave(size), rows)


@dataclass(frozen=True)
class BlocksOut:
    """Of m blocks of v rows; all float64.

    Attributes:
        gram: G (m, v, v).
        factor: lower Cholesky factors of I − D^½ G D^½ (m, v, v).
        roots: D^½ as (m, v, 1).
        residuals: R (m, v, k).
        loo_residuals: E (m, v, k).
        predictions: f (m·v, k), row by row.
    """

    gram: Tensor
    factor: Tensor
    roots: Tensor
    residuals: Tensor
    loo_residuals: Tensor
    predictions: Tensor

    def transposed(self, gradients: Tensor) -> Tensor:
        """P = (I − DG)⁻¹ U for U (m, v, k)."""
        return gradients + self.roots * torch.cholesky_solve(self.roots * (self.gram @ gradients), self.factor)


def leave_block_out(features: Tensor, labels: Tensor, weights: Tensor, model: RidgeModel, size: int) -> BlocksOut:
    """Leave-block-out quantities of m·v rows of a model trained on all rows with their weights.

    Args:
        features: z (m·v, p).
        labels: (m·v,).
        weights: α (m·v,), those the model was trained with.
        model: in the dtype of ``features``.
        size: v.

    Raises:
        ValueError: if the rows are no whole blocks, or this precision does not resolve a block's leverage.
    """
    if size < 1 or len(features) % size:
        raise ValueError(f"size must divide the rows of every chunk ({len(features)}), got {size}.")
    outputs = products.times(features, model.head).double()
    targets = one_hot(labels, outputs)
    halves = _in_blocks(products.times(features, model.root), size)  # C = RRᵀ, so G = (Z_b R)(Z_b R)ᵀ
    with products.exactly():
        gram = (halves @ halves.mT).double()
    roots = _in_blocks(weights[:, None].double(), size).sqrt()
    factor, failed = torch.linalg.cholesky_ex(torch.eye(size).to(gram) - roots * gram * roots.mT)
    if failed.any():
        raise ValueError(
            f"leverage of a block must be below 1, got more at ridge {model.ridge} in {features.dtype}; "
            "use float64 or a larger ridge."
        )
    residuals = _in_blocks(targets - outputs, size)
    loo_residuals = residuals + gram @ (roots * torch.cholesky_solve(roots * residuals, factor))
    return BlocksOut(gram, factor, roots, residuals, loo_residuals, targets - loo_residuals.flatten(0, 1))


def block_derivative(
    chunks: Chunks,
    classes: int,
    ridge: float,
    loss: Loss,
    *,
    size: int,
    weights: Tensor | None = None,
    importance: Tensor | None = None,
) -> DatasetDerivative:
    """∂L/∂α of every row, each predicted without its block.

    Args:
        chunks: n rows as tensors, whole blocks in every chunk.
        classes: k.
        ridge: λ > 0.
        loss: which samples validate, and how sharply.
        size: v, rows of a block.
        weights: α (n,), or None for ones.
        importance: (n,) at least 0: how often a row validates that the loss lets; None for once each.
    """
    n = chunks.shape[0]
    model = solve(moments(chunks, classes, weights), ridge)
    cross, gram = torch.zeros_like(model.head), torch.zeros_like(model.inverse)
    total, validating, work = 0.0, 0.0, Workspace()
    for z, labels, alpha, out, v in _passes(chunks, model, loss, size, weights, importance):
        pulled = _pulled(out, loss, labels, v, size)
        blocks = _in_blocks(z, size)
        products.add_cross(cross, z, pulled.flatten(0, 1).to(z), work)
        weighted_residuals = _in_blocks(alpha[:, None].double(), size) * out.loo_residuals
        with products.exactly():
            mixed = (weighted_residuals @ pulled.mT).to(z) @ blocks
        products.add_cross(gram, z, mixed.flatten(0, 1), work)
        total += float(v @ loss.values(out.predictions, labels))
        validating += float(v.sum())
    scale = 1 / validating if validating else 0.0
    pull, curvature = scale * (model.inverse @ cross), scale * (model.inverse @ gram @ model.inverse)
    values, margin = (torch.zeros(n, dtype=torch.float64, device=cross.device) for _ in range(2))
    start = 0
    for z, labels, _, out, v in _passes(chunks, model, loss, size, weights, importance):
        rows, start = slice(start, start + len(z)), start + len(z)
        own = out.gram @ _pulled(out, loss, labels, v, size) * out.loo_residuals
        pulled_rows, curved = products.times(z, pull.to(z)), products.times(z, curvature.to(z))
        straight = (pulled_rows * out.residuals.flatten(0, 1)).sum(1) + (curved * z).sum(1)
        values[rows] = straight.double() - scale * own.sum(2).flatten()
        margin[rows] = margins(out.predictions, labels)
    mean = total / validating if validating else float("nan")
    return DatasetDerivative(values.cpu(), mean, validating, margin.cpu(), model)


def _passes(
    chunks: Chunks, model: RidgeModel, loss: Loss, size: int, weights: Tensor | None, importance: Tensor | None
) -> Iterator[tuple[Tensor, Tensor, Tensor, BlocksOut, Tensor]]:
    """Rows, labels, α, what is left out, and v (m,) of every chunk."""
    local = LocalModel(model)
    for (z, labels, rows), alpha in weighted(chunks, weights):
        out = leave_block_out(z, labels, alpha, local.like(z), size)
        v = loss.validates(out.predictions, labels).double()
        yield z, labels, alpha, out, v if importance is None else v * importance[rows].to(v)


def _pulled(out: BlocksOut, loss: Loss, labels: Tensor, v: Tensor, size: int) -> Tensor:
    """P (m, v, k), not yet divided by Σv."""
    return out.transposed(_in_blocks(v[:, None] * loss.gradients(out.predictions, labels), size))


def _in_blocks(rows: Tensor, size: int) -> Tensor:
    """(m·v, c) as (m, v, c)."""
    return rows.reshape(-1, size, rows.shape[1])
