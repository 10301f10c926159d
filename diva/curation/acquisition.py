"""Rules for which row of a pool to label next, one after the other: acquisition functions.

    expected_variance   argmax z_jᵀCSCz_j / (1 + z_jᵀCz_j): what labelling j takes from Σ_i u_i z_iᵀCz_i     the default
    margin              largest u = 1 − (p₁ − p₂) of softmax(T* f)
    entropy             largest −Σ p log p
    badge               k-means++ on the gradients (p − ŷ) zᵀ of the head
    k_center            farthest from all that is labelled or chosen
    typiclust           from the largest cluster with fewest labels the most typical row: no label is needed
    uniform             chance

`expected_variance` is greedy and exact: of a pool of more than `MOST` rows those of largest gain stay in memory; once
none of them is as good as the best of the others was, those of largest gain are read anew, and after every `BLOCK`
choices all rows are judged anew by one thin product. Only a row whose gain grew meanwhile could be missed. `badge`,
`k_center` and `typiclust` see a seeded sample of `MOST` rows of a larger pool.

References: expected variance is ours, in the line of A-optimal design; Scheffer et al., Active Hidden Markov Models for
Information Extraction, IDA 2001 (margin); Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient Lower
Bounds, ICLR 2020 (badge); Sener, Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR
2018; Hacohen et al., Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets, ICML 2022 (typiclust).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diva.numerics import products
from diva.numerics.chunks import Chunks, Subset
from diva.numerics.expected_variance import (
    LabelledVariance,
    Outlook,
    outlook,
    probabilities,
    row_variances,
    variances_after,
)
from diva.numerics.gathering import gathered
from diva.numerics.precision import RidgeFit
from diva.numerics.ridge import Moments, RidgeModel

MOST = 8192  # rows of the pool in memory at a time
MOST_CLUSTERS, SMALL, NEIGHBOURS = 500, 5, 20  # of `typiclust`, as in the paper
BLOCK = 128  # choices between two products with a pool that has more


class Pick(NamedTuple):
    """A row of the pool, its gain by the rule, and what the rule's objective is after it (NaN where it has none)."""

    position: int
    gain: float
    expected: float = float("nan")


class Quota:
    """Which of n rows may be chosen: none twice, and at most so many of each class and group.

    Args:
        n: rows.
        limits: codes (n,), of which negative ones have no limit, and how many rows of one code at most.
    """

    def __init__(self, n: int, limits: list[tuple[Tensor, int]]) -> None:
        self.open = torch.ones(n, dtype=torch.bool)
        numbered = [(torch.unique(codes, return_inverse=True)[1].where(codes >= 0, -1), most) for codes, most in limits]
        self.limits = [(codes, most, torch.zeros(n)) for codes, most in numbered]

    def take(self, position: int) -> None:
        """Close the row, and those of a class or group that it makes full."""
        self.open[position] = False
        for codes, most, counts in self.limits:
            if (code := int(codes[position])) >= 0:
                counts[code] += 1
                if counts[code] >= most:
                    self.open &= codes != code


@dataclass(frozen=True)
class Unlabelled:
    """A pool without labels beside what is labelled.

    Attributes:
        core: what is labelled, with its model; None where nothing is.
        pool: n rows.
        temperature: T* of the core.
        seed: where there is chance.
        given: what `judged` says, where labels are not classes.
    """

    core: RidgeFit | None
    pool: Chunks
    temperature: float
    seed: int
    given: tuple[Moments, Outlook] | None = None

    @property
    def model(self) -> RidgeModel:
        """Of the core; ValueError where nothing is labelled."""
        if self.core is None:
            raise ValueError("core must hold labelled rows for a rule that needs a model, got none.")
        return self.core.model

    @cached_property
    def judged(self) -> tuple[Moments, Outlook]:
        """S, and what the core's model says of each row."""
        return self.given or outlook(self.pool, self.model, self.temperature)

    def sample(self) -> tuple[Tensor, Tensor]:
        """Positions (m,), ascending, of at most `MOST` rows, by chance, and these rows (m, p)."""
        order = torch.randperm(self.pool.shape[0], generator=torch.Generator().manual_seed(self.seed))
        positions = order[:MOST].sort().values
        return positions, rows_at(self.pool, positions)


