"""Softmax regression by mini-batches, for the two baselines that watch a model being trained.

    p_i = softmax(Wᵀz_i),   ∇ℓ_i = z_i (p_i − y_i)ᵀ        rows centred, to unit norm, with a constant column

The gradient of the cross-entropy is written out: no graph, and the batches are drawn on the CPU by a seed.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from diva.numerics.normalize import unit
from diva.numerics.ridge import one_hot


def rows(features: Tensor, like: Tensor) -> Tensor:
    """Rows z (n, p + 1): centred on the mean of ``like``, unit norm, a column of ones last."""
    z = unit(features - like.mean(0))
    return torch.cat([z, z.new_ones(len(z), 1)], 1)


def errors(z: Tensor, labels: Tensor, head: Tensor) -> Tensor:
    """Differences p − y (m, k)."""
    p = torch.softmax(z @ head, 1)
    return p - one_hot(labels, p)


def minibatches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """One epoch: positions 0..n−1, shuffled, ``batch_size`` at a time."""
    order = torch.randperm(n, generator=generator)
    for start in range(0, n, batch_size):
        yield order[start : start + batch_size]


def check(epochs: int, batch_size: int, lr: float) -> None:
    """The settings of training.

    Raises:
        ValueError: if one is out of range.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if not 0 < lr < float("inf"):
        raise ValueError(f"lr must be positive and finite, got {lr}.")
