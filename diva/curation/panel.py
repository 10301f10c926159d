"""Training sets side by side: the same linear head is trained on each, and all are tested on the same rows."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from diva.curation import rows
from diva.curation.evaluation import Errors, Head, Units, bootstrap, train, train_by_leave_one_out
from diva.curation.learners import TrainingSet, answer, choose_penalty
from diva.curation.reweight import reweight
from diva.numerics.precision import fit_ridge
from diva.store import index, ledger, release
from diva.text.choices import Learner
from diva.text.progress import track

logger = logging.getLogger(__name__)

HELD_OUT = (
    "No test set: errors are those of a held-out fold of the core, whose labels may be wrong and which took part in "
    "choosing; read them together with the leave-one-out errors."
)


@dataclass(frozen=True)
class Exam:
    """Rows that test, what to say about them, ids that must not train for it, and numbers of what is drawn together."""

    rows: pl.DataFrame
    about: dict[str, object]
    excluded: list[str]
    units: Units


class Drawn(NamedTuple):
    """A uniform choice: from which pool, how many samples with the core, the mean errors of its draws."""

    pool: str
    size: int
    errors: Errors


def exam(
    core: pl.DataFrame, test: pl.DataFrame, classes: list[str], held_out: float, seed: int, groups: pl.DataFrame
) -> Exam:
    """The test set as far as the core knows its classes; without one, a held-out share of the core, in whole groups.

    Args:
        core: its index.
        test: index of the test set.
        classes: of the core.
        held_out: share of the core.
        seed: of its draw.
        groups: of core and pool (`diva.store.index.groups`); what shares one with a held-out sample must not train.
    """
    familiar = test.filter(pl.col("label").is_in(classes))
    if len(familiar):
        about = {"samples": len(familiar), "kind": "test", "caveat": "", "unknown_class": len(test) - len(familiar)}
        return Exam(familiar, about, [], units(familiar, index.groups(familiar, stored=False)))
    whole, wanted, caveat = units(core, groups), max(1, round(held_out * len(core))), HELD_OUT
    if whole.max() == 0 < len(core) - 1:
        whole, caveat = np.arange(len(core)), f"{HELD_OUT} All of the core is one group, which cannot be left out."
    order = np.random.default_rng(seed).permutation(whole.max() + 1)
    last = int(np.searchsorted(np.cumsum(np.bincount(whole)[order]), wanted))
    drawn = np.isin(whole, order[: last + 1])
    fold = core.filter(pl.Series(drawn))
    related = groups.filter(pl.col("number").is_in(groups.join(fold, on="sample_id", how="semi")["number"].implode()))
    about = {"samples": len(fold), "kind": "held_out", "caveat": caveat, "unknown_class": 0}
    excluded = set(fold["sample_id"]) | (set(related["sample_id"]) if caveat == HELD_OUT else set())
    return Exam(fold, about, sorted(excluded), units(fold, groups))


def units(frame: pl.DataFrame, groups: pl.DataFrame) -> Units:
    """Numbers (n,) from 0, in the order of their first rows: of the groups, and of each row without one."""
    numbers = frame.select("sample_id").join(groups, on="sample_id", how="left", maintain_order="left")["number"]
    single = pl.Series(range(-1, -len(frame) - 1, -1), dtype=pl.Int64)
    keys, first, inverse = np.unique(numbers.fill_null(single), return_index=True, return_inverse=True)
    position = np.empty(len(keys), np.int64)
    position[np.argsort(first)] = np.arange(len(keys))
    return position[inverse]


class Trial:
    """Trains heads and tests them.

    Args:
        exam: what tests.
        problem: with all classes; λ is chosen anew, by leave-one-out on each training set, from its grid.
        draws: of the bootstrap.
        uniform: uniform choices that are averaged.
        seed: of both.
        weighing: loss, steps, step_size and seed of Reweight.
    """

    def __init__(
        self, exam: Exam, problem: rows.Problem, draws: int, uniform: int, seed: int, weighing: Mapping[str, Any]
    ) -> None:
        self.exam, self.problem, self.weighing = exam, problem, dict(weighing)
        self.draws, self.choices, self.seed = draws, uniform, seed
        self.test = rows.prepared(exam.rows, problem)

    def allowed(self, frame: pl.DataFrame) -> pl.Series:
        """Which rows may train."""
        return ~frame["sample_id"].is_in(self.exam.excluded)

    def train(self, frame: pl.DataFrame, weights: torch.Tensor | None = None) -> Head:
        """The head of a training set, without what is held out."""
        allowed = self.allowed(frame)
        alpha = None if weights is None else weights[torch.from_numpy(allowed.to_numpy())]
        chunks = rows.prepared(frame.filter(allowed), self.problem)
        return train_by_leave_one_out(chunks, len(self.problem.classes), self.problem.ridges, alpha)

    def errors(self, head: Head) -> Errors:
        """1 where a test sample is misclassified."""
        return (~head.correct(self.test)).double().numpy()

    def interval(self, errors: Errors, key: str = "error") -> dict[str, float]:
        """Mean and bounds under the names of the metrics."""
        bounds = bootstrap(errors, self.draws, self.seed, self.exam.units)
        prefix = "" if key == "error" else f"{key}_"
        return {key: bounds.mean, f"{prefix}low": bounds.low, f"{prefix}high": bounds.high}

    def in_memory(
        self, frame: pl.DataFrame, weights: torch.Tensor | None = None, most: int | None = None
    ) -> TrainingSet:
        """Rows of a frame at once, at most so many, drawn with the seed, without the constant column."""
        chosen = np.sort(np.random.default_rng([self.seed, len(frame)]).permutation(len(frame))[:most])
        features, labels = rows.gathered(rows.prepared(frame[chosen.tolist()], self.problem))
        alpha = None if weights is None else weights.numpy()[chosen]
        return TrainingSet(features.float().cpu().numpy(), labels.cpu().numpy(), alpha)

    def weigh(self, frame: pl.DataFrame) -> torch.Tensor:
        """Weights of a frame, as the stage ``reweight`` would choose them."""
        problem = self.problem
        fitted = fit_ridge(rows.prepared(frame, problem), len(problem.classes), problem.ridge)
        return reweight(fitted, **self.weighing).weights

    def drawn(self, core: pl.DataFrame, pool: pl.DataFrame, size: int) -> list[pl.DataFrame]:
        """The core and a uniform choice from the pool, together ``size`` samples; several draws."""
        wanted = min(max(0, size - len(core)), len(pool))
        draws = self.choices if 0 < wanted < len(pool) else 1
        generator = np.random.default_rng(self.seed)
        chosen = [sorted(generator.permutation(len(pool))[:wanted].tolist()) for _ in range(draws)]
        return [pl.concat([core, pool[some]]) for some in chosen]

    def uniform(self, core: pl.DataFrame, pool: pl.DataFrame, size: int) -> list[Head]:
        """The heads of these draws."""
        return [self.train(frame) for frame in self.drawn(core, pool, size)]

    def mean_errors(self, heads: Iterable[Head]) -> Errors:
        """Of several heads, for each test sample."""
        errors: Errors = np.mean([self.errors(head) for head in heads], axis=0)
        return errors


@dataclass(frozen=True)
class Training:
    """Rows that train, and their weights, or None for ones."""

    frame: pl.DataFrame
    weights: torch.Tensor | None = None


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
    trial: Trial, core: pl.DataFrame, pool: pl.DataFrame, members: pl.DataFrame, learners: Sequence[Learner], most: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Errors], dict[str, Any]]:
    """The training sets side by side.

    Args:
        trial: trains and tests.
        core: its index.
        pool: the newest index.
        members: the newest set, with its weights.
        learners: that judge the sets beside the head.
        most: rows that train each of them at most.

    Returns:
        The figures of each set; 1 for each test sample that its head gets wrong; what each learner took.
    """
    compared = training_sets(trial, core, pool, members)
    heads = {
        name: trial.train(training.frame, training.weights)
        for name, training in track(compared.items(), len(compared), "sets")
    }
    errors = {name: trial.errors(head) for name, head in heads.items()}
    frames = trial.drawn(core, pool, len(members))
    drawn = [trial.train(frame) for frame in frames]
    compared["uniform"], heads["uniform"], errors["uniform"] = Training(frames[0]), drawn[0], trial.mean_errors(drawn)
    judged = panels(trial, compared, errors, learners, most)
    described = {
        name: {
            **figures(trial, heads[name], errors[name], errors["core"], len(training.frame)),
            "panel": panel_figures(trial, judged.errors[name], judged.errors["core"]),
        }
        for name, training in compared.items()
    }
    return described, errors, judged.about


class Judged(NamedTuple):
    """Errors of each set's learners for each test sample; how each learner was set, and how long it took."""

    errors: dict[str, dict[str, Errors]]
    about: dict[str, Any]


