"""Whether rows belong together that nobody named: near relatives, and what they do to the leave-one-out error.

Rows of unit length, less their mean, of unit length again; d_ij = 1 − cos(i, j), t_i the distance of i to its 10th
neighbour. i and j are relatives where

    d_ij < 0.4 min(t_i, t_j)

which asks for no scale: rows far nearer to each other than to what else lies around them. Groups are the connected
components. Left out together, relatives of independent rows are predicted as well as one by one (measured on twelve
sets: the error rises by 0 to 3.5 points); where a wrong label is shared by views of one image it rises by 25 to 50. So
a rise of more than `GAP` says that rows belong together. A pair lies within both rows' nine nearest, so groups of more
than ten rows that are equally near to each other (a long video) can escape.

Distances are taken block by block: memory is one block of rows against one chunk. Up to `EXACT` rows every row is
compared with all; of more, a seeded sample of `SAMPLE`, and the relatives it finds, are compared with all rows, and all
rows with all only where the sample shows a rise.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from diva.numerics import products
from diva.numerics.chunks import Chunks, Subset
from diva.numerics.groups import gathered_groups, shared_groups
from diva.numerics.leave_one_out import leave_one_out
from diva.numerics.ridge import RidgeModel, weighted
from diva.text.progress import track

RATIO = 0.4  # of a pair's distance to its 10th neighbours'
NEIGHBOURS = 10
GAP = 0.05  # rise of the leave-one-out error from which rows belong together
EXACT = 4096  # rows up to which all are compared with all
SAMPLE = 1024  # rows that are compared with all where there are more
SEARCHED = 100_000  # rows up to which all groups are searched where the sample shows a rise
BLOCK = 2048  # rows a side of one product


@dataclass(frozen=True)
class Relatives:
    """What the leave-one-out error says of candidate groups.

    Attributes:
        groups: (n,) candidate groups, −1 for a row by itself; those of the sample where only a sample was compared.
        compared: how many rows were compared with all.
        related: share of the compared rows that have a relative.
        plain: their leave-one-out error, one by one.
        together: their error with relatives left out together.
        changed: how many of them are predicted rightly one by one and wrongly together, or the reverse.
    """

    groups: Tensor
    compared: int
    related: float
    plain: float
    together: float
    changed: int

    @property
    def gap(self) -> float:
        """By how much the error rises."""
        return self.together - self.plain

    @property
    def belong(self) -> bool:
        """Whether rows belong together: the error rises by more than `GAP`, and than chance would raise it."""
        return self.gap > GAP and self.gap * self.compared > 2 * self.changed**0.5


def relatives(chunks: Chunks, model: RidgeModel, weights: Tensor | None = None, *, seed: int = 0) -> Relatives:
    """Candidate groups of rows, and the error of ``model`` with and without them.

    Args:
        chunks: n rows as tensors with the constant column last (`diva.numerics.normalize.Prepared`).
        model: trained on these rows with their weights.
        weights: α (n,), or None for ones.
        seed: of the sample.
    """
    n = chunks.shape[0]
    if n <= EXACT:
        return _compared(chunks, model, weights, candidate_groups(chunks), torch.arange(n))
    sample = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:SAMPLE].sort().values
    sampled = _compared(chunks, model, weights, candidate_groups(chunks, sample), sample)
    if not sampled.belong or n > SEARCHED:
        return sampled
    return _compared(chunks, model, weights, candidate_groups(chunks), torch.arange(n))


def _compared(chunks: Chunks, model: RidgeModel, weights: Tensor | None, groups: Tensor, rows: Tensor) -> Relatives:
    """The errors of ``rows`` (m,), of which only those with a relative differ."""
    n = chunks.shape[0]
    asked = torch.zeros(n, dtype=torch.bool)
    asked[rows] = True
    alpha = torch.ones(n, dtype=torch.float64) if weights is None else weights.cpu().double()
    wrong, changed = torch.zeros(2, dtype=torch.float64), 0
    for bundle in gathered_groups(chunks, groups, alpha):
        for part in bundle.parts(model):
            z, labels = part.features, part.labels
            plain = leave_one_out(z, labels, part.weights.to(z), model.to(z)).predictions
            both = (torch.stack([plain.argmax(1), part.predictions.argmax(1)]) != labels).cpu()[:, asked[part.rows]]
            wrong, changed = wrong + both.sum(1), changed + int((both[0] != both[1]).sum())
    rest = asked & (groups < 0)
    others = 0
    for (z, labels, _), own in weighted(Subset(chunks, rest), alpha[rest]):
        predictions = leave_one_out(z, labels, own, model.to(z)).predictions
        others += int((predictions.argmax(1) != labels).sum())
    count = max(1, len(rows))
    plain_error, together = ((wrong + others) / count).tolist()
    return Relatives(groups, len(rows), 1 - int(rest.sum()) / count, plain_error, together, changed)


def candidate_groups(chunks: Chunks, rows: Tensor | None = None) -> Tensor:
    """Groups (n,) of relatives, −1 for a row by itself; only those of ``rows`` (m,) where these are given."""
    n, centre = chunks.shape[0], _centre(chunks)
    if n < 3:
        return torch.full((n,), -1)
    asked = torch.arange(n) if rows is None else rows
    first, tenth = _near_pairs(chunks, asked, centre, n)
    pairs, distance = first
    unknown = torch.unique(
        pairs[1][tenth[pairs[1]].isnan()]
    )  # relatives of the sample: their own neighbours count, too
    if len(unknown):
        (more, further), others = _near_pairs(chunks, unknown, centre, n)
        tenth = torch.where(others.isnan(), tenth, others)
        pairs, distance = torch.cat([pairs, more], 1), torch.cat([distance, further])
    chosen = distance < RATIO * torch.minimum(tenth[pairs[0]], tenth[pairs[1]])  # not where one is NaN
    first_row, second_row = pairs[:, chosen].numpy()
    graph = scipy.sparse.coo_matrix((np.ones(len(first_row), bool), (first_row, second_row)), shape=(n, n))
    groups = torch.from_numpy(connected_components(graph, directed=False)[1]).long()
    shared = shared_groups(groups)
    return torch.full((n,), -1) if shared is None else shared


def _near_pairs(chunks: Chunks, rows: Tensor, centre: Tensor, n: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Pairs (2, e) within `RATIO` of the first row's 10th distance with their distances (e,); 10th distances (n,)."""
    distance, index = _nearest(chunks, rows, centre)
    tenth = torch.full((n,), torch.nan, dtype=torch.float64)
    tenth[rows] = distance[:, -1]
    near = distance < RATIO * distance[:, -1:]
    pairs = torch.stack([rows[:, None].expand_as(index)[near], index[near]])
    return (pairs, distance[near]), tenth


