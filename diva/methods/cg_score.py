"""CG-score: how much a sample complicates its class, without training.

    u = x / ‖x‖,   H_ij = ⟨u_i, u_j⟩ (π − arccos ⟨u_i, u_j⟩) / 2π,   H_ii = ½          (two-layer ReLU kernel)

Class c against a draw of the others: its n_c samples have y = +1, min(ratio·n_c, rest) others have y = −1, and

    score_i = yᵀH⁻¹y − y₋ᵢᵀH₋ᵢ⁻¹y₋ᵢ = ((H⁻¹y)_i)² / (H⁻¹)_ii

is what the data complexity loses with sample i; averaged over `repeats` draws. One factorisation serves the class.
With the class in the last n_c rows of H = LLᵀ, only the last block L₂ of L is needed for the denominators:
(H⁻¹)_ii = Σ_j (L₂⁻¹)_ji². It is the squared leave-one-out residual of kernel interpolation times (H⁻¹)_ii.

High = irregular or mislabelled. Finite on every input:
- cosines beyond 1 − 1e-14 count as 1, so that rounding in arccos cannot set duplicates apart (or give NaN);
- a zero row is orthogonal to every other;
- where a pivot of H falls below 1e-10 (duplicates), 1e-8 is added to its diagonal, then 1e-6, … until it factorises.
  Duplicates of one class then score about 0, identical rows of different classes about 1e8: as removal would have it.

Memory: H has at most ``max_rows`` rows. A larger class is split into blocks, each with a draw of its own, and a batch
of small classes holds max_rows² entries at most, of H and of u; so 8 · 7 · max_rows² bytes (0.9 GB at 4,096), or more
only where p > max_rows. Up to 2 · max_rows samples the kernel of all pairs is kept, 4 · max_rows² entries more, where
the draws would compute more than that.

Reference: Nohyun, Choi, Chung, Data Valuation Without Training of a Model, ICLR 2023, Eqs. 3 and 8; the guards, the
blocks and the seeds are ours. The draws are those of the authors' code, so that their scores can be compared.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diva.methods.inputs import Labelled
from diva.numerics.normalize import unit
from diva.text.progress import track

Rows = npt.NDArray[np.int64]
Draw = tuple[Rows, Rows]  # samples of the class, samples of the others
Kernel = Callable[[Tensor], Tensor]  # rows (b, r), −1 where there is none → H (b, r, r)

SAME = 1 - 1e-14  # cosine from which two rows count as one
PIVOT = 1e-10  # squared diagonal entry of L below which H counts as singular
JITTER = 1e-8


def cg_score(data: Labelled, *, ratio: float = 1.0, repeats: int = 10, seed: int = 0, max_rows: int = 4096) -> Tensor:
    """CG-score of every sample (n,) float64, high = irregular or mislabelled.

    Args:
        data: n samples; raw pixels or features of a network; computed on their device, in float64.
        ratio: others drawn per sample of the class.
        repeats: draws that are averaged.
        seed: of the draws.
        max_rows: largest side of H; the bound on memory.

    Raises:
        ValueError: if an option is out of range.
    """
    if not ratio > 0 or not math.isfinite(ratio):
        raise ValueError(f"ratio must be positive and finite, got {ratio}.")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}.")
    if max_rows < 2:
        raise ValueError(f"max_rows must be at least 2, got {max_rows}.")
    random = np.random.RandomState(seed)  # the authors' generator
    total = torch.zeros(len(data), dtype=torch.float64, device=data.features.device)
    source: Kernel | None = None
    for i in track(range(repeats), repeats, "repeats"):
        drawn = list(draws(data, ratio, max_rows, random))
        source = source or choose_kernel(data.features, (repeats - i) * sum(_side(d) ** 2 for d in drawn), max_rows)
        for batch in batches(drawn, data.features.shape[1], max_rows):
            for (own, _), scores in zip(batch, score(source, batch), strict=True):
                rows = torch.from_numpy(own).to(total.device)
                total[rows] += scores
    return (total / repeats).cpu()


def order(
    core: Labelled, pool: Labelled, *, ratio: float = 1.0, repeats: int = 10, seed: int = 0, max_rows: int = 4096
) -> Tensor:
    """Pool positions, the most regular first: lowest CG-score within core and pool together."""
    together = torch.cat([core.features, pool.features]), torch.cat([core.labels, pool.labels])
    data = Labelled(*together, core.classes)
    scores = cg_score(data, ratio=ratio, repeats=repeats, seed=seed, max_rows=max_rows)
    return scores[len(core) :].argsort(stable=True)


def draws(data: Labelled, ratio: float, max_rows: int, random: np.random.RandomState) -> Iterator[Draw]:
    """One draw per class, or per block of a class too large; classes in the order of their first sample."""
    labels = data.labels.cpu().numpy()
    present, first = np.unique(labels, return_index=True)
    members = [np.flatnonzero(labels == c) for c in present[np.argsort(first)]]
    block = max(1, int(max_rows / (1 + ratio)))
    for c, own in enumerate(members):
        rest = np.concatenate([*members[:c], *members[c + 1 :], own[:0]])
        shuffled = own[random.permutation(len(own))]
        for part in np.array_split(shuffled, math.ceil(len(own) / block)):
            wanted = min(int(ratio * len(part)), max_rows - len(part))
            # Sorted, because looking the kernel up row by row is then twice as fast.
            yield np.sort(part), np.sort(rest[random.permutation(len(rest))[:wanted]])


def batches(drawn: list[Draw], width: int, max_rows: int) -> Iterator[list[Draw]]:
    """Draws that are factorised together, padded to the largest: of like size, at most max_rows² entries in H and u."""
    batch: list[Draw] = []
    own = others = smallest = 0
    for draw in sorted(drawn, key=_side):
        own, others = max(own, len(draw[0])), max(others, len(draw[1]))
        entries = (len(batch) + 1) * (own + others) * max(own + others, width)
        if batch and (_side(draw) > 1.1 * smallest or entries > max_rows**2):
            yield batch
            batch, own, others = [], len(draw[0]), len(draw[1])
        smallest = smallest if batch else _side(draw)
        batch.append(draw)
    if batch:
        yield batch


def score(source: Kernel, batch: list[Draw]) -> list[Tensor]:
    """((H⁻¹y)_i)² / (H⁻¹)_ii of each draw's own samples."""
    own, others = (max(len(draw[i]) for draw in batch) for i in range(2))
    rows, y = _padded(batch, own, others)
    h = source(rows)
    factor = factorise(h)
    solution = torch.cholesky_solve(y.to(h)[..., None], factor)[:, others:, 0]
    identity = torch.eye(own).to(h).expand(len(batch), own, own)
    inverse = torch.linalg.solve_triangular(factor[:, others:, others:], identity, upper=False)
    scores = solution.square() / inverse.square().sum(1)
    return [scores[b, : len(draw[0])] for b, draw in enumerate(batch)]


