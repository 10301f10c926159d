"""Whether rows belong together that nobody named: near relatives, and what they do to the leave-one-out error.

Rows of unit length, less their mean, of unit length again; d_ij = 1 − cos(i, j), t_i the distance of i to its 10th
neighbour. i and j are relatives where

    d_ij < 0.4 min(t_i, t_j)

which asks for no scale: rows far nearer to each other than to what else lies around them. Of rows scattered evenly in q
dimensions the nearest is at 10^(−2/q) of the 10th's distance, so that less than 0.4 is asked below 13 features. Groups
are the connected components, less those that hold more than half of a class.

Left out together, relatives of independent rows are predicted as well as one by one (measured on twelve sets: the error
rises by 0 to 3.5 points); where a wrong label is shared by views of one image it rises by 25 to 50. So a rise of more
than `GAP`, and than chance may bring to few rows, says that rows belong together. A pair lies within both rows' nine
nearest, so groups of more than ten rows that are equally near to each other (a long video) can escape, and sets of
fewer than `FEWEST` rows are not judged.

Distances are taken block by block: memory is one block of rows against one chunk. Up to `EXACT` rows every row is
compared with all; of more, a seeded sample of `SAMPLE`, and the relatives it finds, are compared with all rows, and all
rows with all only where the sample shows a rise and there are at most `SEARCHED`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from diva.numerics import products
from diva.numerics.chunks import Chunks, Subset
from diva.numerics.groups import gathered_groups, shared_groups
from diva.numerics.leave_one_out import leave_one_out
from diva.numerics.normalize import unit
from diva.numerics.precision import RidgeFit
from diva.numerics.ridge import weighted
from diva.text.choices import GroupMode
from diva.text.progress import track

RATIO = 0.4  # of a pair's distance to its 10th neighbours'
NEIGHBOURS = 10
SCATTERED = 0.59  # the same of the nearest's distance, were rows scattered evenly: 0.4 at 13 features
GAP = 0.05  # rise of the leave-one-out error from which rows belong together
CHANCE = 3  # standard errors of that rise that it must exceed as well
FEWEST = 100  # rows below which a 10th neighbour says nothing
EXACT = 4096  # rows up to which all are compared with all
SAMPLE = 1024  # rows that are compared with all where there are more
SEARCHED = 100_000  # rows up to which all groups are searched where the sample shows a rise
BLOCK = 2048  # rows a side of one product


@dataclass(frozen=True)
class Relatives:
    """What the leave-one-out error says of candidate groups.

    Attributes:
        groups: (n,) candidate groups, −1 for a row by itself; those of the sample where only a sample was compared.
        present: how many rows have weight.
        compared: how many of them were compared with all.
        related: share of the compared rows that have a relative.
        plain: their leave-one-out error, one by one.
        together: their error with relatives left out together.
        changed: how many of them are predicted rightly one by one and wrongly together, or the reverse.
    """

    groups: Tensor
    present: int
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
        return self.present >= FEWEST and self.gap > GAP and self.gap * self.compared > CHANCE * self.changed**0.5

    @property
    def complete(self) -> bool:
        """Whether all rows were compared, so that `groups` are all there are."""
        return self.compared == self.present


def group_relatives(
    fitted: RidgeFit, mode: GroupMode, refit: Callable[[Tensor], RidgeFit], *, seed: int = 0
) -> tuple[RidgeFit, Relatives | None]:
    """The fit that rows are judged by: as it is, or with relatives left out together, at the ridge that suits these.

    Args:
        fitted: n rows without groups.
        mode: `auto` asks whether rows belong together, `never` does not, `always` leaves relatives out in any case.
        refit: the fit of the same rows with groups (n,).
        seed: of the sample of many rows.

    Returns:
        The fit, and what was asked; None where nothing was.
    """
    if mode not in get_args(GroupMode):
        raise ValueError(f"group must be one of {', '.join(get_args(GroupMode))}, got {mode!r}; or give groups (n,).")
    if mode == "never":
        return fitted, None
    relation = relatives(fitted, seed=seed, sampled=mode == "auto")
    used = relation.complete and (relation.belong or mode == "always") and bool((relation.groups >= 0).any())
    return (refit(relation.groups) if used else fitted), relation


def relatives(fitted: RidgeFit, *, seed: int = 0, sampled: bool = True) -> Relatives:
    """Candidate groups of rows, and the error of their model with and without them.

    Args:
        fitted: n rows as tensors with the constant column last (`diva.numerics.normalize.Prepared`); rows of weight 0
            are as good as absent.
        seed: of the sample.
        sampled: whether a sample may do where there are many rows.
    """
    n = fitted.chunks.shape[0]
    present = torch.arange(n) if fitted.weights is None else (fitted.weights > 0).nonzero()[:, 0].cpu()
    if sampled and len(present) > EXACT:
        order = torch.randperm(len(present), generator=torch.Generator().manual_seed(seed))
        relation = _compared(fitted, present, order[:SAMPLE].sort().values)
        if not relation.belong or n > SEARCHED:
            return relation
    return _compared(fitted, present, None)


def usable_groups(groups: Tensor, labels: Tensor) -> Tensor:
    """Groups (n,) less those that hold more than half of a class of two rows and more.

    Where classes have fewer than ten rows, their rows lie nearer to each other than to a 10th neighbour, which is of
    another class; without them little would say what the class looks like.
    """
    rows = (groups >= 0).nonzero()[:, 0]
    pairs, counts = torch.unique(torch.stack([groups[rows], labels[rows]]), dim=1, return_counts=True)
    sizes = torch.bincount(labels)[pairs[1]]
    holding = pairs[0][(counts > sizes / 2) & (sizes > 1)]
    return torch.where(torch.isin(groups, holding), -1, groups)


def examples(groups: Tensor, most: int = 3) -> list[list[int]]:
    """Rows of the first few groups, up to four of each."""
    codes = list(dict.fromkeys(groups[groups >= 0].tolist()))[:most]
    return [(groups == code).nonzero()[:4, 0].tolist() for code in codes]


def explanation(relation: Relatives, names: Sequence[str] | None = None) -> str:
    """What was seen, in a sentence with examples; rows are called by ``names`` (n,), or by their numbers."""
    groups = relation.groups[relation.groups >= 0]
    count, largest = len(torch.unique(groups)), int(torch.bincount(groups).max())
    shown = "; ".join(
        " and ".join(str(row) if names is None else names[row] for row in rows) for rows in examples(relation.groups)
    )
    return (
        f"samples belong together: leaving near relatives out together raises the leave-one-out error from "
        f"{100 * relation.plain:.1f} to {100 * relation.together:.1f} % ({relation.compared} samples compared, "
        f"{count} groups of up to {largest}, such as {shown})"
    )


def _compared(fitted: RidgeFit, present: Tensor, chosen: Tensor | None) -> Relatives:
    """The errors of those of the rows ``present`` that are ``chosen``, of all where None."""
    chunks, model, n = fitted.chunks, fitted.model, fitted.chunks.shape[0]
    within = Subset(chunks, torch.isin(torch.arange(n), present)) if len(present) < n else chunks
    groups, labels = torch.full((n,), -1), torch.cat([torch.as_tensor(part).cpu() for _, part, _ in chunks])
    groups[present] = usable_groups(candidate_groups(within, chosen), labels[present])
    asked = torch.zeros(n, dtype=torch.bool)
    asked[present if chosen is None else present[chosen]] = True
    alpha = torch.ones(n, dtype=torch.float64) if fitted.weights is None else fitted.weights.cpu().double()
    wrong, changed = torch.zeros(2, dtype=torch.float64), 0
    for bundle in gathered_groups(chunks, groups, alpha):
        for part in bundle.parts(model):
            plain = leave_one_out(part.features, part.labels, part.weights, model.to(part.features)).predictions
            both = torch.stack([plain.argmax(1), part.predictions.argmax(1)]) != part.labels
            both = both.cpu()[:, asked[part.rows]]
            wrong, changed = wrong + both.sum(1), changed + int((both[0] != both[1]).sum())
    rest, count = asked & (groups < 0), max(1, int(asked.sum()))
    for (z, given, _), own in weighted(Subset(chunks, rest), alpha[rest]):
        wrong += int((leave_one_out(z, given, own, model.to(z)).predictions.argmax(1) != given).sum())
    one_by_one, together = (wrong / count).tolist()
    related = 1 - int(rest.sum()) / count
    return Relatives(groups, len(present), int(asked.sum()), related, one_by_one, together, changed)


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
    # Where the other row's 10th distance was not asked for it is NaN, and nothing is below it.
    chosen = distance < ratio(chunks.shape[1] - 1) * torch.minimum(tenth[pairs[0]], tenth[pairs[1]])
    first_row, second_row = pairs[:, chosen].numpy()
    graph = scipy.sparse.coo_matrix((np.ones(len(first_row), bool), (first_row, second_row)), shape=(n, n))
    groups = torch.from_numpy(connected_components(graph, directed=False)[1]).long()
    shared = shared_groups(groups)
    return torch.full((n,), -1) if shared is None else shared


def ratio(p: int) -> float:
    """The share of both rows' 10th distance below which two rows of p features are relatives; directions have p − 1."""
    return float(min(RATIO, SCATTERED * NEIGHBOURS ** (-2 / max(p - 1, 1))))


