"""Chance: the choice every other one must beat.

uniform            a seeded permutation
balanced_uniform   the same within each class; classes take turns, so that every prefix is as balanced as can be
"""

import torch
from torch import Tensor

from diva.methods.inputs import Labelled


def uniform(data: Labelled, *, seed: int = 0) -> Tensor:
    """Value (n,) of every sample: its place in a seeded permutation, high = take first."""
    return ranks(permutation(len(data), seed))


def balanced_uniform(data: Labelled, *, seed: int = 0) -> Tensor:
    """Value (n,) of every sample: classes take turns, each giving its samples in a seeded order."""
    return ranks(turns(data, seed))


def order(_: Labelled, pool: Labelled, *, seed: int = 0) -> Tensor:
    """Pool positions in a seeded order; the core plays no part."""
    return permutation(len(pool), seed)


def balanced_order(core: Labelled, pool: Labelled, *, seed: int = 0) -> Tensor:
    """Pool positions, each next one from the class that has the fewest in core and choice together."""
    return turns(pool, seed, core.labels.bincount(minlength=core.classes))


def permutation(n: int, seed: int) -> Tensor:
    """0..n−1, shuffled on the CPU, so that no device changes it."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def turns(data: Labelled, seed: int, counts: Tensor | None = None) -> Tensor:
    """Positions in the order of the turns; ``counts`` (k,) is how many of each class there are already.

    The j-th sample of class c, in shuffled order, comes in turn counts_c + j; within a turn the order is random.
    """
    shuffled = permutation(len(data), seed)
    labels = data.labels.cpu()[shuffled]
    turn = torch.empty(len(data), dtype=torch.int64)
    for c in range(data.classes):
        own = labels == c
        turn[own] = torch.arange(int(own.sum())) + (0 if counts is None else int(counts[c]))
    return shuffled[turn.argsort(stable=True)]


def ranks(positions: Tensor) -> Tensor:
    """(n,) float64 values such that sorting them downwards gives ``positions``."""
    values = torch.empty(len(positions), dtype=torch.float64)
    values[positions] = torch.arange(len(positions) - 1, -1, -1, dtype=torch.float64)
    return values
