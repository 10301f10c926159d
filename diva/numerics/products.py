"""Products of rows, at half the work where the result is symmetric or a factor triangular.

    gram         ZᵀDZ          symmetric                           `syrk` of the rows times √|d|, of either sign apart
    squares      zᵀCz          C = RRᵀ, R upper triangular         ‖zR‖², `trmm`
    quadratics   zᵀMz          M symmetric                         2 ⟨z, zU⟩, U its upper triangle, diagonal halved

On the CPU `blas` does them, which took half the time of a plain product (0.5–0.6 of it at p = 513, 0.5 at 1,281)
and is faster at the narrow ones, too; a blocked version in torch (0.63 of the work) serves CUDA and where scipy is
absent. Products run in the precision of the rows, sums over chunks in float64; TF32 and bfloat16 are never used for
them, whatever torch is set to.

Buffers live as long as a `Workspace`, so that a pass allocates once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from diva.numerics import blas
from diva.numerics.conditions import Conditions

BLOCKS = 4  # column blocks of the fallback: 10/16 of the work


class Workspace:
    """Buffers by name, made once and handed out again; they grow to the largest chunk. And what the pass requires."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        self.conditions = Conditions()

    def take(self, name: str, like: Tensor, rows: int, columns: int) -> Tensor:
        """An uninitialised (rows, columns) tensor of the dtype and on the device of ``like``, contiguous."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < rows * columns or buffer.dtype != like.dtype:
            buffer = self._buffers[name] = like.new_empty(rows * columns)
        return buffer[: rows * columns].view(rows, columns)


@contextmanager
def exactly() -> Iterator[None]:
    """Within, torch multiplies float32 as float32: no TF32 on CUDA, no bfloat16 on the CPU."""
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # torch's stubs
    chosen = [backend.fp32_precision for backend in backends]  # either way of choosing shows here
    if not {"tf32", "bf16"} & set(chosen):
        yield
        return
    _set(backends, ["ieee"] * len(backends))
    try:
        yield
    finally:
        _set(backends, chosen)


def _set(backends: tuple[Any, ...], precisions: list[str]) -> None:
    for backend, precision in zip(backends, precisions, strict=True):
        backend.fp32_precision = precision


def times(rows: Tensor, matrix: Tensor, work: Workspace | None = None, name: str = "") -> Tensor:
    """rows (m, p) @ matrix (p, k) of one dtype; in the buffer ``name`` of ``work`` where one is given."""
    (m, _), k = rows.shape, matrix.shape[1]
    out = rows.new_empty(m, k) if work is None else work.take(name, rows, m, k)
    if blas.serves(rows):
        blas.gemm(rows.contiguous(), matrix.contiguous(), out)
        return out
    with exactly():
        return torch.mm(rows, matrix, out=out)


def add_cross(total: Tensor, rows: Tensor, values: Tensor, work: Workspace) -> None:
    """``total`` (p, k) float64 += rowsᵀ (p, m) @ values (m, k)."""
    total += cross(rows, values, work)


def cross(rows: Tensor, values: Tensor, work: Workspace) -> Tensor:
    """rowsᵀ (p, m) @ values (m, k), in a buffer."""
    out = work.take("cross", rows, rows.shape[1], values.shape[1])
    if blas.serves(rows):
        blas.gemm_transposed(rows.contiguous(), values.contiguous(), out)
    else:
        with exactly():
            torch.mm(rows.T, values, out=out)
    return out


def add_gram(total: Tensor, rows: Tensor, weights: Tensor | None, work: Workspace) -> None:
    """The upper triangle of ``total`` (p, p) float64 += that of `gram`; `mirror` completes the sum."""
    total += gram(rows, weights, work)


def gram(rows: Tensor, weights: Tensor | None, work: Workspace) -> Tensor:
    """The upper triangle (p, p) of rowsᵀ diag(weights) rows, weights (m,) of any sign, in a buffer.

    Rows of weight 0 cost nothing where `blas` serves. What is below the diagonal means nothing.
    """
    out = work.take("gram", rows, rows.shape[1], rows.shape[1])
    if not blas.serves(rows):
        scaled = work.take("scaled", rows, *rows.shape) if weights is not None else rows
        return _blockwise(rows, scaled if weights is None else torch.mul(rows, weights[:, None], out=scaled), out)
    if weights is None:
        parts = [(rows, 1.0)]
    else:
        scale = weights.abs().sqrt()
        parts = [
            (_scaled(rows, scale, chosen, work, str(sign)), sign)
            for sign, chosen in ((1.0, weights > 0), (-1.0, weights < 0))
            if chosen.any()
        ]
    for number, (part, sign) in enumerate(parts):
        blas.syrk(part.contiguous(), out, sign, 1.0 if number else 0.0)
    return out if parts else out.zero_()


def _scaled(rows: Tensor, scale: Tensor, chosen: Tensor, work: Workspace, name: str) -> Tensor:
    """The chosen rows times their scale, in a buffer."""
    count = int(chosen.sum())
    out = work.take("scaled" + name, rows, count, rows.shape[1])
    if count == len(rows):
        return torch.mul(rows, scale[:, None], out=out)
    index = chosen.nonzero()[:, 0]
    return torch.index_select(rows, 0, index, out=out).mul_(scale[index, None])


def _blockwise(rows: Tensor, others: Tensor, out: Tensor) -> Tensor:
    """The upper triangle of ``out`` ← rowsᵀothers."""
    with exactly():
        for block in _blocks(len(out)):
            torch.mm(rows[:, block].T, others[:, block.start :], out=out[block, block.start :])
    return out


def mirror(total: Tensor) -> Tensor:
    """The symmetric matrix of an upper triangle, in place."""
    return total.triu_().add_(total.triu(1).T)


def squares(rows: Tensor, root: Tensor, work: Workspace) -> Tensor:
    """‖z R‖² (m,) of rows (m, p) and an upper triangular ``root`` R (p, p)."""
    turned = work.take("turned", rows, *rows.shape).copy_(rows)
    norms: Tensor = torch.linalg.vector_norm(_trmm(turned, root), dim=1)
    return norms.square_()


def quadratics(rows: Tensor, half: Tensor, work: Workspace) -> Tensor:
    """zᵀMz (m,) of rows (m, p), M given by its `half`."""
    turned = work.take("turned", rows, *rows.shape).copy_(rows)
    return _trmm(turned, half).mul_(rows).sum(1)


def half(symmetric: Tensor) -> Tensor:
    """U (p, p) upper triangular with zᵀMz = ⟨z, zU⟩: twice the upper triangle of M, which is all that is read of it."""
    upper = 2 * symmetric.triu()
    upper.diagonal().copy_(symmetric.diagonal())
    return upper


def _trmm(rows: Tensor, upper: Tensor) -> Tensor:
    """rows ← rows @ upper, in place."""
    if blas.serves(rows):
        blas.trmm(rows, upper.contiguous())
        return rows
    with exactly():
        for block in reversed(_blocks(len(upper))):  # from the right: what is to the left is still as it was
            rows[:, block] = rows[:, : block.stop] @ upper[: block.stop, block]
    return rows


def inverse_root(matrix: Tensor) -> Tensor | None:
    """R (p, p) upper triangular with RRᵀ = matrix⁻¹, by Cholesky; None where ``matrix`` is not positive definite."""
    if blas.serves(matrix):
        root = matrix.clone(memory_format=torch.contiguous_format)
        good = blas.factorise(root) and blas.invert(root)
        root = root.triu_()
    else:
        factor, failed = torch.linalg.cholesky_ex(matrix)
        identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        root = torch.linalg.solve_triangular(factor.T, identity, upper=True).contiguous()
        good = not failed
    return root if good and torch.isfinite(root).all() else None  # OpenBLAS lets NaN pass


def eigenvectors(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (p,), ascending, and eigenvectors (p, p) in columns."""
    if blas.serves(symmetric):  # 0.7 of the time of torch's, at p = 1,280
        values, vectors = blas.eigh(symmetric)
        return values, vectors
    values, vectors = torch.linalg.eigh(symmetric)
    return values, vectors


def outer(root: Tensor) -> Tensor:
    """RRᵀ (p, p) of an upper triangular R."""
    if not blas.serves(root):
        return root @ root.T
    product = root.clone(memory_format=torch.contiguous_format)
    blas.square(product)
    return mirror(product)


def sandwich(outside: Tensor, inside: Tensor, each: Callable[[Callable[[slice], None], list[slice]], Any]) -> Tensor:
    """The upper triangle of CSC (p, p), of symmetric C and S; what is below it means nothing.

    Blocks of columns are independent: ``each`` applies a function to every one (`diva.numerics.threads.side_by_side`).
    """
    out = torch.zeros_like(inside)

    def columns(block: slice) -> None:
        out[: block.stop, block] = outside[: block.stop] @ (inside @ outside[:, block])

    each(columns, _blocks(len(out)))
    return out


def _blocks(p: int) -> list[slice]:
    width = max(1, -(-p // BLOCKS))
    return [slice(start, min(start + width, p)) for start in range(0, p, width)]
