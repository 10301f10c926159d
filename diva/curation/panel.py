"""Training sets side by side: the same linear head is trained on each, and all are tested on the same rows."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from diva.curation import rows
from diva.curation.evaluation import Errors, train
from diva.curation.reweight import walk
from diva.curation.trials import Training, Trial, without
from diva.numerics.precision import fit_ridge
from diva.numerics.residence import in_own_span
from diva.store import ledger, release
from diva.text.choices import Learner
from diva.text.progress import track

logger = logging.getLogger(__name__)


class Drawn(NamedTuple):
    """A uniform choice: from which pool, how many samples with the core, the mean errors of its draws."""

    pool: str
    size: int
    errors: Errors


def training_sets(trial: Trial, core: pl.DataFrame, pool: pl.DataFrame, members: pl.DataFrame) -> dict[str, Training]:
    """What is compared: the core, the release as it is and as it might be, everything."""
    everything, stays = pl.concat([core, pool]), unflagged(members)
    return {
        "core": Training(core),
        "release_weighted": Training(members, torch.tensor(members["weight"].to_numpy())),
        "release_unweighted": Training(members),
        "release_unflagged": Training(stays),
        "release_unflagged_weighted": Training(stays, torch.tensor(stays["weight"].to_numpy())),
        "everything": Training(everything),
        "everything_reweighted": Training(everything, trial.weigh(everything)),
    }


def sets(
    trial: Trial,
    compared: Mapping[str, Training],
    pool: pl.DataFrame,
    used: str,
    learners: Sequence[Learner],
    most: int,
) -> tuple[dict[str, dict[str, Any]], dict[str, Errors], dict[str, Any]]:
    """The training sets side by side.

    Args:
        trial: trains and tests.
        compared: the training sets by name, as :func:`training_sets` gives them; a uniform draw joins them here.
        pool: the newest index, from which it is drawn.
        used: name of the set that the release is, to which the others are compared as to the core.
        learners: that judge the sets beside the head; none in the midst of a night.
        most: rows that train each of them at most.

    Returns:
        The figures of each set; 1 for each test sample that its head gets wrong; how each learner was set.
    """
    core, members = compared["core"].frame, compared["release_unweighted"].frame
    unweighted_first = sorted(compared, key=lambda name: compared[name].weights is not None)  # whose λ serve both
    heads = {name: trial.judge(compared[name]) for name in track(unweighted_first, len(compared), "sets")}
    first = trial.drawn(core, pool, len(members))[0]
    compared = {**compared, "uniform": Training(first)}
    heads["uniform"] = trial.judge(compared["uniform"])
    errors = {name: heads[name].errors for name in compared} | {"uniform": trial.uniform(core, pool, len(members))}
    judged = panels(trial, compared, errors, learners, most)
    seconds = judged.seconds | {"ridge": sum(head.seconds for head in heads.values())}
    # said, not stored: figures of a version are the same whenever they are made
    if learners:
        logger.info("seconds of training: %s", ", ".join(f"{name} {seconds[name]:.2f}" for name in learners))
    described: dict[str, dict[str, Any]] = {}
    for name, training in compared.items():
        compare = _compared(trial, errors[name], errors["core"], errors[used])
        described[name] = {"size": len(training.frame), **heads[name].figures, **compare}
        if learners:
            described[name]["panel"] = panel_figures(trial, *(judged.errors[each] for each in (name, "core", used)))
    return described, errors, judged.about


class Judged(NamedTuple):
    """Errors of each set's learners for each test sample; how each learner was set, and how long it took."""

    errors: dict[str, dict[str, Errors]]
    about: dict[str, Any]
    seconds: dict[str, float]


def panels(
    trial: Trial, compared: Mapping[str, Training], heads: Mapping[str, Errors], learners: Sequence[Learner], most: int
) -> Judged:
    """Every learner on every set; the ridge head's errors are there already."""
    errors: dict[str, dict[str, Errors]] = {name: {} for name in compared}
    about: dict[str, Any] = {"rows": most, "sampled": any(len(training.frame) > most for training in compared.values())}
    allowed = {name: without(training, trial.allowed(training.frame)) for name, training in compared.items()}
    seconds: dict[str, float] = {}
    for learner in learners:
        penalty, seconds[learner] = trial.penalty(learner, allowed["core"].frame, most), 0.0
        for name, training in track(allowed.items(), len(allowed), learner):
            if learner == "ridge":
                errors[name][learner] = heads[name]
                continue
            made = trial.ask(learner, training, penalty, most)
            errors[name][learner] = made["errors"]
            seconds[learner] += float(made["seconds"])
        about[learner] = {"penalty": penalty} if learner != "ridge" else {}
    return Judged(errors, about, seconds)


