"""What tests training sets, and what trains on them: heads and other learners, on the same rows.

What was computed before is looked up (`diva.store.results`): sets of earlier rounds and uniform choices never change.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from diva.curation import rows
from diva.curation.evaluation import Errors, Head, Units, bootstrap, train, train_by_leave_one_out
from diva.curation.learners import TrainingSet, answer, choose_penalty, sample_rows
from diva.curation.reweight import reweight
from diva.numerics.precision import fit_ridge
from diva.store import index, paths
from diva.store.results import Arrays, Results, digest
from diva.text.choices import Learner

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


@dataclass(frozen=True)
class Training:
    """Rows that train, and their weights, or None for ones."""

    frame: pl.DataFrame
    weights: torch.Tensor | None = None

    @cached_property
    def rows(self) -> str:
        """Digest of what the rows train, whatever their weights."""
        return content(self.frame)

    @property
    def key(self) -> tuple[object, ...]:
        """Rows and weights, as what is looked up depends on them."""
        return self.rows, None if self.weights is None else self.weights.numpy()


class HeadScore(NamedTuple):
    """1 where a training set's head misclassifies a test sample; its λ, accuracy and leave-one-out error; its time."""

    errors: Errors
    figures: dict[str, float]
    seconds: float


class Trial:
    """Trains heads and tests them.

    Args:
        exam: what tests.
        problem: with all classes; λ is chosen anew, by leave-one-out on each training set, from its grid.
        draws: of the bootstrap.
        uniform: uniform choices that are averaged.
        seed: of both.
        weighing: loss, steps, step_size and seed of Reweight.
        folder: of results that were computed before.
        groups: of core and pool (`diva.store.index.groups`), which Reweight leaves out together.
    """

    def __init__(
        self, exam: Exam, problem: rows.Problem, draws: int, uniform: int, seed: int, weighing: Mapping[str, Any],
        folder: Path, groups: pl.DataFrame | None = None,
    ) -> None:  # fmt: skip
        self.exam, self.problem, self.weighing = exam, problem, dict(weighing)
        self.draws, self.choices, self.seed = draws, uniform, seed
        self.test = rows.prepared(exam.rows, problem)
        self.groups = groups
        self.results = Results(folder, asdict(problem), paths.MOMENTS, content(exam.rows), exam.excluded, seed, groups)
        self._ridges: dict[str, tuple[float, float]] = {}  # of rows, whatever their weights: λ and leave-one-out error

    def allowed(self, frame: pl.DataFrame) -> pl.Series:
        """Which rows may train."""
        return ~frame["sample_id"].is_in(self.exam.excluded)

    def judge(self, training: Training) -> HeadScore:
        """The head of a training set, without what is held out."""

        def compute() -> dict[str, Any]:
            started = time.perf_counter()
            return {**self._judged(training), "seconds": time.perf_counter() - started}

        made = self.results.get(compute, "head", *training.key)
        errors, seconds = made.pop("errors"), float(made.pop("seconds"))
        return HeadScore(errors, {name: float(value) for name, value in made.items()}, seconds)

    def _judged(self, training: Training) -> dict[str, Any]:
        allowed = without(training, self.allowed(training.frame))
        chunks, classes = rows.prepared(allowed.frame, self.problem), len(self.problem.classes)
        if allowed.weights is not None and training.rows in self._ridges:  # chosen without weights
            ridge, error = self._ridges[training.rows]
            head = replace(train(chunks, classes, ridge, allowed.weights), loo_error=error)
        else:
            head = train_by_leave_one_out(chunks, classes, self.problem.ridges, allowed.weights)
            self._ridges[training.rows] = head.model.ridge, head.loo_error
        figures = {"ridge": head.model.ridge, **head.model.accuracy, "loo_error": head.loo_error}
        return {"errors": self.errors(head), **figures}

    def errors(self, head: Head) -> Errors:
        """1 where a test sample is misclassified."""
        return (~head.correct(self.test)).double().numpy()

    def missed(self, errors: Errors) -> npt.NDArray[np.bool_]:
        """Which test samples count as errors where they are counted."""
        return errors > 0

    def interval(self, errors: Errors, key: str = "error") -> dict[str, float]:
        """Mean and bounds under the names of the metrics."""
        bounds = bootstrap(errors, self.draws, self.seed, self.exam.units, exact=not key.endswith("difference"))
        prefix = "" if key == "error" else f"{key}_"
        return {key: bounds.mean, f"{prefix}low": bounds.low, f"{prefix}high": bounds.high}

    def in_memory(
        self, frame: pl.DataFrame, weights: torch.Tensor | None = None, most: int | None = None
    ) -> TrainingSet:
        """Rows of a frame at once, at most so many of those that train, drawn with the seed, without the constant."""
        present = np.arange(len(frame)) if weights is None else np.flatnonzero(weights.numpy() > 0)
        labels = rows.codes(frame["label"], self.problem.classes)[present]
        chosen = present[sample_rows(labels, len(labels) if most is None else most, [self.seed, len(frame)])]
        features, codes = rows.gathered(rows.prepared(frame[chosen.tolist()], self.problem))
        alpha = None if weights is None else weights.numpy()[chosen]
        return TrainingSet(features.float().cpu().numpy(), codes.cpu().numpy(), alpha)

    def weigh(self, frame: pl.DataFrame) -> torch.Tensor:
        """Weights of a frame, as the stage ``reweight`` would choose them."""
        key = "weights", self.weighing, content(frame)
        return torch.from_numpy(self.results.get(lambda: {"weights": self._weighed(frame)}, *key)["weights"])

    def _weighed(self, frame: pl.DataFrame) -> torch.Tensor:
        problem = self.problem
        together = rows.group_numbers(frame, self.groups)
        fitted = fit_ridge(rows.prepared(frame, problem), len(problem.classes), problem.ridge, groups=together)
        return reweight(fitted, **self.weighing).weights

    def penalty(self, learner: Learner, core: pl.DataFrame, most: int) -> float:
        """C or λ of a learner, chosen on the core."""

        def compute() -> dict[str, float]:
            return {"penalty": choose_penalty(learner, self.in_memory(core, None, most), self.seed, most)}

        return float(self.results.get(compute, "penalty", learner, most, content(core))["penalty"])

    def ask(self, learner: Learner, training: Training, penalty: float, most: int) -> Arrays:
        """1 where a learner that these rows train misclassifies a test sample, and the seconds that it took."""
        frame, weights = training.frame, training.weights

        def compute() -> dict[str, Any]:
            rows_in_memory, test = self.in_memory(frame, weights, most), self.in_memory(self.exam.rows)
            made = answer(learner, rows_in_memory, test.features, penalty=penalty, seed=self.seed, most=most)
            return {"errors": (made.predicted != test.labels).astype(np.float64), "seconds": made.seconds}

        return self.results.get(compute, learner, penalty, most, *training.key)

    def drawn(self, core: pl.DataFrame, pool: pl.DataFrame, size: int) -> list[pl.DataFrame]:
        """The core and a uniform choice from the pool, together ``size`` samples; several draws."""
        wanted = min(max(0, size - len(core)), len(pool))
        draws = self.choices if 0 < wanted < len(pool) else 1
        generator = np.random.default_rng(self.seed)
        chosen = [sorted(generator.permutation(len(pool))[:wanted].tolist()) for _ in range(draws)]
        return [pl.concat([core, pool[some]]) for some in chosen]

    def uniform(self, core: pl.DataFrame, pool: pl.DataFrame, size: int) -> Errors:
        """Mean errors of the heads of these draws, for each test sample."""
        errors: Errors = np.mean([self.judge(Training(frame)).errors for frame in self.drawn(core, pool, size)], axis=0)
        return errors


def without(training: Training, allowed: pl.Series) -> Training:
    """The rows that are allowed to train."""
    if allowed.all():
        return training
    mask = torch.from_numpy(allowed.to_numpy())
    return Training(training.frame.filter(allowed), None if training.weights is None else training.weights[mask])


def content(frame: pl.DataFrame) -> str:
    """Digest of what the rows of a frame train: labels and features."""
    files = [Path(name) for name in frame["features"].unique(maintain_order=True)]
    return digest(frame.select("sample_id", "label", "features", "row"), files)
