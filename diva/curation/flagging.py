"""How many labels are wrong, and which: the flag rule `rate`, a function of predictions, labels and scores.

    ε̂    share of labels that disagree with the prediction among the 30 % most confident (at least 50, or all)
    ε̂_a  the same among the 30 % most confident of the n_a predictions of class a

Flagged are those of the ε̂·n highest scores that are also mispredicted; and, of each class a in which the number that
disagrees is significantly above ε̂ (binomial tail, base max(ε̂, .01), level .01 / k), the ε̂_a·n_a highest scores among
the rows predicted a and labelled otherwise: noise that sits in one class.

The rows that fill the 30 % up to 50 count only where they do not owe their errors to doubt: where those mispredicted
among them are significantly less confident than the others (Mann–Whitney, level .01), the 30 % alone are counted.

Two predictors, both leaving one out, can judge: the head, or the nearest class mean where that is right significantly
more often (sign test, level .01), as with two samples a class. No label is called wrong where the one that judges is
near chance (its error within the interval of 95 % of the largest class's), nor where ε̂ is above one half: then either
most labels are wrong, or these features cannot tell. A class of one sample is not judged. Of up to fifty rows ε̂ is the
leave-one-out error: weak features flag right labels then, because nothing sets their errors apart from noise.
"""

import math
from dataclasses import dataclass

import torch
from scipy.special import bdtrc, ndtr
from torch import Tensor

from diva.curation.shares import wilson
from diva.numerics.groups import undivided_classes

CONFIDENT = 0.3  # share of predictions, the most confident, by which a rate is judged
FEWEST = 50  # rows behind the rate of all classes
BASE = 0.01  # the lowest rate that a class is compared with
LEVEL = 0.01  # of significance
INTERVAL = 1.96  # standard errors, two-sided 95 %


@dataclass(frozen=True)
class Predictions:
    """Leave-one-out predictions of n rows: argmax (n,) and top1 − top2 (n,) of the outputs."""

    predicted: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class Flags:
    """Which labels are called wrong.

    Attributes:
        flagged: (n,) booleans.
        rate: ε̂, the estimated share of wrong labels; 0 where nothing is judged.
        message: why no label is called wrong, in words; empty where labels were judged.
    """

    flagged: Tensor
    rate: float
    message: str = ""


def predictions(outputs: Tensor) -> Predictions:
    """Of outputs (m, k)."""
    first, predicted = outputs.max(1)
    second = outputs.scatter(1, predicted[:, None], -torch.inf).amax(1)  # `topk` takes ten times as long
    return Predictions(predicted, (first - second).nan_to_num(posinf=math.inf))


def flag_by_class(
    scores: Tensor, given: Tensor, head: Predictions, means: Predictions, classes: int, groups: Tensor | None = None
) -> Flags:
    """The rule `rate` with its classes.

    Args:
        scores: (n,), high where suspicious.
        given: labels (n,), codes below k.
        head: of the head.
        means: of the nearest class means.
        classes: k.
        groups: (n,) of what is left out together, or None; a class that lies in one group counts nowhere.
    """
    flagged = torch.zeros(len(given), dtype=torch.bool)
    rows = judged_rows(given, classes, groups).nonzero()[:, 0]
    if not len(rows):
        return Flags(flagged, 0.0, "no label is called wrong: every class has one sample, or lies in one group")
    scores, given = scores[rows], given[rows]
    head, means = (Predictions(part.predicted[rows], part.confidence[rows]) for part in (head, means))
    mispredicted = head.predicted != given
    judge = means if more_often_right(means.predicted == given, ~mispredicted) else head
    if message := near_chance(judge.predicted, given, classes):
        return Flags(flagged, 0.0, message)
    disagrees = judge.predicted != given
    rate = error_rate(disagrees, judge.confidence)
    if rate > 0.5:
        return Flags(flagged, 0.0, DOUBTFUL.format(rate))
    suspects = mispredicted & disagrees
    flagged[rows] = (highest(scores, rate) & suspects) | by_class(scores, suspects, disagrees, judge, rate, classes)
    return Flags(flagged, rate)