def choose_kernel(features: Tensor, entries: int, max_rows: int) -> Kernel:
    """H of given rows: looked up among all pairs where that is allowed and less work, else computed for each batch."""
    n = len(features)

    def compute(rows: Tensor) -> Tensor:
        rows = rows.to(features.device)
        u = unit(features[rows.clamp_min(0)].double()) * (rows >= 0)[..., None]
        return _half_diagonal(kernel(u, u))

    if n > 2 * max_rows or n**2 > entries:
        return compute
    u = unit(features.double())
    table = u.new_empty(n, n)
    for start in range(0, n, 512):  # in blocks, so that the temporaries stay small
        table[start : start + 512] = kernel(u[start : start + 512], u)

    def look_up(rows: Tensor) -> Tensor:
        rows = rows.to(table.device)
        there = rows >= 0
        h = table[rows.clamp_min(0)[:, :, None], rows.clamp_min(0)[:, None, :]]
        return _half_diagonal(h.mul_(there[:, :, None] & there[:, None, :]))

    return look_up


def kernel(u: Tensor, v: Tensor) -> Tensor:
    """H (…, r, s) between unit rows u (…, r, p) and v (…, s, p), before its diagonal is set."""
    cosine = (u @ v.mT).clamp_(-1, 1)
    cosine.masked_fill_(cosine > SAME, 1.0)
    h: Tensor = cosine.arccos().neg_().add_(torch.pi).mul_(cosine).div_(2 * torch.pi)
    return h


def factorise(h: Tensor) -> Tensor:
    """L (b, r, r); matrices with a pivot below 1e-10 get 1e-8 on their diagonal, then 100 times that, and so on."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(h)
    singular = _singular(factor, failed)
    jitter = JITTER
    while singular.any():
        h[singular] += jitter * torch.eye(h.shape[-1], dtype=h.dtype, device=h.device)
        factor[singular], failed[singular] = torch.linalg.cholesky_ex(h[singular])
        singular = _singular(factor, failed)
        jitter *= 100
    return factor


def _singular(factor: Tensor, failed: Tensor) -> Tensor:
    """Which of b matrices did not factorise, or only just."""
    smallest = factor.diagonal(dim1=1, dim2=2).square().amin(1)
    singular: Tensor = (failed > 0) | ~(smallest >= PIVOT)
    return singular


def _padded(batch: list[Draw], own: int, others: int) -> tuple[Tensor, Tensor]:
    """Rows (b, others + own) with −1 where there is none, and y of the same shape with 0 there."""
    rows = torch.full((len(batch), others + own), -1)
    y = torch.zeros(len(batch), others + own, dtype=torch.float64)
    for b, (mine, rest) in enumerate(batch):
        rows[b, : len(rest)], y[b, : len(rest)] = torch.from_numpy(rest), -1.0
        rows[b, others : others + len(mine)], y[b, others : others + len(mine)] = torch.from_numpy(mine), 1.0
    return rows, y


def _half_diagonal(h: Tensor) -> Tensor:
    h.diagonal(dim1=1, dim2=2).fill_(0.5)
    return h


def _side(draw: Draw) -> int:
    return len(draw[0]) + len(draw[1])