def rows_at(chunks: Chunks, positions: Tensor) -> Tensor:
    """Rows (m, p) at ascending positions (m,)."""
    mask = torch.zeros(chunks.shape[0], dtype=torch.bool)
    mask[positions] = True
    rows: Tensor = gathered(Subset(chunks, mask)).features
    return rows


def expected_variance(data: Unlabelled, quota: Quota, budget: int) -> Iterator[Pick]:
    """The row that takes most from the expected variance, given those before it."""
    variance = LabelledVariance(data.model.inverse, data.judged[0].gram, budget)
    rows = row_variances(data.pool, variance.inverse, variance.pulled)
    since, start = torch.zeros(len(quota.open), dtype=torch.int64), 0  # labels that each row's values hold, and all do
    while quota.open.any():
        gain = rows.gain.masked_fill(~quota.open.to(rows.pull.device), -torch.inf)
        best = gain.topk(min(MOST, int(quota.open.sum()))).indices.sort().values
        others, positions, before = float(gain.index_fill(0, best, -torch.inf).max()), best.cpu(), variance.count
        z = rows_at(data.pool, positions)
        inside = rows.at(best).after(z, variance.directions[:, start:before], since[positions] - start)
        while quota.open[positions].any() and (others == -torch.inf or variance.count - start < BLOCK):
            gain = inside.gain.masked_fill(~quota.open[positions].to(inside.pull.device), -torch.inf)
            j = int(gain.argmax())
            if float(gain[j]) < others:
                break
            direction = variance.label(z[j])
            yield Pick(int(positions[j]), float(gain[j]), variance.value)
            inside = inside.after(z, direction)
        rows.put(best, inside)
        since[positions] = variance.count
        if variance.count == before or variance.count - start >= BLOCK:
            rows = variances_after(data.pool, rows, variance.directions[:, start : variance.count], since - start)
            since, start = since.fill_(variance.count), variance.count


def margin(data: Unlabelled, quota: Quota, _: int) -> Iterator[Pick]:
    """Largest u first."""
    return _in_order(data.judged[1].uncertainty, quota)


def entropy(data: Unlabelled, quota: Quota, _: int) -> Iterator[Pick]:
    """Largest entropy first."""
    return _in_order(data.judged[1].entropy, quota)


def uniform(data: Unlabelled, quota: Quota, _: int) -> Iterator[Pick]:
    """By chance."""
    return _in_order(torch.rand(len(quota.open), generator=torch.Generator().manual_seed(data.seed)), quota)


def badge(data: Unlabelled, quota: Quota, _: int) -> Iterator[Pick]:
    """k-means++ on the gradients a zᵀ, a = p − ŷ: ‖a zᵀ − b xᵀ‖² = ‖a‖²‖z‖² + ‖b‖²‖x‖² − 2⟨a, b⟩⟨z, x⟩."""
    positions, z = data.sample()
    a = probabilities(products.times(z, data.model.head.to(z)), data.temperature)
    a[torch.arange(len(a)), a.argmax(1)] -= 1
    z, generator = z.double(), torch.Generator().manual_seed(data.seed)
    norms = a.square().sum(1) * z.square().sum(1)
    squared = norms.clone()  # the largest gradient first, as in the paper's code
    first = True
    while quota.open[positions].any():
        likely = squared.cpu() * quota.open[positions]
        likely = likely if likely.sum() > 0 else quota.open[positions].double()
        j = int(likely.argmax() if first else torch.multinomial(likely, 1, generator=generator))
        yield Pick(int(positions[j]), float(squared[j]))
        distance = (norms + norms[j] - 2 * (a @ a[j]) * (z @ z[j])).clamp_min_(0)
        squared, first = distance if first else torch.minimum(squared, distance), False