DOUBTFUL = (
    "no label is called wrong: of the surest predictions {:.0%} disagree with their labels, so either most labels are "
    "wrong or these features cannot tell"
)
CHANCE = (
    "no label is called wrong: predictions err on {:.0%} of the labels, the largest class alone on {:.0%}; these "
    "features cannot tell"
)


def judged_rows(given: Tensor, classes: int, groups: Tensor | None = None) -> Tensor:
    """Where (n,) a row's class has another sample and group: what leaves the only one out cannot predict its label."""
    undivided = torch.tensor(undivided_classes(groups, given), dtype=given.dtype)
    return (torch.bincount(given, minlength=classes)[given] > 1) & ~torch.isin(given, undivided)


def more_often_right(first: Tensor, second: Tensor) -> bool:
    """Whether the first of two predictors (n,) is right significantly more often, by the sign test."""
    return _sign_test(int((first & ~second).sum()), int((second & ~first).sum())) < LEVEL


def _sign_test(more: int, fewer: int) -> float:
    """P(Binomial(more + fewer, ½) ≥ more)."""
    return float(bdtrc(more - 1, more + fewer, 0.5)) if more else 1.0


def near_chance(predicted: Tensor, given: Tensor, classes: int) -> str:
    """Why these predictions judge no label; empty where they err significantly less than the largest class does.

    Significantly: by the interval of their error (Wilson), or in pairs (sign test).
    """
    n, wrong = len(given), predicted != given
    other = given != torch.bincount(given, minlength=classes).argmax()
    error, largest = float(wrong.double().mean()), float(other.double().mean())
    tail = _sign_test(int((other & ~wrong).sum()), int((wrong & ~other).sum()))
    if float(wilson(int(wrong.sum()), n)[1]) < largest or tail < float(ndtr(-INTERVAL)):
        return ""
    return CHANCE.format(error, largest)


def error_rate(disagrees: Tensor, confidence: Tensor) -> float:
    """ε̂ of n rows."""
    n = len(disagrees)
    order = torch.argsort(confidence, descending=True, stable=True)
    share = max(1, round(CONFIDENT * n))
    most = order[: max(share, min(n, FEWEST))]
    errors = disagrees[most]
    doubted = len(most) > share and _less_confident(confidence[most][errors], confidence[most][~errors])
    return float((errors[:share] if doubted else errors).double().mean())


def _less_confident(first: Tensor, second: Tensor) -> bool:
    """Whether values are significantly below others, by Mann and Whitney's test in its normal approximation."""
    m, n = len(first), len(second)
    if not m or not n:
        return False
    below = first[:, None] - second
    larger = float((below > 0).sum()) + 0.5 * float((below == 0).sum())
    return bool(ndtr((larger + 0.5 - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12)) < LEVEL)


def highest(scores: Tensor, rate: float) -> Tensor:
    """Where (n,) the rate·n highest scores are."""
    chosen = torch.zeros(len(scores), dtype=torch.bool)
    chosen[torch.argsort(scores, descending=True, stable=True)[: round(rate * len(scores))]] = True
    return chosen


def by_class(
    scores: Tensor, suspects: Tensor, disagrees: Tensor, judge: Predictions, rate: float, classes: int
) -> Tensor:
    """Where (n,) labels are called wrong because those predicted as one class disagree more than all do."""
    flagged = torch.zeros(len(scores), dtype=torch.bool)
    order = torch.argsort(judge.confidence, descending=True, stable=True)
    counts = torch.bincount(judge.predicted, minlength=classes).tolist()
    groups = torch.split(order[torch.argsort(judge.predicted[order], stable=True)], counts)
    for rows in groups:
        surest = disagrees[rows[: max(1, round(CONFIDENT * len(rows)))]]
        wrong = int(surest.sum())
        if wrong and bdtrc(wrong - 1, len(surest), max(rate, BASE)) < LEVEL / classes:
            candidates = rows[suspects[rows]].sort().values
            candidates = candidates[torch.argsort(scores[candidates], descending=True, stable=True)]
            flagged[candidates[: round(wrong / len(surest) * len(rows))]] = True
    return flagged
