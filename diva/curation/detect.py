"""Detect: which labels are probably wrong.

All scores come from one fit and its leave-one-out predictions f; high means suspicious:

    soft         1 − softmax(T*·f)_y          the default
    margin       −m
    derivative   ∂L/∂α with the loss `all`    the paper's

The suggested label is argmax f. A second round drops m ≤ −τ, refits and scores again (best on heavy human noise).
A score ranks; a rule decides how many to flag:

    rate         ε̂ = share of label disagreement among the 30 % most confident predictions (largest top1 − top2);
                 flag those of the ε̂·n highest scores that are also mispredicted                     the default
    margin       m ≤ −τ
    derivative   ∂L/∂α > 0, the paper's ε = 0: flags hard, correct samples too; never remove by it

Reference: Dukler et al., ICLR 2022, Sec. 5.3 (derivative); soft, rate and the second round are ours.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from diva.numerics.chunks import Chunks
from diva.numerics.derivative import dataset_derivative
from diva.numerics.leave_one_out import choose_temperature, leave_one_out, quadratics
from diva.numerics.losses import THRESHOLD, Loss, margins
from diva.numerics.precision import fit
from diva.numerics.products import Workspace
from diva.numerics.ridge import Local, RidgeModel, moments, solve, weighted

Score = Literal["soft", "margin", "derivative"]
Rule = Literal["rate", "margin", "derivative"]

CONFIDENT = 0.3  # share of rows, the most confident, by which the rate of wrong labels is judged


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


@dataclass(frozen=True)
class Detection:
    """Scores and flags of n rows.

    Attributes:
        score: (n,) float64, high where suspicious.
        margin: m (n,).
        derivative: ∂L/∂α (n,) with the loss `all`; NaN where neither score nor rule asked for it.
        flagged: (n,) booleans.
        suggested: (n,) class codes.
        rate: ε̂, the estimated share of wrong labels.
        temperature: T*.
        model: of these rows; of those that the second round kept, where there was one.
    """

    score: Tensor
    margin: Tensor
    derivative: Tensor
    flagged: Tensor
    suggested: Tensor
    rate: float
    temperature: float
    model: RidgeModel


def judge(
    chunks: Chunks,
    model: RidgeModel,
    temperature: float,
    weights: Tensor | None = None,
    quadratic: Tensor | None = None,
) -> Judgement:
    """One pass over the leave-one-out predictions; rows of weight 0 are judged by their plain prediction.

    ``quadratic`` is g (n,), where it is known.
    """
    local, work = Local(model), Workspace()
    parts: list[tuple[Tensor, ...]] = []
    for (z, labels, rows), alpha in weighted(chunks, weights):
        known = None if quadratic is None else quadratic[rows].to(z)
        f = leave_one_out(z, labels, alpha, local.like(z), known, work).predictions.double()
        soft = 1 - torch.softmax(temperature * f, 1).gather(1, labels[:, None])[:, 0]
        first, predicted = f.max(1)
        second = f.scatter(1, predicted[:, None], -torch.inf).amax(1)  # `topk` takes ten times as long
        parts.append((margins(f, labels), soft, first - second, predicted, labels))
    margin, soft, confidence, predicted, given = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
    return Judgement(margin, soft, confidence, predicted, given)


def detect(
    chunks: Chunks,
    classes: int,
    ridge: float,
    *,
    score: Score = "soft",
    rule: Rule = "rate",
    second_round: bool = False,
    temperature: float | None = None,
    with_derivative: bool = False,
    given: Tensor | None = None,
    model: RidgeModel | None = None,
    quadratic: Tensor | None = None,
) -> Detection:
    """Scores, flags and suggested labels of every row.

    Args:
        chunks: n rows as tensors.
        classes: k, at least 2.
        ridge: λ.
        score: `soft`, `margin` or `derivative`.
        rule: `rate`, `margin` or `derivative`.
        second_round: refit without the rows of m ≤ −τ and score again.
        temperature: T*; chosen by the leave-one-out predictions where None.
        with_derivative: compute the derivative even where neither score nor rule needs it.
        given: scores (n,) of another method, high where suspicious, in place of ``score``.
        model: of these rows at this ridge, where it is known.
        quadratic: g (n,) of that model, where it is known.

    Raises:
        ValueError: on an unknown score or rule, or fewer than two classes.
    """
    if score not in get_args(Score):
        raise ValueError(f"score must be one of {', '.join(get_args(Score))}, got {score!r}.")
    if rule not in get_args(Rule):
        raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}, got {rule!r}.")
    if classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}.")
    n = chunks.shape[0]
    weights = torch.ones(n, dtype=torch.float64)
    if model is None:
        fitted = fit(chunks, classes, ridge)
        model, chunks, quadratic = fitted.model, fitted.chunks, None
    quadratic = quadratics(chunks, model) if quadratic is None else quadratic
    if temperature is None or second_round:
        temperature = choose_temperature(chunks, model, quadratic=quadratic)
    judgement = judge(chunks, model, temperature, quadratic=quadratic)
    if second_round:
        weights = (judgement.margin > -THRESHOLD).double()
        model = solve(moments(chunks, classes, weights), ridge)
        quadratic = quadratics(chunks, model)
        temperature = choose_temperature(chunks, model, weights, quadratic)
        judgement = judge(chunks, model, temperature, weights, quadratic)
    derivative = torch.full((n,), torch.nan, dtype=torch.float64)
    if with_derivative or "derivative" in (score, rule):
        derivative = dataset_derivative(
            chunks, classes, ridge, Loss("all"), weights=weights, model=model, quadratic=quadratic
        ).values
    if given is not None and tuple(given.shape) != (n,):
        raise ValueError(f"given must have one score per row ({n},), got {tuple(given.shape)}.")
    ours = {"soft": judgement.soft, "margin": -judgement.margin, "derivative": derivative}[score]
    scores = ours if given is None else given.cpu().double()
    rate = error_rate(judgement)
    flagged = flag(rule, scores, judgement, derivative, rate)
    return Detection(scores, judgement.margin, derivative, flagged, judgement.predicted, rate, temperature, model)


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
