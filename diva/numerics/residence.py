"""Rows that stay: read and normalised once as far as they fit into memory, and in coordinates of their own where few.

    Zᵀ = QR,    Z ← Rᵀ (n, n)    where n < p

Ridge regression, leverages and the dataset derivative know rows by their inner products ZZᵀ = RᵀR alone, so these rows
have the same α, f, e, h and ∂L/∂α, and what was p×p is n×n. Their heads are of another basis, the columns of Q.
"""

from collections.abc import Iterator
from weakref import WeakSet

import torch
from torch import Tensor

from diva.numerics import cores
from diva.numerics.chunks import Chunk, Chunks
from diva.numerics.normalize import Prepared
from diva.numerics.parallel import Parts
from diva.numerics.precision import RidgeFit, fit_ridge

SHARE = 4  # of the machine's or the card's memory, that all rows which stay may take: a quarter


class Resident:
    """Prepared rows that stay in memory after their first pass; of more than there is room for, the first chunks do."""

    def __init__(self, source: Prepared) -> None:
        self.source, self.device = source, source.device
        self._chunks: list[Chunk] = []

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p)."""
        return self.source.shape

    @property
    def bytes(self) -> int:
        """That all these rows take."""
        return self._bytes(self.shape[0])

    @property
    def staying(self) -> int:
        """Rows that are in memory."""
        return self._chunks[-1].rows.stop if self._chunks else 0

    def __iter__(self) -> Iterator[Chunk]:
        start, passing = self.staying, list(self._chunks)
        yield from passing
        if start == self.shape[0]:
            return
        room = memory(self.device) // SHARE - sum(
            rows._bytes(rows.staying) for rows in _staying if rows.device == self.device and rows is not self
        )
        room -= self._bytes(start)
        if room < self.bytes and not self.source.divisible:
            yield from self.source
            return
        for chunk in self.source.after(start):
            room -= self._bytes(len(chunk.labels))
            if room >= 0:
                passing.append(chunk)
            yield chunk
        self._chunks = passing
        _staying.add(self)

    def _bytes(self, rows: int) -> int:
        return rows * self.shape[1] * self.source.dtype.itemsize


_staying: WeakSet[Resident] = WeakSet()


def memory(device: torch.device) -> int:
    """Bytes of this process's share of the machine, or of the card."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return cores.memory()


class Turned:
    """The rows of chunks in coordinates of their own span: Rᵀ (n, n); ``basis`` is Q (p, n) where it is asked for."""

    def __init__(self, chunks: Chunks, *, with_basis: bool = False) -> None:
        self.parts = list(chunks)
        z = torch.cat([z for z, _, _ in self.parts])
        self.basis, upper = torch.linalg.qr(z.T.double(), mode="reduced" if with_basis else "r")
        self.features: Tensor = upper.T.to(z.dtype).contiguous()

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return len(self.features), len(self.features)

    def __iter__(self) -> Iterator[Chunk]:
        for _, labels, rows in self.parts:
            yield Chunk(self.features[rows], labels, rows)


def turned(fitted: RidgeFit) -> RidgeFit:
    """The same fit in the coordinates of its rows, where there are fewer rows than features; else as it is."""
    if not _fewer_than_features(fitted.chunks):
        return fitted
    return fit_ridge(Turned(fitted.chunks), fitted.classes, fitted.ridge, fitted.weights, groups=fitted.groups)


def in_own_span(chunks: Chunks) -> tuple[Chunks, Tensor | None]:
    """Rows in their own coordinates and Q (p, n), where there are fewer than features; else as they are, and None."""
    if not _fewer_than_features(chunks):
        return chunks, None
    own = Turned(chunks, with_basis=True)
    return own, own.basis


def _fewer_than_features(chunks: Chunks) -> bool:
    return 0 < chunks.shape[0] < chunks.shape[1] and not isinstance(chunks, Parts)
