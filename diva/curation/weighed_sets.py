"""Sets that the release may hold, weighed and compared: the members, or everything less what is called wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
from torch import Tensor

from diva.curation import rows
from diva.curation.benefit import HeldOut, Members, hold_out
from diva.curation.detect import detect
from diva.curation.learners import mean_gain
from diva.curation.reweight import WeightPath, reweight
from diva.curation.round import corrections
from diva.curation.suspicion import CleanUp, as_table
from diva.numerics.precision import fit_ridge
from diva.store import index, release


@dataclass(frozen=True)
class ToWeigh:
    """What a set is weighed by.

    Attributes:
        frame: n rows, members of ``state`` first.
        state: the curated set, after the round ``latest``.
        latest: its name.
        pool: index of the whole pool.
        core: index of the core.
        problem: with all classes.
    """

    frame: pl.DataFrame
    state: pl.DataFrame
    latest: str
    pool: pl.DataFrame
    core: pl.DataFrame
    problem: rows.Problem


CLEAN_UP = CleanUp("soft", "rate", "weigh", second_round=False, by_class=True)  # of what no round judged


@dataclass(frozen=True)
class WeighedSet:
    """Rows with weights, and margins of held-out rows of the core.

    Attributes:
        frame: the rows.
        result: of Reweight.
        held_out: margins with the weights and without.
        calls: labels called wrong of samples that no round chose (`diva.store.curated.CHANGES`); None: none is judged.
    """

    frame: pl.DataFrame
    result: WeightPath
    held_out: HeldOut
    calls: pl.DataFrame | None


def weigh(asked: ToWeigh, weighing: Mapping[str, Any], *, folds: int, flagged_out: bool, judged: bool) -> WeighedSet:
    """A set with its weights.

    Args:
        asked: the set.
        weighing: loss, steps, step_size and seed of Reweight.
        folds: of the core's rows.
        flagged_out: whether labels called wrong leave the training set.
        judged: whether to call labels wrong of rows that are not in the set.
    """
    frame, state, problem = asked.frame, asked.state, asked.problem
    sums = rows.counted(frame, asked.latest, asked.pool, problem).moments
    together = rows.group_numbers(frame, index.groups(asked.core, asked.pool))
    chunks = rows.prepared(frame, problem)
    fitted = fit_ridge(chunks, len(problem.classes), problem.ridge, sums=sums, groups=together)
    result, (core, wrong), calls = reweight(fitted, **weighing), masks(frame, state), None
    if judged:
        scored = as_table(frame["sample_id"], detect(fitted, with_derivative=True), problem.classes)
        calls = corrections(scored, CLEAN_UP).join(state, on="sample_id", how="anti", maintain_order="left")
        wrong |= torch.from_numpy(frame["sample_id"].is_in(calls["sample_id"].implode()).to_numpy())
    members = Members(fitted.chunks, fitted.classes, problem.ridge, core, wrong, fitted.groups)
    taken = {**weighing, "steps": len(result.history)}
    return WeighedSet(frame, result, hold_out(members, folds, flagged_out=flagged_out, **taken), calls)


def masks(weighed: pl.DataFrame, state: pl.DataFrame) -> tuple[Tensor, Tensor]:
    """Where (n,) a sample is of the core, and where its label is called wrong."""
    said = state.select("sample_id", core=pl.col("origin") == "core", wrong="flagged")
    joined = weighed.select("sample_id").join(said, on="sample_id", how="left", maintain_order="left")
    core, wrong = (
        torch.from_numpy(joined[name].fill_null(value=False).to_numpy().copy()) for name in ("core", "wrong")
    )
    return core, wrong


def choose(sets: Mapping[str, WeighedSet], weights: str) -> dict[str, str]:
    """Name of the set that the release holds, and why: everything where held-out rows of the core gain by it.

    Args:
        sets: `members`, `everything` or both.
        weights: `release.weights`, by which each set has its weights or not.
    """
    name = next(iter(sets))
    if len(sets) == 1:
        return {"name": name, "reason": "release.set says so"}
    if not all(weighed.held_out.margins for weighed in sets.values()):
        return {"name": name, "reason": "no held-out comparison was made"}
    errors = {
        name: weighed.held_out.of(release.verdict(weights, weighed.held_out.figures()).weighted)
        for name, weighed in sets.items()
    }
    gain, deviation = mean_gain(errors["everything"], errors["members"])
    reason = f"held-out gain of everything less flagged over the members {gain:.2g}, standard error {deviation:.2g}"
    return {"name": "everything" if gain > deviation else "members", "reason": reason}
