"""Which pool samples are candidates of a round, and in which order: the rules of `diva.curation.extend`, row by row."""

import torch
from torch import Tensor

from diva.numerics.losses import Loss


def choose(
    derivative: Tensor, gain: Tensor, margin: Tensor, loss: Loss, *, only_candidates: bool = False
) -> tuple[Tensor, int]:
    """Pool samples in the order the rule takes them, and how many are candidates.

    Candidates come first, but with `trimmed` every hopeless sample, candidate or not, comes last.
    """
    if loss.name == "calibrated":
        candidate = gain < 0
        if loss.trim:
            candidate &= margin > -loss.threshold
        key = _ranks(gain, candidate) + _ranks(margin.abs(), candidate)
    else:
        candidate, key = derivative < 0, derivative
    order = _last(torch.argsort(key, stable=True), ~candidate)
    if loss.name == "trimmed":
        order = _last(order, margin <= -loss.threshold)
    return order[candidate[order]] if only_candidates else order, int(candidate.sum())


def earlier_of_class(labels: Tensor) -> Tensor:
    """How many earlier entries have the same value: 0, 0, 1, 0, 2 for a, b, a, c, a."""
    order = torch.argsort(labels, stable=True)
    ascending = labels[order]
    earlier = torch.empty_like(order)
    earlier[order] = torch.arange(len(order)) - torch.searchsorted(ascending, ascending)
    return earlier


def _last(order: Tensor, late: Tensor) -> Tensor:
    """The same order, but with those that are ``late`` behind all others."""
    return order[torch.argsort(late[order].to(torch.int8), stable=True)]


def _ranks(values: Tensor, among: Tensor) -> Tensor:
    """0, 1, … of the values ``among`` says, ascending; the others rank behind all of them, among themselves."""
    order = _last(torch.argsort(values, stable=True), ~among)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order))
    return ranks
