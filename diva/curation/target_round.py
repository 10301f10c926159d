"""A round where samples have several labels, or a number: what is called wrong, and what is added.

Scores and flags are those of `diva.curation.target_detection`. Of several labels the most suspicious entry speaks for
the sample, and the suggestion turns round the entries that are flagged; of numbers it is what the others say. A sample
of the pool is added where its first bit of weight lowers the leave-one-out loss of members and pool

    gain_j = ∂L/∂α_j / (1 + z_jᵀCz_j) < 0,    the least first,

and, where more than 5 % of the entries are hopeless (a margin of at most −¼; of numbers, beyond three deviations),
only where it is not hopeless itself; hopeless entries do not validate then.
"""

from dataclasses import replace
from typing import NamedTuple

import polars as pl
import torch
from torch import Tensor

from diva.curation import rows, target_rows
from diva.curation.candidates import earlier_of_class
from diva.curation.extend import RoundChoice, RoundSettings, stop_reason
from diva.curation.noise import Noise
from diva.curation.round import DERIVATIVE, Basis, Choice, Policy, present, wanted_by_people
from diva.curation.rows import Problem
from diva.curation.suspicion import CleanUp, Methods, Scores
from diva.curation.target_detection import judge_entries, judge_numbers
from diva.numerics import products
from diva.numerics.chunks import Chained, Chunks
from diva.numerics.losses import NOISY, THRESHOLD
from diva.numerics.products import Workspace
from diva.numerics.ridge import RidgeModel
from diva.numerics.targets import TargetFit, loo_predictions_of_targets, target_derivative, target_margins
from diva.store.curated import reviewed
from diva.store.moments import Counted

TRIMS = {"all": False, "trimmed": True}  # losses that do not ask the noise, as `calibrated` does


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
    candidates, core, pool = (reviewed(each, decisions) for each in (basis.unused, basis.core.rows, basis.pool))
    noise = noise_of(core, pool, problem)
    members = target_rows.fitted(frame, problem)
    wanted = wanted_by_people(candidates, decisions)
    spent = int((basis.state["origin"] == "pool").sum()) + len(wanted)
    trim = TRIMS.get(policy.loss, noise.noisy)
    turn = extend_round(members, candidates, problem, policy.limits(len(basis.pool), spent), trim)
    index = torch.cat([wanted, turn.index[~torch.isin(turn.index, wanted)]])
    sums = target_rows.moments_of(frame, basis.stored, problem)
    return Choice(Counted(frame, sums), candidates, replace(turn, index=index), noise, len(wanted))


def noise_of(core: pl.DataFrame, pool: pl.DataFrame, problem: Problem) -> Noise:
    """Shares of hopeless entries, under the core's own model; noisy as of classes."""
    trained, name = target_rows.fitted(core, problem), target_rows.loss_of(problem).name
    seen = loo_predictions_of_targets(trained).values
    chunks, targets = rows.prepared(pool, problem), target_rows.targets_of(pool["label"], problem)
    others = outputs_of(chunks, trained.model)
    margins = target_margins(name, torch.cat([seen, others]), torch.cat([trained.targets, targets]))
    hopeless = (margins <= -THRESHOLD).double()
    of_core, of_pool = hopeless[: len(seen)], hopeless[len(seen) :]
    first, second = float(of_core.mean()), float(of_pool.mean()) if of_pool.numel() else 0.0
    deviation = (first * (1 - first) * (1 / of_core.numel() + 1 / max(1, of_pool.numel()))) ** 0.5
    return Noise(first, second, first > NOISY or second > max(first + 2 * deviation, NOISY / 2))


def outputs_of(chunks: Chunks, model: RidgeModel) -> Tensor:
    """zW (n, q) on the CPU."""
    nothing = torch.zeros(0, model.head.shape[1], dtype=torch.float64)
    return torch.cat([nothing, *(products.times(z, model.head.to(z)).double().cpu() for z, _, _ in chunks)])


def extend_round(
    members: TargetFit, candidates: pl.DataFrame, problem: Problem, settings: RoundSettings, trim: bool
) -> RoundChoice:
    """One round, as `diva.curation.extend.extend_round`."""
    pool, targets, model = (
        rows.prepared(candidates, problem),
        target_rows.targets_of(candidates["label"], problem),
        members.model,
    )
    n, n_pool, loss = len(members.targets), len(targets), target_rows.loss_of(problem, trim)
    weights = torch.cat([torch.ones(n), torch.zeros(n_pool)]).double()
    union = TargetFit(Chained([members.chunks, pool]), torch.cat([members.targets, targets]), model, weights)
    validating = None if settings.validate_on == "members_and_pool" else weights > 0
    values, mean = target_derivative(union, loss, validating)
    derivative = values[n:]
    work = Workspace()
    factor = torch.cat(
        [torch.zeros(0).double(), *(products.squares(z, model.root.to(z), work).cpu() for z, _, _ in pool)]
    )
    gain = derivative / (1 + factor)
    margin = target_margins(loss.name, *(loo_predictions_of_targets(union).values, union.targets))[n:].amin(1)
    candidate = gain < 0 if not trim else (gain < 0) & (margin > -THRESHOLD)
    order = gain.argsort(stable=True)
    order = torch.cat([order[candidate[order]], *([] if settings.stop else [order[~candidate[order]]])])
    allowed = order
    if settings.per_class is not None:
        codes = torch.from_numpy(candidates["label"].rank("dense").to_numpy().astype("int64"))
        allowed = order[earlier_of_class(codes[order]) < settings.per_class]
    per_round, eligible, waiting = settings.size(n_pool), int(candidate.sum()), len(allowed) < len(order)
    stop = stop_reason(mean == mean, eligible, per_round, n_pool, settings.stop, waiting)
    return RoundChoice(
        allowed[:per_round], derivative, gain, margin, eligible, float(len(union.targets)), mean, stop, factor, model
    )


def predicted(candidates: pl.DataFrame, model: RidgeModel, problem: Problem) -> dict[str, pl.Series]:
    """Suggested label and score of rows outside the model."""
    outputs, targets = (
        outputs_of(rows.prepared(candidates, problem), model),
        target_rows.targets_of(candidates["label"], problem),
    )
    margin = target_margins(target_rows.loss_of(problem).name, outputs, targets).amin(1)
    names = pl.Series(target_rows.texts_of(outputs, problem), dtype=pl.String)
    return {"suggested_label": names, "score": pl.Series(torch.sigmoid(-problem.temperature * margin / 2).numpy())}
