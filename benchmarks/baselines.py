"""The baselines of the paper's Table 1, each with the classifier it trains itself, tuned on held-out labels.

A softmax regression by mini-batches is the ground: plain, weighed by Active Bias, or by learning to reweight. Learning
rate and epochs are chosen once per level of noise, by the error on a held-out fifth of the labels as they are given
(wrong ones included; nobody sees clean labels). Learning to reweight holds out a fifth as its trusted set; `on all`
trains on everything and trusts that fifth as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from diva.methods import active_bias, learning_to_reweight
from diva.methods.inputs import Labelled, labelled
from diva.methods.softmax import rows

GRID = tuple(product((3.0, 10.0, 30.0), (30, 100)))  # learning rate, epochs
BATCH = 32
HELD_OUT = 0.2

Fit = Callable[[Labelled, Labelled, float, int, int], Tensor]


@dataclass(frozen=True)
class Classifier:
    """A head (p + 1, k) over centred unit rows."""

    head: Tensor
    origin: Tensor

    def error(self, x: Tensor, y: Tensor) -> float:
        """In percent."""
        return 100 * float(((rows(x, self.origin) @ self.head).argmax(1) != y).double().mean())


def plain(data: Labelled, _: Labelled, lr: float, epochs: int, seed: int) -> Tensor:
    """No weights: Active Bias that never gets past its burn-in."""
    return active_bias.fit(data, data, epochs, epochs, BATCH, lr, seed)[2]


def biased(data: Labelled, _: Labelled, lr: float, epochs: int, seed: int) -> Tensor:
    """Active Bias, by threshold closeness."""
    return active_bias.fit(data, data, epochs, min(5, epochs), BATCH, lr, seed)[2]


def reweighted(data: Labelled, trusted: Labelled, lr: float, epochs: int, seed: int) -> Tensor:
    """Learning to reweight."""
    return learning_to_reweight.fit(data, trusted, epochs, BATCH, lr, seed)[1]


BASELINES: dict[str, tuple[Fit, bool]] = {  # and whether it trains on all
    "softmax regression": (plain, True),
    "Active Bias (Chang et al.)": (biased, True),
    "learning to reweight (Ren et al.)": (reweighted, False),
    "learning to reweight, on all": (reweighted, True),
}


def tune(x: np.ndarray, y: np.ndarray, classes: int, name: str, seed: int = 0) -> tuple[float, int]:
    """The learning rate and the number of epochs of least error on the held-out fifth."""
    fit, _ = BASELINES[name]
    rest, held = halves(x, y, classes, seed)
    found = {}
    for lr, epochs in GRID:
        head = Classifier(fit(rest, held, lr, epochs, seed), rest.features)
        found[lr, epochs] = head.error(held.features, held.labels)
    return min(found, key=lambda pair: found[pair])


def train(x: np.ndarray, y: np.ndarray, classes: int, name: str, setting: tuple[float, int], seed: int) -> Classifier:
    """The classifier at a setting."""
    fit, on_all = BASELINES[name]
    rest, held = halves(x, y, classes, seed)
    data = labelled(torch.as_tensor(x).float(), y, classes) if on_all else rest
    return Classifier(fit(data, held, *setting, seed), data.features)


def halves(x: np.ndarray, y: np.ndarray, classes: int, seed: int) -> tuple[Labelled, Labelled]:
    """Four fifths and the held-out fifth."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    held = order[: round(HELD_OUT * len(y))]
    whole = labelled(torch.as_tensor(x).float(), y, classes)
    return whole.at(order[len(held) :]), whole.at(held)
