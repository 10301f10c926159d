"""Rows that stay: read and normalised once as far as they fit into memory, and in coordinates of their own where few.

    Zᵀ = QR,    Z ← Rᵀ (n, n)    where n < p

Ridge regression, leverages and the dataset derivative know rows by their inner products ZZᵀ = RᵀR alone, so these rows
have the same α, f, e, h and ∂L/∂α, and what was p×p is n×n. Their heads are of another basis, the columns of Q.

Rows stay by the file in which they lie: a core, the members and a training set that share rows read each of them once.
"""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import cached_property
from threading import Lock
from typing import Any, cast
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diva.numerics import cores, passes
from diva.numerics.chunks import Chunk, Chunks, Files, Origin
from diva.numerics.device import onto
from diva.numerics.normalize import Prepared
from diva.numerics.parallel import Parts
from diva.numerics.precision import RidgeFit, fit_ridge

SHARE = 4  # of the machine's or the card's memory, that all rows which stay may take: a quarter
Positions = npt.NDArray[Any]
NOTHING: tuple[Positions, None] = np.empty(0, np.int64), None


class Shelf:
    """Prepared rows of one file that stay: blocks in the order in which they came, and which row stands where.

    Args:
        device: where they lie.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.bytes = device, 0
        self.blocks: list[Tensor] = []
        self.starts = np.zeros(1, np.int64)  # of the blocks among all rows, and their end
        self.slots = np.empty(0, np.int32)  # of each row of the file, −1 of one that is not here

    def where(self, rows: Positions) -> Positions:
        """The slot of each row (m,)."""
        beyond = int(rows.max(initial=-1)) + 1 - len(self.slots)
        if beyond > 0:
            self.slots = np.append(self.slots, np.full(max(beyond, len(self.slots)), -1, np.int32))
        return self.slots[rows]

    def add(self, rows: Positions, features: Tensor) -> None:
        """Keep rows (m, p) that are not here yet."""
        self.slots[rows] = self.starts[-1] + np.arange(len(rows))
        self.starts = np.append(self.starts, self.starts[-1] + len(rows))
        self.blocks.append(features)
        self.bytes += features.numel() * features.element_size()

    def view(self, slots: Positions) -> Tensor | None:
        """Rows that stand one after the other in one block, as they are; None where they do not."""
        number = int(np.searchsorted(self.starts, slots[0], "right")) - 1
        if slots[-1] >= self.starts[number + 1] or (np.diff(slots) != 1).any():
            return None
        first = int(slots[0] - self.starts[number])
        return self.blocks[number][first : first + len(slots)]

    def copy(self, slots: Positions, positions: Positions, out: Tensor) -> None:
        """Put the rows of these slots at their positions in ``out``."""
        blocks = np.searchsorted(self.starts, slots, "right") - 1
        for number in np.unique(blocks):
            here = np.flatnonzero(blocks == number)
            source, to = onto(slots[here] - self.starts[number], out.device), positions[here]
            if to[-1] - to[0] == len(to) - 1:  # positions ascend
                torch.index_select(self.blocks[number], 0, source, out=out[to[0] : to[-1] + 1])
            else:
                out[onto(to, out.device)] = self.blocks[number][source]


_shelves: WeakValueDictionary[Hashable, Shelf] = WeakValueDictionary()
_stays: list[list[Shelf]] = []
_adding = Lock()


@contextmanager
def rows_stay() -> Iterator[None]:
    """Within, rows stay in memory even when no set that they are in is used any more: another may follow."""
    _stays.append(list(_shelves.values()))
    try:
        yield
    finally:
        _stays.pop()


def stay_anew() -> None:
    """Let go of what stays in this process; what comes stays until this is called again (a worker, between stages)."""
    _stays[:] = [[]]


class Resident:
    """Prepared rows that stay in memory after their first pass; of more than there is room for, the first do.

    Within `diva.numerics.passes.together` a pass that several computations begin is made once.
    """

    def __init__(self, source: Prepared) -> None:
        self.source, self.device, self.files = source, source.device, cast(Files, source.chunks)
        self._used: dict[Hashable, Shelf] = {}
        self._whole = False  # whether a pass met all rows in memory, or put them there

    def __reduce__(self) -> tuple[Any, ...]:
        return Resident, (self.source,)  # rows stay where they are

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p)."""
        return self.source.shape

    @property
    def bytes(self) -> int:
        """That all these rows take."""
        return self._bytes(self.shape[0])

    @property
    def labels(self) -> Any:
        """Codes (n,)."""
        return self.files.labels

    def __iter__(self) -> Iterator[Chunk]:
        return passes.joined(self, self._pass)

    def _pass(self) -> Iterator[Chunk]:
        n, size, missed = self.shape[0], self.files.chunk_size, False
        labels = self.files.labels if self.device.type == "cpu" else self._codes
        reading = None if self._whole else self.source.read(self._lacking)
        for start in range(0, n, size):
            part = slice(start, min(start + size, n))
            features = self._features(part, *(NOTHING if reading is None else next(reading)))
            missed |= reading is not None and bool(self._lacking(part).any())
            yield Chunk(features, self.source.codes(labels[part]), part)
        try:
            for _ in reading or ():  # a card says only at the end whether all rows are finite
                pass
        except ValueError:
            for file in self._used:
                _shelves.pop((file, *self.source.settings), None)
            self._used.clear()
            raise
        self._whole = not missed

    @cached_property
    def _codes(self) -> Tensor:
        """All labels on a card."""
        return self.source.codes(self.files.labels)

    def _shelf(self, file: Hashable) -> Shelf:
        if file not in self._used:
            key = file, *self.source.settings
            self._used[file] = _shelves.setdefault(key, Shelf(self.device))
            for shelves in _stays[-1:]:
                shelves.append(self._used[file])
        return self._used[file]

    def _lacking(self, part: slice) -> npt.NDArray[np.bool_]:
        """Which rows of a chunk (m,) are not in memory."""
        lacking = np.empty(part.stop - part.start, bool)
        for file, positions, rows in self.files.origins(part):
            lacking[positions] = self._shelf(file).where(rows) < 0
        return lacking

    def _features(self, part: slice, positions: Positions, fresh: Tensor | None) -> Tensor:
        """The rows of a chunk: those read, which stand at ``positions``, and the others from memory."""
        origins, m = self.files.origins(part), part.stop - part.start
        slots = [self._shelf(origin.file).where(origin.rows) for origin in origins]
        if fresh is not None and len(positions) == m:
            features = fresh
        elif fresh is None and len(origins) == 1 and (view := self._shelf(origins[0].file).view(slots[0])) is not None:
            return view
        else:
            features = torch.empty(m, self.shape[1], dtype=self.source.dtype, device=self.device)
            if fresh is not None:
                features[onto(positions, self.device)] = fresh
            for origin, where in zip(origins, slots, strict=True):
                self._shelf(origin.file).copy(where[where >= 0], origin.positions[where >= 0], features)
        if fresh is not None:
            self._keep(origins, slots, positions, fresh)
        return features

    def _keep(self, origins: list[Origin], slots: list[Positions], positions: Positions, fresh: Tensor) -> None:
        """Rows that were read stay, as many as there is room for."""
        with _adding:
            room = max(0, budget(self.device) - taken(self.device)) // self._bytes(1)
            for origin, where in zip(origins, slots, strict=True):
                rows, first = np.unique(origin.rows[where < 0], return_index=True)
                rows, first = rows[:room], first[:room]
                if len(rows):
                    index = np.searchsorted(positions, origin.positions[where < 0][first])
                    whole = len(index) == len(fresh) and (np.diff(index) == 1).all()
                    block = fresh if whole else fresh[onto(index, self.device)]
                    self._shelf(origin.file).add(rows, block)
                    room -= len(rows)

    def _bytes(self, rows: int) -> int:
        return rows * self.shape[1] * self.source.dtype.itemsize


def taken(device: torch.device) -> int:
    """Bytes of rows that stay on a device."""
    return sum(shelf.bytes for shelf in _shelves.values() if shelf.device == device)


def budget(device: torch.device) -> int:
    """Bytes that rows may take there: what `diva.numerics.cores.MEMORY` says, or a quarter of what there is."""
    granted = cores.granted()
    return memory(device) // SHARE if granted is None else granted


def memory(device: torch.device) -> int:
    """Bytes of this process's share of the machine, or of the card."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
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
