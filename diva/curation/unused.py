"""What a round would leave in the pool, and why: every unused sample, by the round's own policy."""

from collections.abc import Callable

import polars as pl
import torch

from diva.curation import rows
from diva.curation.round import DERIVATIVE, Basis, Choice, Policy, choose
from diva.curation.suspicion import Methods
from diva.numerics.losses import THRESHOLD
from diva.numerics.products import times
from diva.numerics.ridge import RidgeModel
from diva.store import curated, tables
from diva.store.evaluation import HARMFUL, HOPELESS, REJECTED, REMAINING, UNTOUCHED, WAITING, WANTED

Choose = Callable[[Basis, Policy, Methods], Choice]
Predict = Callable[[pl.DataFrame, RidgeModel, rows.Problem], dict[str, pl.Series]]


def explain(
    basis: Basis, policy: Policy | None, methods: Methods, choose: Choose = choose, predicted: Predict | None = None
) -> pl.DataFrame:
    """One row per unused sample of the pool, with the schema ``REMAINING``; no policy where there was no round yet.

    Args:
        basis: what a round would start from.
        policy: of the newest round.
        methods: other ways to value samples.
        choose: how rounds choose.
        predicted: suggested labels and scores of rows outside a model.
    """
    unused = basis.unused
    if unused.is_empty() or policy is None:
        return _conform(unused.with_columns(reason=pl.lit(UNTOUCHED)))
    choice = choose(basis, policy, methods)
    turn, candidates = choice.turn, curated.reviewed(unused, basis.decisions)
    judged = candidates.with_columns(
        gain=pl.Series(turn.gain.numpy()),
        derivative=pl.Series(turn.derivative.numpy()),
        margin=pl.Series(turn.margin.numpy()),
        reason=reasons(choice, policy).scatter(choice.turn.index[: choice.wanted].tolist(), WANTED),
        **(predicted or predicted_classes)(candidates, turn.model, basis.problem),
    )
    rejected = curated.without(unused, candidates)
    return pl.concat([_conform(judged), _conform(rejected.with_columns(reason=pl.lit(REJECTED)))])


def predicted_classes(candidates: pl.DataFrame, model: RidgeModel, problem: rows.Problem) -> dict[str, pl.Series]:
    """Suggested label argmax f, and the soft score 1 − softmax(T f)_y, of rows outside the model."""
    codes, scores = [model.head.new_zeros(0, dtype=torch.int64)], [model.head.new_zeros(0)]
    for z, labels, _ in rows.prepared(candidates, problem):
        outputs = times(z, model.head.to(z)).double()
        codes.append(outputs.argmax(1))
        scores.append(1 - torch.softmax(problem.temperature * outputs, 1).gather(1, labels[:, None])[:, 0])
    names = [problem.classes[code] for code in torch.cat(codes).tolist()]
    return {"suggested_label": pl.Series(names, dtype=pl.String), "score": pl.Series(torch.cat(scores).cpu().numpy())}


def reasons(choice: Choice, policy: Policy) -> pl.Series:
    """Why each candidate was left, in the words above."""
    turn, calibrated = choice.turn, policy.loss == "calibrated"
    if policy.choose != DERIVATIVE:
        return pl.Series([f"not among the first of {policy.choose}"] * len(turn.margin), dtype=pl.String)
    hopeless = (turn.margin <= -THRESHOLD) & (choice.noise.noisy or not calibrated)
    harmful = (turn.gain if calibrated else turn.derivative) >= 0
    return pl.Series(
        [HOPELESS if bad else HARMFUL if worse else WAITING for bad, worse in zip(hopeless, harmful, strict=True)],
        dtype=pl.String,
    )


def _conform(frame: pl.DataFrame) -> pl.DataFrame:
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in REMAINING.items() if name not in frame.columns]
    return tables.conform(frame.with_columns(missing).select(list(REMAINING)), REMAINING, "left")
