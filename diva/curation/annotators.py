"""Several annotators: which label their votes and the model agree on, and how good each of them is.

    p_ic ∝ softmax(T* f_i)_c Π_a (q_a where a said c, else (1 − q_a) / (k − 1)),    q_a = mean_i p_{i, what a said}

f are the leave-one-out predictions of the model that was trained on the plurality of the votes: of a sample's own votes
they know nothing, so that the model counts as one more annotator, who knows how sure it is. p and q are found in turns
(expectation and maximisation). The consensus is the likeliest of the labels that somebody gave: the model decides
between people and does not outvote them. Where it thinks all of them wrong, p of the consensus is small.

What is trained on is the consensus: soft labels p brought the ridge head no less error (26.9 % against 26.1 % on
CIFAR-10N); they are there for learners that take them.

Reference: Dawid, Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, 1979, with one
error rate an annotator; the model as a further annotator is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.stats import beta
from torch import Tensor

from diva.numerics.chunks import Chunk, Chunks
from diva.numerics.device import onto
from diva.numerics.grid import choose_ridge
from diva.numerics.leave_one_out import choose_temperature, predictions_and_leverage
from diva.numerics.precision import fit_ridge

START, STEPS, ENOUGH = 0.8, 200, 1e-8  # q before the first turn; turns at most, and the change of q that ends them
LEVEL = 0.95  # of the intervals


@dataclass(frozen=True)
class Consensus:
    """What n samples are, by the votes of A annotators and the model.

    Attributes:
        label: (n,) int64 codes.
        plurality: (n,) int64, the label that most gave; of several the first code.
        probability: p (n, k) float64, the soft labels.
        wrong: (n,) float64, 1 − p of the plurality: high where most were probably wrong.
        quality: q (A,) float64, how often each is right; NaN of who never voted.
        interval: (A, 2) float64, 95 % of q, by Jeffreys' prior, as if annotators erred independently of each other.
        votes: (A,) int64.
        value: (n,) float64, by how much the chance that the likeliest label is right would rise with one more vote.
        temperature: T*.
    """

    label: Tensor
    plurality: Tensor
    probability: Tensor
    wrong: Tensor
    quality: Tensor
    interval: Tensor
    votes: Tensor
    value: Tensor
    temperature: float

    @property
    def next_vote(self) -> Tensor:
        """(n,) positions, those worth another vote most first."""
        return self.value.argsort(descending=True, stable=True)


class Relabelled:
    """The rows of ``chunks`` with other labels (n,)."""

    def __init__(self, chunks: Chunks, labels: Tensor) -> None:
        self.chunks, self.labels = chunks, labels

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p)."""
        return self.chunks.shape

    def __iter__(self) -> Iterator[Chunk]:
        labels = self.labels
        for z, _, rows in self.chunks:
            labels = onto(labels, z.device)
            yield Chunk(z, labels[rows], rows)


def consensus(
    chunks: Chunks, votes: Tensor, classes: int, *, ridge: float | None = None, groups: Tensor | None = None
) -> Consensus:
    """Labels and annotators, by the votes and a model.

    Args:
        chunks: n rows, whose labels play no part.
        votes: (n, A) codes; negative where an annotator gave none.
        classes: k ≥ 2.
        ridge: λ; chosen by leave-one-out error where None.
        groups: (n,) integers; rows of equal ones are left out together.

    Raises:
        ValueError: on votes of another shape, a code beyond k, or a row without any vote.
    """
    _check(votes, chunks.shape[0], classes)
    counts = torch.zeros(len(votes), classes + 1, dtype=torch.int64)
    counts = counts.scatter_add_(1, votes.clamp_min(-1) + 1, torch.ones_like(votes))[:, 1:]
    plurality = counts.argmax(1)
    rows = Relabelled(chunks, plurality)
    if ridge is None:
        fitted = choose_ridge(rows, classes, groups=groups).fit()
    else:
        fitted = fit_ridge(rows, classes, ridge, groups=groups)
    temperature = choose_temperature(fitted)
    prior = torch.log_softmax(temperature * predictions_and_leverage(fitted)[0].double(), 1)
    probability, quality = turns(prior, votes)
    given = (votes >= 0).sum(0)
    right = _chosen(probability, votes).sum(0)
    bounds = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    interval = torch.as_tensor(beta.ppf(bounds, right[:, None] + 0.5, (given - right)[:, None] + 0.5))
    # Of who was always right or always wrong the quantiles exclude q: the interval reaches as far.
    low, high = torch.minimum(interval[:, 0], quality), torch.maximum(interval[:, 1], quality)
    return Consensus(
        probability.masked_fill(counts == 0, -1).argmax(1),
        plurality,
        probability,
        1 - probability.gather(1, plurality[:, None])[:, 0],
        quality.where(given > 0, torch.nan),
        torch.stack([low, high], 1).where(given[:, None] > 0, torch.nan),
        given,
        value_of_a_vote(probability, float((quality * given).sum() / given.sum())),
        temperature,
    )


def turns(prior: Tensor, votes: Tensor) -> tuple[Tensor, Tensor]:
    """p (n, k) and q (A,) in turns, from log-probabilities ``prior`` (n, k) and votes (n, A)."""
    quality = torch.full((votes.shape[1],), START, dtype=torch.float64)
    for _ in range(STEPS):
        probability = posterior(prior, votes, quality)
        before, given = quality, (votes >= 0).sum(0).clamp_min(1)
        quality = _chosen(probability, votes).sum(0) / given
        if (quality - before).abs().max() < ENOUGH:
            break
    return probability, quality


def posterior(prior: Tensor, votes: Tensor, quality: Tensor) -> Tensor:
    """p (n, k): the votes of annotators who are right with ``quality`` (A,), and else say any other label alike.

    Nobody counts as worse than chance here, or as never wrong.
    """
    quality = quality.clamp(1 / prior.shape[1], 1 - 1e-6)
    right, wrong = quality.log(), ((1 - quality) / (prior.shape[1] - 1)).log()
    worth = (right - wrong).expand_as(votes).masked_fill(votes < 0, 0)  # wrong of the others is a constant of the row
    return torch.softmax(prior.scatter_add(1, votes.clamp_min(0), worth), 1)


def value_of_a_vote(probability: Tensor, quality: float) -> Tensor:
    """Σ_v max_c p_c P(v | c) − max_c p_c (n,): of one more vote v by an annotator who is right with ``quality``."""
    best, position = probability.topk(2, 1)
    others = best[:, :1].expand_as(probability).scatter(1, position[:, :1], best[:, 1:])
    wrong = (1 - quality) / (probability.shape[1] - 1)
    return (torch.maximum(quality * probability, wrong * others).sum(1) - best[:, 0]).clamp_min_(0)


def _chosen(probability: Tensor, votes: Tensor) -> Tensor:
    """p of what each annotator said (n, A); 0 where nothing."""
    return probability.gather(1, votes.clamp_min(0)).masked_fill(votes < 0, 0)


def _check(votes: Tensor, n: int, classes: int) -> None:
    if votes.ndim != 2 or len(votes) != n:
        raise ValueError(f"votes must have shape ({n}, annotators), got {tuple(votes.shape)}.")
    if classes < 2 or (n and int(votes.max()) >= classes):
        raise ValueError(f"votes must be codes of at least 2 classes, got {int(votes.max())} of {classes} classes.")
    silent = (votes < 0).all(1).nonzero()[:, 0].tolist()
    if silent:
        raise ValueError(f"votes must hold a label for every row, got none in row {silent[0]}; leave such rows out.")
