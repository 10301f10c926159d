"""Wrong entries where a sample has several labels, and wrong numbers where it has one.

    entries   score 1 − σ(±T*(f − ½)) of the given entry, high where suspicious; the suggested entry is [f > ½]; flagged
              are those of the ε̂·nq highest scores that are also mispredicted, with ε̂ the share of mispredicted
              entries among the 30 % most confident (largest |f − ½|); no entry is called wrong of a label on which
              the leave-one-out error is not significantly below the share of its rarer value, as in
              `diva.curation.flagging`: these features cannot tell
    numbers   t = e √(1 − h) / σ̂, the studentised leave-one-out residual, σ̂ by the median of |e √(1 − h)|, which wrong
              numbers hardly move; flagged so that of those flagged a share ``false_discoveries`` is right at most, by
              Benjamini and Hochberg on the tails of Student's t with n − Σh − 1 degrees of freedom. That share is kept
              where right numbers deviate normally and alike in all rows: of heavy tails and skewed numbers more of
              those flagged are right

Reference: Benjamini, Hochberg, Controlling the False Discovery Rate, 1995; scores and rate are those of
`diva.curation.detect`, entry by entry.
"""

from dataclasses import dataclass
from numbers import Real

import torch
from scipy.stats import false_discovery_control, t
from torch import Tensor

from diva.curation.flagging import CONFIDENT, highest, near_chance
from diva.numerics.targets import TargetFit, choose_entry_temperature, entry_margins, loo_predictions_of_targets

FALSE_DISCOVERIES = 0.1  # share of those flagged


@dataclass(frozen=True)
class EntrySuspicion:
    """Of n rows and q labels.

    Attributes:
        score: (n, q) float64, high where suspicious.
        margin: (n, q), (2y − 1)(2f − 1).
        flagged: (n, q) booleans.
        suggested: (n, q) booleans.
        rate: ε̂, the estimated share of wrong entries, of the labels that are judged.
        temperature: T*.
        judged: (q,) booleans, where the features tell a label at all.
    """

    score: Tensor
    margin: Tensor
    flagged: Tensor
    suggested: Tensor
    rate: float
    temperature: float
    judged: Tensor


@dataclass(frozen=True)
class NumberSuspicion:
    """Of n rows.

    Attributes:
        score: |t| (n,) float64.
        expected: f (n,), what the others say.
        q_value: (n,), the least share of false discoveries at which each would be flagged, were deviations normal.
        flagged: (n,) booleans.
        deviation: σ̂.
    """

    score: Tensor
    expected: Tensor
    q_value: Tensor
    flagged: Tensor
    deviation: float


def detect_entries(fitted: TargetFit, temperature: float | None = None) -> EntrySuspicion:
    """Which entries of targets of 0 and 1 are probably wrong; T* is chosen by the leave-one-out loss where None."""
    y, f = fitted.targets, loo_predictions_of_targets(fitted).values
    if not ((y == 0) | (y == 1)).all():
        raise ValueError("targets must be 0 or 1 in every entry, got other numbers.")
    return judge_entries(f, y, choose_entry_temperature(f, y, fitted.weights) if temperature is None else temperature)


def judge_entries(f: Tensor, y: Tensor, temperature: float) -> EntrySuspicion:
    """The same of predictions (n, q) by models that did not see the row, and what is given."""
    margin = entry_margins(f, y)
    score = torch.sigmoid(-temperature * margin / 2)
    said, given = (f > 0.5).long(), y.long()
    judged = torch.tensor([not near_chance(*each, 2) for each in zip(said.T, given.T, strict=True)], dtype=torch.bool)
    flagged, rate = torch.zeros_like(y, dtype=torch.bool), 0.0
    if judged.any():
        mispredicted, sizes, scores = (each[:, judged].flatten() for each in (margin < 0, margin.abs(), score))
        confident = sizes.argsort(descending=True, stable=True)[: max(1, round(CONFIDENT * len(sizes)))]
        rate = float(mispredicted[confident].double().mean())
        flagged[:, judged] = (highest(scores, rate) & mispredicted).view(len(y), -1)
    return EntrySuspicion(score, margin, flagged, f > 0.5, rate, temperature, judged)


def detect_numbers(fitted: TargetFit, false_discoveries: float = FALSE_DISCOVERIES) -> NumberSuspicion:
    """Which numbers are probably wrong, of one target; of those flagged that share is right at most, on average.

    That share is promised where right numbers deviate normally from what is expected, by as much in every row.

    Raises:
        ValueError: on several targets, a share outside (0, 1), or no degree of freedom.
    """
    if fitted.targets.shape[1] != 1:
        raise ValueError(f"targets must be one number a row, got {fitted.targets.shape[1]}.")
    predicted = loo_predictions_of_targets(fitted)
    return judge_numbers(predicted.values[:, 0], fitted.targets[:, 0], predicted.leverage, false_discoveries)


def judge_numbers(
    expected: Tensor, y: Tensor, leverage: Tensor, false_discoveries: float = FALSE_DISCOVERIES
) -> NumberSuspicion:
    """The same of predictions (n,) by models that did not see the row; leverages (n,) are 0 of rows that train none."""
    if not (isinstance(false_discoveries, Real) and 0 < false_discoveries < 1):
        raise ValueError(f"false_discoveries must lie in (0, 1), got {false_discoveries!r}.")
    freedom = len(expected) - float(leverage.sum()) - 1
    if not freedom > 0:
        raise ValueError(f"X must have more rows than the model takes up, got {freedom:.1f} degrees of freedom.")
    residuals = (y - expected) * (1 - leverage).sqrt()
    deviation = float(residuals.abs().median()) / float(t.ppf(0.75, freedom))
    score = residuals.abs() / deviation if deviation > 0 else torch.zeros_like(residuals)
    q_value = torch.from_numpy(false_discovery_control(2 * t.sf(score.numpy(), freedom)))
    return NumberSuspicion(score, expected, q_value, q_value <= false_discoveries, deviation)
