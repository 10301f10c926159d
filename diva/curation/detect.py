"""Detect: which labels are probably wrong.

All scores come from one fit and its leave-one-out predictions f; high means suspicious:

    soft         1 − softmax(T*·f)_y          the default
    margin       −m
    derivative   ∂L/∂α with the loss `all`    the paper's

The suggested label is argmax f. A second round drops m ≤ −τ, refits and scores again (best on heavy human noise).
A score ranks; a rule decides how many to flag:

    rate         ε̂ = share of label disagreement among the 30 % most confident predictions (largest top1 − top2);
                 flag those of the ε̂·n highest scores that are also mispredicted; by class, too, and no label where the
                 features cannot tell (`diva.curation.flagging`)                                     the default
    margin       m ≤ −τ
    derivative   ∂L/∂α > 0, the paper's ε = 0: flags hard, correct samples too; never remove by it

Reference: Dukler et al., ICLR 2022, Sec. 5.3 (derivative); soft, rate and the second round are ours.
"""

from dataclasses import dataclass
from functools import partial
from typing import get_args

import torch
from torch import Tensor

from diva.curation.flagging import Predictions, flag_by_class, judged_rows, predictions
from diva.numerics.class_means import class_means, similarities
from diva.numerics.derivative import SecondPass, second_pass, third_pass
from diva.numerics.leave_one_out import all_rows, temperature_and_leverage, with_leverage_factors
from diva.numerics.losses import THRESHOLD, Loss, margins
from diva.numerics.passes import together
from diva.numerics.precision import RidgeFit
from diva.numerics.ridge import RidgeModel
from diva.text.choices import Rule, Score

CONFIDENT = 0.3  # share of rows, the most confident, by which the rate of wrong labels is judged
TELLING = 7  # errors of the head from which the sign test can prefer another predictor


@dataclass(frozen=True)
class Judgement:
    """What the leave-one-out predictions say of n rows.

    Attributes:
        margin: m (n,).
        soft: 1 − softmax(T*·f)_y (n,).
        confidence: top1 − top2 of f (n,).
        predicted: argmax f (n,), the suggested label.
        given: y (n,).
    """

    margin: Tensor
    soft: Tensor
    confidence: Tensor
    predicted: Tensor
    given: Tensor

    @property
    def mispredicted(self) -> Tensor:
        """Where the suggested label is not the given one (n,)."""
        return self.predicted != self.given

    @property
    def seen(self) -> Predictions:
        """Prediction and confidence."""
        return Predictions(self.predicted, self.confidence)


@dataclass(frozen=True)
class Suspicion:
    """Scores and flags of n rows.

    Attributes:
        score: (n,) float64, high where suspicious.
        margin: m (n,).
        derivative: ∂L/∂α (n,) with the loss `all`; NaN where neither score nor rule asked for it.
        flagged: (n,) booleans.
        suggested: (n,) class codes.
        rate: ε̂, the estimated share of wrong labels.
        temperature: T*.
        model: of these rows; of those that stay for the second round, where there was one.
        message: why no label is called wrong, where the features cannot tell; else empty.
    """

    score: Tensor
    margin: Tensor
    derivative: Tensor
    flagged: Tensor
    suggested: Tensor
    rate: float
    temperature: float
    model: RidgeModel
    message: str = ""


def judge(fitted: RidgeFit, temperature: float) -> Judgement:
    """One pass over the leave-one-out predictions; rows of weight 0 are judged by their plain prediction."""
    parts: list[tuple[Tensor, ...]] = []
    order: list[Tensor] = []
    for (_, labels, rows), _, loo in all_rows(fitted):
        f = loo.predictions.double()
        soft = 1 - torch.softmax(temperature * f, 1).gather(1, labels[:, None])[:, 0]
        seen = predictions(f)
        parts.append((margins(f, labels), soft, seen.confidence, seen.predicted, labels))
        order.append(torch.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows)
    back = torch.argsort(torch.cat(order))
    return Judgement(*(torch.cat(column).cpu()[back] for column in zip(*parts, strict=True)))


