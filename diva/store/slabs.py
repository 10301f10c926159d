"""Rows of anything that gives slices, such as an HDF5 data set: few reads, and never much more than is asked for."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

GAP = 16  # rows that are cheaper to read along than to skip by a second read


def read_rows(source: Any, rows: npt.NDArray[np.integer[Any]], most: int = 8192) -> npt.NDArray[Any]:
    """``source[rows]``, in the order asked for, of anything (n, p) that gives slices; slabs of at most ``most``."""
    out = np.empty((len(rows), source.shape[1]), dtype=source.dtype)
    order = np.argsort(rows, kind="stable")
    ascending = np.asarray(rows)[order]
    for part in _slabs(ascending, most):
        wanted = ascending[part]
        out[order[part]] = source[int(wanted[0]) : int(wanted[-1]) + 1][wanted - wanted[0]]
    return out


def _slabs(rows: npt.NDArray[np.integer[Any]], most: int) -> Iterator[slice]:
    """Ascending rows cut where a gap is wide or the slab grows beyond ``most``."""
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end] - rows[end - 1] > GAP or rows[end] - rows[start] >= most:
            yield slice(start, end)
            start = end