def k_center(data: Unlabelled, quota: Quota, _: int) -> Iterator[Pick]:
    """The row farthest from what is labelled and what was chosen; the first is nearest to the middle of the pool."""
    positions, z = data.sample()
    squared = (z - z.mean(0)).square().sum(1).add_(1).reciprocal_()
    if data.core is not None:
        squared = torch.full_like(squared, torch.inf)
        for chunk in data.core.chunks:
            squared = torch.minimum(squared, torch.cdist(z, chunk.features.to(z)).square_().amin(1))
    first = data.core is None
    while quota.open[positions].any():
        j = int(squared.cpu().masked_fill(~quota.open[positions], -torch.inf).argmax())
        yield Pick(int(positions[j]), float(squared[j]))
        distance = (z - z[j]).square_().sum(1)
        squared, first = distance if first else torch.minimum(squared, distance), False


def typiclust(data: Unlabelled, quota: Quota, budget: int) -> Iterator[Pick]:
    """Clusters, those with fewest labels and most rows first; of each the row whose neighbours are nearest."""
    positions, z = data.sample()
    rows = [] if data.core is None else [chunk.features.to(z) for chunk in data.core.chunks]
    together = torch.cat([z, *rows]).cpu().double()
    count = min(MOST_CLUSTERS, len(together), len(together) - len(z) + budget)
    cluster = torch.from_numpy(clusters(together.numpy(), count, data.seed))
    labels = cluster[len(z) :].bincount(minlength=count)
    typical = torch.zeros(len(z), dtype=torch.float64)
    for c in range(count):
        rows_of = (cluster[: len(z)] == c).nonzero()[:, 0]
        typical[rows_of] = typicality(together[rows_of])
    cluster, sizes = cluster[: len(z)], cluster[: len(z)].bincount(minlength=count)
    while (free := quota.open[positions]).any():
        alive = cluster[free].bincount(minlength=count) > 0
        order = torch.where(
            alive, labels * (len(z) + 1) - torch.where(sizes >= SMALL, sizes, 0), torch.iinfo(torch.int64).max
        )
        c = int(order.argmin())
        j = int(typical.masked_fill(~(free & (cluster == c)), -torch.inf).argmax())
        labels[c] += 1
        yield Pick(int(positions[j]), float(typical[j]))


def clusters(rows: Any, count: int, seed: int) -> Any:
    """Which of ``count`` clusters each row (n, p) belongs to, by k-means."""
    from sklearn.cluster import KMeans, MiniBatchKMeans  # seconds that other rules need not wait

    means = (
        KMeans(count, n_init=1, random_state=seed)
        if count <= 50
        else MiniBatchKMeans(count, n_init=1, batch_size=5000, random_state=seed)
    )
    return means.fit(rows).labels_.astype("int64")


def typicality(rows: Tensor) -> Tensor:
    """1 over the mean distance to the nearest `NEIGHBOURS` of the same cluster (n,); half of a smaller cluster."""
    count = min(NEIGHBOURS, max(1, len(rows) // 2)) + 1
    if len(rows) < 2:
        return torch.zeros(len(rows), dtype=torch.float64)
    nearest = torch.cdist(rows, rows).topk(count, largest=False).values
    return 1 / (nearest.sum(1) / (count - 1)).add_(1e-5)


def _in_order(values: Tensor, quota: Quota) -> Iterator[Pick]:
    for position in values.argsort(descending=True, stable=True).tolist():
        if quota.open[position]:
            yield Pick(position, float(values[position]))


Acquisition = Callable[[Unlabelled, Quota, int], Iterator[Pick]]
RULES: dict[str, Acquisition] = {
    "expected_variance": expected_variance,
    "margin": margin,
    "entropy": entropy,
    "badge": badge,
    "k_center": k_center,
    "typiclust": typiclust,
    "uniform": uniform,
}
