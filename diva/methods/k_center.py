"""k-centre: cover the features with as few samples as possible; labels play no part.

    next = argmax_j min_{c chosen} ‖x_j − x_c‖        (farthest first; within a factor 2 of the best radius)

Starts from the sample closest to the mean, or from the samples there are already. Value = place in that order. Ties
go to the first row, so duplicates come last, in the order of the rows. O(n p) per choice, O(n) memory beside the rows.

References: Gonzalez, Clustering to Minimize the Maximum Intercluster Distance, 1985; Sener, Savarese, Active Learning
for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018.
"""

import torch
from torch import Tensor

from diva.methods.inputs import BLOCK, Labelled
from diva.methods.uniform import ranks
from diva.numerics.normalize import unit
from diva.text.progress import track


def k_center(data: Labelled, *, budget: int | None = None, normalize: bool = True) -> Tensor:
    """Value (n,) of every sample, high = take first.

    Args:
        data: n samples.
        budget: how many are chosen one by one; the rest follows by distance to these. None for all.
        normalize: rows to unit norm first.
    """
    x = _rows(data.features, normalize)
    middle = int((x - x.mean(0)).square().sum(1).argmin())
    return ranks(farthest_first(x, torch.full((len(x),), torch.inf).to(x), budget, middle))


def order(core: Labelled, pool: Labelled, *, budget: int | None = None, normalize: bool = True) -> Tensor:
    """Pool positions, farthest from the core and from what was chosen before it first."""
    x, centres = _rows(pool.features, normalize), _rows(core.features, normalize)
    return farthest_first(x, nearest(x, centres), budget)


def farthest_first(x: Tensor, squared: Tensor, budget: int | None, first: int | None = None) -> Tensor:
    """Positions of x (n, p) in the order chosen.

    Args:
        x: rows.
        squared: (n,) squared distance to the nearest centre there is already; infinite where there is none.
        budget: how many are chosen one by one.
        first: where to start; the farthest where None.

    Raises:
        ValueError: if ``budget`` is not in 1..n.
    """
    n = len(x)
    budget = n if budget is None else budget
    if not 1 <= budget <= n:
        raise ValueError(f"budget must lie in 1..{n} (the samples), got {budget}.")
    squared, chosen = squared.clone(), torch.empty(budget, dtype=torch.int64)
    norms = x.square().sum(1)
    for i in track(range(budget), budget, "choices"):
        j = int(squared.argmax()) if first is None or i else first
        chosen[i] = j
        # ‖a − b‖² = ‖a‖² − 2⟨a, b⟩ + ‖b‖²: one product with the rows per choice
        torch.minimum(squared, (norms + norms[j] - 2 * (x @ x[j])).clamp_min_(0), out=squared)
        squared[j] = -1.0  # never again
    rest = squared.cpu()
    rest[chosen] = -torch.inf
    return torch.cat([chosen, rest.argsort(descending=True, stable=True)[: n - budget]])


def nearest(x: Tensor, centres: Tensor) -> Tensor:
    """(n,) squared distance of each row to its nearest centre, in blocks."""
    block = max(1, BLOCK // len(centres))
    parts = [x[start : start + block] for start in range(0, len(x), block)]
    return torch.cat([torch.cdist(part, centres).amin(1).square() for part in parts])


def _rows(features: Tensor, normalize: bool) -> Tensor:
    return unit(features) if normalize else features