def _nearest(chunks: Chunks, rows: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (m, 10) float64 of ``rows`` to their nearest others, ascending, and where these stand (m, 10)."""
    n = chunks.shape[0]
    mask, count = torch.zeros(n, dtype=torch.bool), min(NEIGHBOURS, n - 1)
    mask[rows] = True
    distance, index = torch.zeros(len(rows), count, dtype=torch.float64), torch.zeros(len(rows), count).long()
    done = 0
    for where, block in track(_directions(Subset(chunks, mask), centre), len(rows), "rows", lambda part: len(part[1])):
        best = torch.full((len(block), count), torch.inf).to(block)
        index_best = torch.zeros(len(block), count, dtype=torch.int64, device=block.device)
        for there, others in _directions(chunks, centre):
            apart = (1 - products.times(block, others.T.contiguous())).clamp_min_(0)
            own = rows[where].to(block.device)
            inside = (own >= there.start) & (own < there.stop)
            apart[inside.nonzero()[:, 0], own[inside] - there.start] = torch.inf
            nearest, place = apart.topk(min(count, apart.shape[1]), largest=False)
            best, chosen = torch.cat([best, nearest], 1).topk(count, largest=False)
            index_best = torch.cat([index_best, place + there.start], 1).gather(1, chosen)
        distance[done : done + len(block)], index[done : done + len(block)] = best.double().cpu(), index_best.cpu()
        done += len(block)
    return distance, index


def _directions(chunks: Chunks, centre: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Unit rows less their centre, at unit length, without the constant column, block by block."""
    for z, _, rows in chunks:
        for start in range(0, len(z), BLOCK):
            block = _unit(_unit(z[start : start + BLOCK, :-1].float()) - centre.to(z.device))
            yield slice(rows.start + start, rows.start + start + len(block)), block


def _centre(chunks: Chunks) -> Tensor:
    """Mean of the unit rows (p,), float32."""
    total = torch.zeros(chunks.shape[1] - 1, dtype=torch.float64)
    for z, _, _ in chunks:
        total += _unit(z[:, :-1].float()).double().sum(0).cpu()
    return (total / max(1, chunks.shape[0])).float()


def _unit(rows: Tensor) -> Tensor:
    """Rows at unit length; a zero row stays zero."""
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    scaled: Tensor = rows / length.where(length > 0, 1.0)
    return scaled