def panels(
    trial: Trial, compared: Mapping[str, Training], heads: Mapping[str, Errors], learners: Sequence[Learner], most: int
) -> Judged:
    """Every learner on every set; the ridge head's errors are there already."""
    errors: dict[str, dict[str, Errors]] = {name: {} for name in compared}
    about: dict[str, Any] = {"rows": most, "sampled": any(len(training.frame) > most for training in compared.values())}
    allowed = {name: _without(training, trial.allowed(training.frame)) for name, training in compared.items()}
    test, core = trial.in_memory(trial.exam.rows), trial.in_memory(allowed["core"].frame, None, most)
    for learner in learners:
        penalty = choose_penalty(learner, core, trial.seed, most)
        seconds = 0.0
        for name, training in track(allowed.items(), len(allowed), learner):
            if learner == "ridge":
                errors[name][learner] = heads[name]
                continue
            rows_in_memory = trial.in_memory(training.frame, training.weights, most)
            made = answer(learner, rows_in_memory, test.features, penalty=penalty, seed=trial.seed, most=most)
            errors[name][learner] = (made.predicted != test.labels).astype(np.float64)
            seconds += made.seconds
        about[learner] = {"penalty": penalty, "seconds": round(seconds, 2)} if learner != "ridge" else {}
    return Judged(errors, about)


