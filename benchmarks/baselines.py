"""The baselines of the paper's Table 1, each with the classifier it trains itself, tuned on held-out labels.

A softmax regression by mini-batches is the ground: plain, weighed by Active Bias, or by learning to reweight. Learning
rate and epochs are chosen once per level of noise, by the error on a held-out fifth of the labels as they are given
(wrong ones included; nobody sees clean labels). Learning to reweight holds out a fifth as its trusted set; `on all`
trains on everything and trusts that fifth as well.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diva.methods import active_bias, learning_to_reweight
from diva.methods.inputs import Labelled, labelled
from diva.methods.softmax import rows

RATES = (3.0, 10.0, 30.0)
EPOCHS = (30, 100)  # looked at while the longest run goes on: a shorter one is its beginning
BATCH = 32
HELD_OUT = 0.2

Heads = Iterator[Tensor]  # after each epoch
Walk = Callable[[Labelled, Labelled, float, int, int], Heads]


@dataclass(frozen=True)
class Classifier:
    """A head (p + 1, k) over centred unit rows."""

    head: Tensor
    origin: Tensor

    def error(self, x: Tensor, y: Tensor) -> float:
        """In percent."""
        return 100 * float(((rows(x, self.origin) @ self.head).argmax(1) != y).double().mean())


def plain(data: Labelled, _: Labelled, lr: float, epochs: int, seed: int) -> Heads:
    """No weights: Active Bias that never gets past its burn-in."""
    return biased(data, _, lr, epochs, seed, burn_in=epochs)


def biased(data: Labelled, _: Labelled, lr: float, epochs: int, seed: int, burn_in: int = 5) -> Heads:
    """Active Bias, by threshold closeness."""
    watched = data.at(torch.arange(1))  # nobody asks for more than the head
    found = active_bias.after_epochs(data, watched, epochs, min(burn_in, epochs), BATCH, lr, seed)
    return (head for _, _, head in found)


def reweighted(data: Labelled, trusted: Labelled, lr: float, epochs: int, seed: int) -> Heads:
    """Learning to reweight."""
    return (head for _, head in learning_to_reweight.after_epochs(data, trusted, epochs, BATCH, lr, seed))


BASELINES: dict[str, tuple[Walk, bool]] = {  # and whether it trains on all
    "softmax regression": (plain, True),
    "Active Bias (Chang et al.)": (biased, True),
    "learning to reweight (Ren et al.)": (reweighted, False),
    "learning to reweight, on all": (reweighted, True),
}


def tune(x: np.ndarray, y: np.ndarray, classes: int, name: str, seed: int = 0) -> tuple[float, int]:
    """The learning rate and the number of epochs of least error on the held-out fifth."""
    walk, _ = BASELINES[name]
    rest, held = halves(x, y, classes, seed)
    found = {}
    for lr in RATES:
        for epoch, head in enumerate(walk(rest, held, lr, max(EPOCHS), seed), 1):
            if epoch in EPOCHS:
                found[lr, epoch] = Classifier(head, rest.features).error(held.features, held.labels)
    return min(sorted(found), key=lambda pair: found[pair])


def train(x: np.ndarray, y: np.ndarray, classes: int, name: str, setting: tuple[float, int], seed: int) -> Classifier:
    """The classifier at a setting."""
    walk, on_all = BASELINES[name]
    rest, held = halves(x, y, classes, seed)
    data = labelled(torch.as_tensor(x).float(), y, classes) if on_all else rest
    for head in walk(data, held, *setting, seed):
        last = head
    return Classifier(last, data.features)


def halves(x: np.ndarray, y: np.ndarray, classes: int, seed: int) -> tuple[Labelled, Labelled]:
    """Four fifths and the held-out fifth."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    held = order[: round(HELD_OUT * len(y))]
    whole = labelled(torch.as_tensor(x).float(), y, classes)
    return whole.at(order[len(held) :]), whole.at(held)