def _near_pairs(chunks: Chunks, rows: Tensor, centre: Tensor, n: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Pairs (2, e) within the ratio of the first row's 10th distance with their distances (e,); 10th distances (n,)."""
    distance, index = _nearest(chunks, rows, centre)
    tenth = torch.full((n,), torch.nan, dtype=torch.float64)
    tenth[rows] = distance[:, -1]
    close = distance < ratio(chunks.shape[1] - 1) * distance[:, -1:]
    pairs = torch.stack([rows[:, None].expand_as(index)[close], index[close]])
    return (pairs, distance[close]), tenth


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
            distances = (1 - products.times(block, others.T.contiguous())).clamp_min_(0)
            own = rows[where].to(block.device)
            inside = (own >= there.start) & (own < there.stop)
            distances[inside.nonzero()[:, 0], own[inside] - there.start] = torch.inf
            nearest, positions = distances.topk(min(count, distances.shape[1]), largest=False)
            best, chosen = torch.cat([best, nearest], 1).topk(count, largest=False)
            index_best = torch.cat([index_best, positions + there.start], 1).gather(1, chosen)
        distance[done : done + len(block)], index[done : done + len(block)] = best.double().cpu(), index_best.cpu()
        done += len(block)
    return distance, index


def _directions(chunks: Chunks, centre: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Unit rows less their centre, at unit length, without the constant column, block by block."""
    for z, _, rows in chunks:
        for start in range(0, len(z), BLOCK):
            block = unit(unit(z[start : start + BLOCK, :-1].float()) - centre.to(z.device))
            yield slice(rows.start + start, rows.start + start + len(block)), block


def _centre(chunks: Chunks) -> Tensor:
    """Mean of the unit rows (p,), float32."""
    total = torch.zeros(chunks.shape[1] - 1, dtype=torch.float64)
    for z, _, _ in chunks:
        total = total.to(z.device) + unit(z[:, :-1].float()).double().sum(0)
    return (total / max(1, chunks.shape[0])).float()