def _without(training: Training, allowed: pl.Series) -> Training:
    mask = torch.from_numpy(allowed.to_numpy())
    return Training(training.frame.filter(allowed), None if training.weights is None else training.weights[mask])


def panel_figures(trial: Trial, errors: Mapping[str, Errors], baseline: Mapping[str, Errors]) -> dict[str, Any]:
    """Mean over learners and each, with the paired difference to the baseline."""
    each = {name: _compared(trial, errors[name], baseline[name]) for name in errors}
    means: list[Errors] = [np.mean(list(some.values()), axis=0) for some in (errors, baseline)]
    return {"mean": _compared(trial, *means), "learners": each}


def _compared(trial: Trial, errors: Errors, baseline: Errors) -> dict[str, float]:
    return {**trial.interval(errors), **trial.interval(errors - baseline, "difference")}


def unflagged(members: pl.DataFrame) -> pl.DataFrame:
    """Members without those that the release leaves out as called wrong."""
    return members.join(release.left_out(members), on="sample_id", how="anti", maintain_order="left")


def figures(trial: Trial, head: Head, errors: Errors, baseline: Errors, size: int) -> dict[str, float]:
    """One set's figures, and the paired difference to the baseline."""
    return {
        "size": size,
        "ridge": head.model.ridge,
        **head.model.accuracy,
        **trial.interval(errors),
        **trial.interval(errors - baseline, "difference"),
        "loo_error": head.loo_error,
    }


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
            errors = trial.mean_errors(trial.uniform(core, pools(pool), size)) if drawn is None else drawn
            entry |= trial.interval(errors, "uniform")
        entries.append(entry)
    return entries


def of_round(trial: Trial, name: str, state: pl.DataFrame) -> dict[str, object]:
    """Size and test error of the set after a round, without weights."""
    members = state.filter(pl.col("status") == "member")
    added = 0 if name == ledger.ORIGIN["rounds"] else int((state["round"] == name).sum())
    removed = int(((state["status"] == "removed") & (state["changed_in"] == name)).sum())
    error = trial.interval(trial.errors(trial.train(members)))
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
    chunks, classes, weighing = rows.prepared(frame, trial.problem), len(trial.problem.classes), dict(trial.weighing)
    alpha, temperature, curve = torch.ones(len(frame), dtype=torch.float64), None, []
    for step in range(most + 1 if most else 0):
        fitted = fit_ridge(chunks, classes, trial.problem.ridge, alpha)
        turn = reweight(fitted, **weighing | {"steps": 1}, temperature=temperature)
        if not turn.history:  # nothing validates: no step can be taken
            break
        errors = trial.errors(train(chunks, classes, ridge, alpha))
        curve.append({"step": step, "loss": turn.history[0].loss, **trial.interval(errors)})
        alpha, temperature = turn.weights, turn.loss.temperature if turn.loss.name == "calibrated" else None
    return pl.DataFrame(curve, {"step": pl.Int64, **dict.fromkeys(("loss", "error", "low", "high"), pl.Float64)})
