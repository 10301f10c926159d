"""KNN-Shapley: what each sample is worth to a nearest-neighbour classifier, exactly.

The utility of a set S for one validation sample is the share of right labels among its K nearest in S,

    v(S) = 1/K Σ_{j=1}^{min(K, |S|)} [y_{α_j(S)} = y],        α_j(S) the j-th nearest in S

and with all N samples sorted by distance the Shapley value has a closed form, from the farthest to the nearest:

    s_{α_N} = [y_{α_N} = y] · min(K, N) / (K N)
    s_{α_i} = s_{α_{i+1}} + ([y_{α_i} = y] − [y_{α_{i+1}} = y]) / K · min(K, i) / i

averaged over the validation samples. Without a validation set every sample validates all the others (leave one out):
no split, no seed. Distances are between rows of unit norm; ties go to the first row. High = valuable.

O(n n_val (p + log n)) time, O(n p) memory and blocks of validation rows.

Reference: Jia et al., Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms, VLDB 2019, Theorem 1
(there for N ≥ K).
"""

import torch
from torch import Tensor

from diva.methods.inputs import BLOCK, Labelled
from diva.numerics.normalize import unit
from diva.text.progress import track


def knn_shapley(data: Labelled, *, neighbours: int = 10, validation: Labelled | None = None) -> Tensor:
    """Shapley value (n,) float64 of every sample.

    Args:
        data: n samples.
        neighbours: K.
        validation: samples that validate; None lets each sample validate all others.

    Raises:
        ValueError: on fewer than one neighbour, or fewer than two classes where nothing else validates.
    """
    if validation is None:
        data.require_classes(2)
        return values(data, data, neighbours, leave_one_out=True)
    return values(data, validation, neighbours)


def order(core: Labelled, pool: Labelled, *, neighbours: int = 10) -> Tensor:
    """Pool positions, highest value with the core as validation set first."""
    return (-values(pool, core, neighbours)).argsort(stable=True)


def values(data: Labelled, checks: Labelled, neighbours: int, *, leave_one_out: bool = False) -> Tensor:
    """Mean value (n,) over the validation samples; with ``leave_one_out`` these are the same, each without itself."""
    if neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}.")
    x, n = unit(data.features), len(data)
    total = torch.zeros(n, dtype=torch.float64, device=x.device)
    block = max(1, BLOCK // (2 * n))
    for start in track(range(0, len(checks), block), -(-len(checks) // block), "blocks"):
        rows = slice(start, start + block)
        # Of unit rows the largest product is the nearest; a zero row is as far from all.
        similarity = unit(checks.features[rows]) @ x.T
        if leave_one_out:
            similarity[torch.arange(len(similarity)), torch.arange(start, start + len(similarity))] = torch.inf
        nearest = similarity.argsort(dim=1, descending=True, stable=True)[:, int(leave_one_out) :]
        shapley = closed_form((data.labels[nearest] == checks.labels[rows, None]).double(), neighbours)
        total.index_add_(0, nearest.reshape(-1), shapley.reshape(-1))
    return (total / (len(checks) - int(leave_one_out))).cpu()


def closed_form(matches: Tensor, neighbours: int) -> Tensor:
    """Values s (m, n) of samples sorted by distance, from whether their label matches (m, n)."""
    n = matches.shape[1]
    i = torch.arange(1, n + 1, dtype=matches.dtype, device=matches.device)
    shrink = i.clamp_max(neighbours) / i / neighbours  # min(K, i) / (i K)
    steps = matches.clone()
    steps[:, :-1] -= matches[:, 1:]
    return (steps * shrink).flip(1).cumsum(1).flip(1)
