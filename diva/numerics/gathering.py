"""Rows, and rows of groups, gathered from wherever they lie: lots of whole groups that fit into memory together.

Groups come in the order of their first rows; where they do not overlap, all lots are filled in one pass over the rows.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from diva.numerics.chunks import Chunk, Chunks, InMemory, Subset
from diva.numerics.device import onto

Lot = tuple[Tensor, Tensor]  # rows (m,), group after group, and how many each group has


def lots_of(groups: Tensor, most: int) -> tuple[list[Lot], list[Tensor]]:
    """Groups in lots of at most ``most`` rows, in the order of their first rows, and the rows of each larger group."""
    rows = (groups >= 0).nonzero()[:, 0]
    order = torch.argsort(groups[rows], stable=True)
    rows, codes = rows[order], groups[rows][order]
    sizes = torch.unique_consecutive(codes, return_counts=True)[1]
    starts = sizes.cumsum(0) - sizes
    huge = [rows[start : start + size] for start, size in zip(starts[sizes > most], sizes[sizes > most], strict=True)]
    chosen = torch.argsort(rows[starts], stable=True)
    chosen = chosen[sizes[chosen] <= most]
    lots = []
    while len(chosen):
        count = int(torch.searchsorted(sizes[chosen].cumsum(0), most, right=True))
        lot, chosen = chosen[:count], chosen[count:]
        lot = lot[torch.argsort(sizes[lot], stable=True)]
        lots.append((rows[_ranges(starts[lot], sizes[lot])], sizes[lot]))
    return lots, huge


def _ranges(starts: Tensor, sizes: Tensor) -> Tensor:
    """start, start + 1, … of each range, end to end."""
    before = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    return torch.repeat_interleave(starts, sizes) + torch.arange(len(before)) - before


def filled(chunks: Chunks, lots: Sequence[Lot]) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Each lot with its features and labels; rows are read on where the next lot begins behind the last."""
    waiting, n = deque(lots), chunks.shape[0]
    while waiting:
        filling: FillingLot | None = FillingLot(waiting.popleft(), n)
        for chunk in chunks:
            while filling is not None and filling.take(chunk):
                yield filling.lot()
                follows = waiting and int(waiting[0][0].min()) >= chunk.rows.start
                filling = FillingLot(waiting.popleft(), n) if follows else None
            if filling is None:
                break


class FillingLot:
    """A lot while its rows arrive."""

    def __init__(self, lot: Lot, n: int) -> None:
        self.rows, self.sizes = lot
        self.last, self.begun = int(self.rows.max()), False
        self.where = torch.full((n,), -1)
        self.where[self.rows] = torch.arange(len(self.rows))

    def take(self, chunk: Chunk) -> bool:
        """Put the chunk's rows where they belong; whether these were the last."""
        places = self.where[chunk.rows]
        chosen = (places >= 0).nonzero()[:, 0]
        if len(chosen):
            if not self.begun:
                self.features = chunk.features.new_empty(len(self.rows), chunk.features.shape[1])
                self.labels, self.begun = chunk.labels.new_empty(len(self.rows)), True
            index, chosen = (onto(which, self.features.device) for which in (places[chosen], chosen))
            self.features[index], self.labels[index] = chunk.features[chosen], chunk.labels[chosen]
        return bool(self.last < chunk.rows.stop)

    def lot(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Where its rows stand, the sizes of its groups, features and labels."""
        return self.rows, self.sizes, self.features, self.labels


def gathered(chunks: Chunks) -> InMemory:
    """All rows at once, as one chunk of tensors."""
    parts = list(chunks)
    features, labels = torch.cat([part.features for part in parts]), torch.cat([part.labels for part in parts])
    return InMemory(features, labels, max(1, len(labels)))


def labels_of(chunks: Chunks) -> Tensor:
    """All labels (n,) on the CPU; without a pass where the chunks hold them."""
    if isinstance(chunks, Subset):
        return labels_of(chunks.chunks)[torch.as_tensor(chunks.mask)]
    labels = getattr(chunks, "labels", None)
    if labels is None:
        labels = torch.cat([torch.zeros(0), *(torch.as_tensor(part.labels).cpu() for part in chunks)])
    return torch.as_tensor(labels).cpu().long()
