"""A round where samples have several labels, or a number: what is called wrong, and what is added.

Scores and flags are those of `diva.curation.target_detection`. Of several labels the most suspicious entry speaks for
the sample, and the suggestion turns round the entries that are flagged; of numbers it is what the others say. What is
added of the pool is up to `diva.curation.target_extend`.
"""

from dataclasses import replace
from typing import NamedTuple

import polars as pl
import torch
from torch import Tensor

from diva.curation import rows, target_rows
from diva.curation.noise import Noise
from diva.curation.round import DERIVATIVE, Basis, Choice, Policy, present, wanted_by_people
from diva.curation.rows import Problem
from diva.curation.suspicion import CleanUp, Methods, Scores
from diva.curation.target_detection import judge_entries, judge_numbers
from diva.curation.target_extend import TRIMS, assess_target_noise, extend_target_round, outputs_of
from diva.numerics.chunks import Chunks
from diva.numerics.ridge import RidgeModel
from diva.numerics.targets import TargetFit, loo_predictions_of_targets, target_derivative, target_margins
from diva.store import curated
from diva.store.curated import reviewed
from diva.store.moments import Counted


class SampleCalls(NamedTuple):
    """What predictions (n, q) of rows that did not train them say of the targets: score, margin, flags, suggestions."""

    score: Tensor
    margin: Tensor
    flagged: Tensor
    suggested: list[str]
    rate: float
    message: str
    entries: Tensor  # which (n, q) are called wrong


def judge(outputs: Tensor, targets: Tensor, leverage: Tensor, problem: Problem) -> SampleCalls:
    """Scores, flags and suggestions of samples."""
    margin = target_margins(target_rows.loss_of(problem).name, outputs, targets).amin(1)
    if problem.task == "regression":
        number = judge_numbers(outputs[:, 0], targets[:, 0], leverage)
        rate, said = float(number.flagged.double().mean()), target_rows.texts_of(outputs, problem)
        return SampleCalls(number.score, margin, number.flagged, said, rate, "", number.flagged[:, None])
    entry = judge_entries(outputs, targets, problem.temperature)
    unjudged = [name for name, judged in zip(problem.classes, entry.judged.tolist(), strict=True) if not judged]
    message = f"labels of which the features tell nothing are not judged: {', '.join(unjudged[:5])}" * bool(unjudged)
    said = target_rows.texts_of((targets > 0.5).logical_xor(entry.flagged).double(), problem)
    return SampleCalls(entry.score.amax(1), margin, entry.flagged.any(1), said, entry.rate, message, entry.flagged)


def score(
    frame: pl.DataFrame, problem: Problem, clean_up: CleanUp, methods: Methods, groups: Tensor | None = None
) -> Scores:
    """One row per sample: score, margin, flag, suggested label, derivative."""
    del methods, groups
    for name, value, allowed in (("score", clean_up.score, "soft"), ("rule", clean_up.rule, "rate")):
        if value != allowed:
            raise ValueError(f"curate.{name} must be {allowed} where the task is {problem.task}, got {value}.")
    return scores_of(frame, target_rows.fitted(frame, problem), problem)


def scores_of(frame: pl.DataFrame, trained: TargetFit, problem: Problem) -> Scores:
    """What the leave-one-out predictions of a model say of the rows that train it."""
    seen = loo_predictions_of_targets(trained)
    said = judge(seen.values, trained.targets, seen.leverage, problem)
    derivative, _ = target_derivative(trained, target_rows.loss_of(problem))
    table = pl.DataFrame(
        {
            "sample_id": frame["sample_id"],
            "score": said.score.numpy(),
            "margin": said.margin.numpy(),
            "flagged": said.flagged.numpy(),
            "suggested_label": said.suggested,
            "derivative": derivative.numpy(),
        },
        schema_overrides={"suggested_label": pl.String},
    )
    return Scores(table, said.rate, said.message, trained.model)


def choose(basis: Basis, policy: Policy, methods: Methods) -> Choice:
    """What of the pool to add."""
    del methods
    problem, decisions = basis.problem, basis.decisions
    if policy.choose != DERIVATIVE or policy.loss not in ("calibrated", *TRIMS):
        raise ValueError(
            f"extend must choose by the derivative of the loss calibrated, all or trimmed where the task is "
            f"{problem.task}, got {policy.choose} and {policy.loss}."
        )
    frame = reviewed(present(basis.state, decisions), decisions)
    core, pool = (reviewed(each.select(curated.ROWS), decisions) for each in (basis.core.rows, basis.pool))
    noise, candidates = noise_of(core, pool, problem), basis.candidates
    members = target_rows.fitted(frame, problem)
    wanted = wanted_by_people(candidates, decisions)
    spent = int((basis.state["origin"] == "pool").sum()) + len(wanted)
    loss = target_rows.loss_of(problem, TRIMS.get(policy.loss, noise.noisy))
    turn = extend_target_round(
        members, *_posed(candidates, problem), loss, policy.limits(len(basis.pool), spent), _equal_labels(candidates)
    )
    index = torch.cat([wanted, turn.index[~torch.isin(turn.index, wanted)]])
    sums = target_rows.moments_of(frame, basis.stored, problem)
    return Choice(Counted(frame, sums), candidates[index.tolist()], replace(turn, index=index), noise, len(wanted))


def noise_of(core: pl.DataFrame, pool: pl.DataFrame, problem: Problem) -> Noise:
    """Shares of hopeless entries, under the core's own model."""
    name = target_rows.loss_of(problem).name
    return assess_target_noise(target_rows.fitted(core, problem), *_posed(pool, problem), name)


def _posed(frame: pl.DataFrame, problem: Problem) -> tuple[Chunks, Tensor]:
    """Rows and targets of a table."""
    return rows.prepared(frame, problem), target_rows.targets_of(frame["label"], problem)


def _equal_labels(frame: pl.DataFrame) -> Tensor:
    """Codes (n,), equal where labels are."""
    return torch.from_numpy(frame["label"].rank("dense").to_numpy().astype("int64"))


def predicted(candidates: pl.DataFrame, model: RidgeModel, problem: Problem) -> dict[str, pl.Series]:
    """Suggested label and score of rows outside the model."""
    chunks, targets = _posed(candidates, problem)
    outputs = outputs_of(chunks, model)
    margin = target_margins(target_rows.loss_of(problem).name, outputs, targets).amin(1)
    names = pl.Series(target_rows.texts_of(outputs, problem), dtype=pl.String)
    return {"suggested_label": names, "score": pl.Series(torch.sigmoid(-problem.temperature * margin / 2).numpy())}