def detect(
    fitted: RidgeFit,
    *,
    score: Score | Tensor = "soft",
    rule: Rule = "rate",
    by_class: bool = True,
    second_round: bool = False,
    temperature: float | None = None,
    with_derivative: bool = False,
) -> Suspicion:
    """Scores, flags and suggested labels of every row.

    Args:
        fitted: n rows of weight 1 with their model (`diva.numerics.precision.fit_ridge`); k is at least 2.
        score: `soft`, `margin` or `derivative`; or scores (n,) of another method, high where suspicious.
        rule: `rate`, `margin` or `derivative`.
        by_class: whether `rate` also judges class by class, and no label where the features cannot tell.
        second_round: refit without the rows of m ≤ −τ and score again.
        temperature: T*; chosen by the leave-one-out predictions where None.
        with_derivative: compute the derivative even where neither score nor rule needs it.

    Raises:
        ValueError: on an unknown score or rule, scores of another length, or fewer than two classes.
    """
    _check(fitted, score, rule)
    wanted = with_derivative or "derivative" in (rule, score if isinstance(score, str) else "")
    fitted, temperature = with_temperature(fitted, None if second_round else temperature)
    unweighted, (judgement, seen) = fitted, looked_at(fitted, temperature, wanted and not second_round)
    if second_round:
        stay = (judgement.margin > -THRESHOLD).double()
        fitted, temperature = with_temperature(fitted.reweighted(stay), None)
        judgement, seen = looked_at(fitted, temperature, wanted)
    by_class_too = rule == "rate" and by_class
    ask = partial(second_opinion, unweighted, judgement) if by_class_too else lambda: judgement.seen
    derivative, opinion = together([partial(_derivative, fitted, seen), ask])
    by_name = {"soft": judgement.soft, "margin": -judgement.margin, "derivative": derivative}
    scores = score.cpu().double() if isinstance(score, Tensor) else by_name[score]
    rate, message = error_rate(judgement), ""
    if by_class_too:
        flags = flag_by_class(scores, judgement.given, judgement.seen, opinion, fitted.classes, fitted.groups)
        flagged, rate, message = flags.flagged, flags.rate, flags.message
    else:
        flagged = flag(rule, scores, judgement, derivative, rate)
    if by_class:
        flagged &= judged_rows(judgement.given, fitted.classes, fitted.groups)
    columns = judgement.margin, derivative, flagged, judgement.predicted
    return Suspicion(scores, *columns, rate, temperature, fitted.model, message)


def _check(fitted: RidgeFit, score: Score | Tensor, rule: Rule) -> None:
    n = fitted.chunks.shape[0]
    if isinstance(score, str) and score not in get_args(Score):
        raise ValueError(f"score must be one of {', '.join(get_args(Score))}, got {score!r}.")
    if isinstance(score, Tensor) and tuple(score.shape) != (n,):
        raise ValueError(f"score must have one value per row ({n},), got {tuple(score.shape)}.")
    if rule not in get_args(Rule):
        raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}, got {rule!r}.")
    if fitted.classes < 2:
        raise ValueError(f"classes must be at least 2, got {fitted.classes}.")


def with_temperature(fitted: RidgeFit, temperature: float | None) -> tuple[RidgeFit, float]:
    """The fit with its leverages, and T*, chosen where None."""
    if temperature is None:
        temperature, fitted = temperature_and_leverage(fitted)
    return fitted if fitted.leverage_factor is not None else with_leverage_factors(fitted), temperature


def looked_at(fitted: RidgeFit, temperature: float, with_derivative: bool) -> tuple[Judgement, SecondPass | None]:
    """What is said of the rows, and in the same pass the second of the derivative."""
    second = [partial(second_pass, fitted, Loss("all"))] if with_derivative else []
    judgement, *seen = together([partial(judge, fitted, temperature), *second])
    return judgement, seen[0] if seen else None


def _derivative(fitted: RidgeFit, seen: SecondPass | None) -> Tensor:
    """∂L/∂α (n,); NaN where the second pass was not made."""
    if seen is None:
        return torch.full((fitted.chunks.shape[0],), torch.nan, dtype=torch.float64)
    return third_pass(fitted, *seen).values


def second_opinion(fitted: RidgeFit, judgement: Judgement) -> Predictions:
    """What the nearest class means predict, leaving one out.

    The head's own predictions stand where it hardly errs, and where rows of a group vouch for each other's means.
    """
    if int(judgement.mispredicted.sum()) < TELLING or fitted.groups is not None:
        return judgement.seen
    means = class_means(fitted.moments.cross, judgement.given.to(fitted.moments.cross.device))
    parts = [predictions(similarities(z, labels, means)) for z, labels, _ in fitted.chunks]
    return Predictions(
        torch.cat([part.predicted for part in parts]).cpu(), torch.cat([part.confidence for part in parts]).cpu()
    )


def error_rate(judgement: Judgement) -> float:
    """ε̂: share of label disagreement among the 30 % most confident predictions."""
    n = len(judgement.given)
    confident = torch.argsort(judgement.confidence, descending=True, stable=True)[: max(1, round(CONFIDENT * n))]
    return float(judgement.mispredicted[confident].double().mean())


def flag(rule: Rule, scores: Tensor, judgement: Judgement, derivative: Tensor, rate: float) -> Tensor:
    """(n,) booleans, by the rule."""
    if rule == "margin":
        return judgement.margin <= -THRESHOLD
    if rule == "derivative":
        return derivative > 0
    flagged = torch.zeros(len(scores), dtype=torch.bool)
    flagged[torch.argsort(scores, descending=True, stable=True)[: round(rate * len(scores))]] = True
    return flagged & judgement.mispredicted