def panel_figures(
    trial: Trial, errors: Mapping[str, Errors], core: Mapping[str, Errors], release: Mapping[str, Errors]
) -> dict[str, Any]:
    """Mean over learners and each, with the paired differences to the core and to the release."""
    compared = errors, core, release
    each = {name: _compared(trial, *(some[name] for some in compared)) for name in errors}
    means: list[Errors] = [np.mean(list(some.values()), axis=0) for some in compared]
    return {"mean": _compared(trial, *means), "learners": each}


def _compared(trial: Trial, errors: Errors, core: Errors, release: Errors) -> dict[str, float]:
    return {
        **trial.interval(errors),
        **trial.interval(errors - core, "difference"),
        **trial.interval(errors - release, "release_difference"),
    }


def unflagged(members: pl.DataFrame) -> pl.DataFrame:
    """Members without those that the release leaves out as called wrong."""
    return members.join(release.left_out(members), on="sample_id", how="anti", maintain_order="left")


def by_round(
    trial: Trial,
    core: pl.DataFrame,
    states: Iterable[tuple[str, pl.DataFrame, str | None]],
    pools: Callable[[str], pl.DataFrame],
    newest: Drawn,
) -> list[dict[str, object]]:
    """The sets after each round, beside uniform choices of equal size from the pool that the round drew from.

    Args:
        trial: trains and tests.
        core: its index.
        states: name and set of each round, and the pool that it drew from, if any.
        pools: the index of a pool by its name.
        newest: what ``sets`` drew from the newest pool: a round of that pool and size has the same.
    """
    entries = []
    for name, state, pool in states:
        entry = of_round(trial, name, state)
        if pool is not None:
            size = int((state["status"] == "member").sum())
            drawn = newest.errors if (pool, size) == newest[:2] else None
            errors = trial.uniform(core, pools(pool), size) if drawn is None else drawn
            entry |= trial.interval(errors, "uniform")
        entries.append(entry)
    return entries


def of_round(trial: Trial, name: str, state: pl.DataFrame) -> dict[str, object]:
    """Size and test error of the set after a round, without weights."""
    members = state.filter(pl.col("status") == "member")
    added = 0 if name == ledger.ORIGIN["rounds"] else int((state["round"] == name).sum())
    removed = int(((state["status"] == "removed") & (state["changed_in"] == name)).sum())
    error = trial.interval(trial.judge(Training(members)).errors)
    return {"round": name, "size": len(members), "added": added, "removed": removed, **error}


def by_class(test: pl.DataFrame, errors: Mapping[str, Errors]) -> pl.DataFrame:
    """Test samples of each class and the share of them that each training set's head gets wrong."""
    shares = {name: pl.Series(values) for name, values in errors.items()}
    frame = test.select("label").with_columns(**shares)
    return frame.group_by("label").agg(pl.len().alias("samples"), pl.col(list(shares)).mean()).sort("label")


def steps(trial: Trial, members: pl.DataFrame, ridge: float, most: int) -> pl.DataFrame:
    """Leave-one-out loss and test error after 0, 1, … ``most`` steps: the loss goes on falling, the error does not.

    Args:
        trial: what is held out of it does not train here either.
        members: the set that is weighed.
        ridge: λ of the heads that are tested, the same at every step.
        most: steps of Reweight that are watched; 0 for an empty curve.
    """
    frame = members.filter(trial.allowed(members))
    own, basis = in_own_span(rows.prepared(frame, trial.problem))
    classes, together = len(trial.problem.classes), rows.group_numbers(frame, trial.groups)
    how = {name: trial.weighing[name] for name in ("loss", "step_size")}
    start, curve = fit_ridge(own, classes, trial.problem.ridge, groups=together), []
    for step, (loss, alpha) in enumerate(walk(start, steps=most, **how) if most else ()):
        errors = trial.errors(replace(train(own, classes, ridge, alpha), basis=basis))
        curve.append({"step": step, "loss": loss, **trial.interval(errors)})
    return pl.DataFrame(curve, {"step": pl.Int64, **dict.fromkeys(("loss", "error", "low", "high"), pl.Float64)})
