"""The hinge between disk and numerics: a re-iterable of chunks.

A chunk is m rows that travel together: features (m, p), labels (m,) and where they stand among all n rows.
Closed forms only ever iterate, so a list of tensors in a test, one HDF5 file, or several chained in a stage
are the same to them: streaming is an argument, not a second code path.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np


class Chunk(NamedTuple):
    """m consecutive rows.

    Attributes:
        features: (m, p) array or tensor.
        labels: (m,) integer class codes, array or tensor.
        rows: where these rows stand among all n.
    """

    features: Any
    labels: Any
    rows: slice


class Chunks(Protocol):
    """Anything that can be iterated again and again, chunk by chunk, in the same order."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p): rows in all, features per row."""
        ...

    def __iter__(self) -> Iterator[Chunk]: ...


class Origin(NamedTuple):
    """Rows of a chunk that lie in one file: which file, where in the chunk, as positions, and where in the file."""

    file: Hashable
    positions: Any
    rows: Any


class Files(Chunks, Protocol):
    """Chunks that tell where their rows lie, and read some of them by themselves."""

    labels: Any  # (n,)
    chunk_size: int

    def origins(self, rows: slice) -> list[Origin]:
        """Where the rows of a chunk lie."""
        ...

    def read(self, chosen: Callable[[slice], Any]) -> Iterator[Chunk]:
        """Every chunk with all its labels, and the features of the rows that the mask ``chosen(rows)`` says alone."""
        ...


MOST = 16_384  # rows of a chunk on the processor


def chunk_rows(width: int, memory: int, most: int = MOST) -> int:
    """Rows of ``width`` float32 features that, with a buffer of their size, take ``memory`` bytes; 1,024 at least.

    Products are as fast at any size in between (measured at p = 512 and 1,280); what counts is that rows and buffer
    stay near, and that sums of p×p are added seldom.
    """
    return min(most, max(1024, memory // (8 * max(1, width))))


class InMemory:
    """Rows of array-likes that can be sliced: numpy arrays, torch tensors, or h5py data sets (read slice by slice).

    Args:
        features: (n, p).
        labels: (n,) integer class codes.
        chunk_size: rows per chunk.
    """

    def __init__(self, features: Any, labels: Any, chunk_size: int = 8192) -> None:
        if not isinstance(chunk_size, int) or chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}; give a whole number of rows.")
        if features.ndim != 2:
            raise ValueError(f"features must have shape (n, p), got {tuple(features.shape)}.")
        if len(features) != len(labels):
            raise ValueError(f"labels must have one entry per row of features ({len(features)}), got {len(labels)}.")
        self.features, self.labels, self.chunk_size = features, labels, chunk_size

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p)."""
        n, p = self.features.shape
        return int(n), int(p)

    def __iter__(self) -> Iterator[Chunk]:
        n = len(self.labels)
        for start in range(0, n, self.chunk_size):
            rows = slice(start, min(start + self.chunk_size, n))
            yield Chunk(self.features[rows], self.labels[rows], rows)

    def origins(self, rows: slice) -> list[Origin]:
        """One file, which is this."""
        return [Origin(id(self), np.arange(rows.stop - rows.start), np.arange(rows.start, rows.stop))]

    def read(self, chosen: Callable[[slice], Any]) -> Iterator[Chunk]:
        """Some of the rows of each chunk."""
        for features, labels, rows in InMemory.__iter__(self):
            yield Chunk(features[chosen(rows)], labels, rows)


class Chained:
    """Several parts, one after the other, as if they were one; the parts must agree on p."""

    def __init__(self, parts: Sequence[Chunks]) -> None:
        widths = sorted({part.shape[1] for part in parts})
        if len(widths) != 1:
            raise ValueError(f"parts must share one number of features, got {widths}.")
        self.parts = tuple(parts)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p) of the whole."""
        return sum(part.shape[0] for part in self.parts), self.parts[0].shape[1]

    def __iter__(self) -> Iterator[Chunk]:
        offset = 0
        for part in self.parts:
            for features, labels, rows in part:
                yield Chunk(features, labels, slice(rows.start + offset, rows.stop + offset))
            offset += part.shape[0]


class Subset:
    """The rows of ``chunks`` that ``mask`` (n,) selects, renumbered, in the same order."""

    def __init__(self, chunks: Chunks, mask: Any) -> None:
        if len(mask) != chunks.shape[0]:
            raise ValueError(f"mask must have one entry per row ({chunks.shape[0]}), got {len(mask)}.")
        self.chunks, self.mask = chunks, mask

    @property
    def shape(self) -> tuple[int, int]:
        """(rows selected, p)."""
        return int(self.mask.sum()), self.chunks.shape[1]

    def __iter__(self) -> Iterator[Chunk]:
        start = 0
        for features, labels, rows in self.chunks:
            chosen = self.mask[rows]
            stop = start + int(chosen.sum())
            if stop > start:
                yield Chunk(_some(features, chosen), _some(labels, chosen), slice(start, stop))
            start = stop


def _some(column: Any, mask: Any) -> Any:
    """Entries by a mask; of a tensor on a card by positions, because a mask would ask it how many there are."""
    if getattr(column, "is_cuda", False):
        return column[mask.nonzero()[:, 0].pin_memory().to(column.device, non_blocking=True)]
    return column[mask]
