"""Training sets of samples with several labels, or a number, side by side.

    multilabel   the error of a test sample is the share of its entries that are wrong; every learner of
                 `diva.curation.learners` judges, one label after the other
    regression   it is (f − y)² in shares of the core's variance, of which 1 is no better than the core's mean; ridge
                 regression and gradient boosting judge

Rows, penalties and what is looked up are those of `diva.curation.trials`.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from sklearn.ensemble import HistGradientBoostingRegressor

from diva.curation import rows, target_extend, target_round, target_rows, target_weights
from diva.curation.audit import NO_TEST_SET, summed_up
from diva.curation.evaluation import Errors
from diva.curation.learners import Array, TrainingSet, answer, choose_penalty, sample_rows
from diva.curation.trials import Training, Trial, content
from diva.numerics.grid import RIDGES
from diva.numerics.targets import TargetFit, fit_targets, mean_squared_residual
from diva.store import evaluation, tables
from diva.store.results import Arrays
from diva.text.choices import Learner

OF_NUMBERS = ("ridge", "boosting")  # learners
MEASURES = {"multilabel": "share of wrong entries", "regression": "unexplained share of the variance"}


class TargetTrial(Trial):
    """Trains heads on targets, and tests them."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.targets = target_rows.targets_of(self.exam.rows["label"], self.problem)
        self.exam.about["measure"] = MEASURES[self.problem.task]

    def _judged(self, training: Training) -> dict[str, Any]:
        head = self.trained(training.frame, training.weights)
        figures = {"ridge": head.model.ridge, **head.model.accuracy, "loo_error": mean_squared_residual(head)}
        return {"errors": self.entry_errors(head).mean(1).numpy(), **figures}

    def entry_errors(self, head: TargetFit) -> torch.Tensor:
        """Errors (n, q) of a head's predictions of the test samples."""
        return target_rows.entry_errors(target_extend.outputs_of(self.test, head.model), self.targets, self.problem)

    def missed(self, errors: Errors) -> npt.NDArray[np.bool_]:
        """Samples with a wrong entry; of numbers the tenth with the largest errors."""
        return errors > (np.quantile(errors, 0.9) if self.problem.task == "regression" else 0)

    def trained(self, frame: pl.DataFrame, weights: torch.Tensor | None, ridge: float | None = None) -> TargetFit:
        """The head; λ by leave-one-out, every row counting once, where none is given."""
        allowed = self.allowed(frame)
        used = frame.filter(allowed)
        chunks, targets = rows.prepared(used, self.problem), target_rows.targets_of(used["label"], self.problem)
        if ridge is None:
            ridge = fit_targets(chunks, targets, None, grid=self.problem.ridges or RIDGES).model.ridge
        alpha = None if weights is None else weights[torch.from_numpy(allowed.to_numpy())]
        return fit_targets(chunks, targets, ridge, alpha)

    def _weighed(self, frame: pl.DataFrame) -> torch.Tensor:
        return target_weights.frame_weights(frame, self.problem, self.weighing)

    def penalty(self, learner: Learner, core: pl.DataFrame, most: int) -> float:
        """C of a learner, chosen on the core by the label that divides it most evenly."""
        if self.problem.task == "regression":
            return 1.0
        targets = target_rows.targets_of(core["label"], self.problem)
        even = int((targets.mean(0) - 0.5).abs().argmin())

        def compute() -> dict[str, float]:
            training = TrainingSet(self.features(core), targets[:, even].long().numpy())
            return {"penalty": choose_penalty(learner, training, self.seed, most)}

        return float(self.results.get(compute, "penalty", learner, most, content(core))["penalty"])

    def features(self, frame: pl.DataFrame) -> Array:
        """All rows at once, without the constant."""
        return rows.gathered(rows.prepared(frame, self.problem))[0].float().cpu().numpy()

    def ask(self, learner: Learner, training: Training, penalty: float, most: int) -> Arrays:
        """Errors of a learner that these rows train, and the seconds that it took."""
        frame, weights = training.frame, training.weights

        def compute() -> dict[str, Any]:
            began = time.perf_counter()
            x, y = self.features(frame), target_rows.targets_of(frame["label"], self.problem).numpy()
            alpha = None if weights is None else weights.numpy()
            test = self.features(self.exam.rows)
            if self.problem.task == "regression":
                outputs = boosted(learner, TrainingSet(x, y[:, 0], alpha), test, self.seed, most)[:, None]
            else:
                columns = [TrainingSet(x, column.astype(np.int64), alpha) for column in y.T]
                answers = [answer(learner, each, test, penalty=penalty, seed=self.seed, most=most) for each in columns]
                outputs = np.column_stack([each.predicted for each in answers]).astype(float)
            errors = target_rows.entry_errors(torch.from_numpy(outputs), self.targets, self.problem)
            return {"errors": errors.mean(1).numpy(), "seconds": time.perf_counter() - began}

        return self.results.get(compute, learner, penalty, most, *training.key)


def by_class(trial: TargetTrial, compared: Mapping[str, Training], errors: Mapping[str, Errors]) -> pl.DataFrame:
    """Of each label the test samples that have it, and the share of its entries that each set's head gets wrong."""
    if trial.problem.task == "regression":
        return tables.empty(evaluation.CLASSES)
    sets = {name: compared[name] for name in errors if name in compared}
    heads = {name: trial.trained(training.frame, training.weights) for name, training in sets.items()}
    shares = {name: trial.entry_errors(head).mean(0).numpy() for name, head in heads.items()}
    return pl.DataFrame({"label": trial.problem.classes, "samples": trial.targets.sum(0).long().numpy(), **shares})


def steps(trial: TargetTrial, members: pl.DataFrame, ridge: float, most: int) -> pl.DataFrame:
    """Leave-one-out loss and test error after 0, 1, … ``most`` steps."""
    frame = members.filter(trial.allowed(members))
    weighing = target_weights.Weighing.of(trial.problem, **{**trial.weighing, "steps": most})
    made: list[dict[str, Any]] = []
    for fitted, _, loss in weighing.walk(target_rows.fitted(frame, trial.problem)) if most else ():
        head = trial.trained(frame, target_weights.weights_of(fitted), ridge)
        errors = trial.entry_errors(head).mean(1).numpy()
        made.append({"step": len(made), "loss": loss, **trial.interval(errors)})
    return pl.DataFrame(made, evaluation.STEPS)


def audit(trial: TargetTrial, training: Training, ridge: float) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Test samples whose labels look wrong, and the head's error with and without them (`diva.curation.audit`)."""
    if trial.exam.about["kind"] != "test":
        return tables.empty(evaluation.AUDIT), {"suspicious": 0, "message": NO_TEST_SET}
    outputs = target_extend.outputs_of(trial.test, trial.trained(training.frame, training.weights, ridge).model)
    judged = target_round.judge(outputs, trial.targets, torch.zeros(len(outputs)).double(), trial.problem)
    table = trial.exam.rows.select("sample_id", "path", "label").with_columns(
        suggested_label=pl.Series(judged.suggested, dtype=pl.String),
        score=pl.Series(judged.score.numpy()),
        margin=pl.Series(judged.margin.numpy()),
    )

    def errors(labels: pl.Series) -> Errors:
        targets = target_rows.targets_of(labels, trial.problem)
        each: Errors = target_rows.entry_errors(outputs, targets, trial.problem).mean(1).numpy()
        return each

    return summed_up(trial, table, judged.flagged.numpy(), judged.message, errors)


def boosted(learner: Learner, training: TrainingSet, test: Array, seed: int, most: int) -> Errors:
    """Numbers that gradient boosting predicts; ValueError on another learner."""
    if learner not in OF_NUMBERS:
        raise ValueError(
            f"evaluate.learners must be of {', '.join(OF_NUMBERS)} where the task is regression, got {learner}."
        )
    rows_in = training.present()
    chosen = rows_in.subset(sample_rows(np.zeros(len(rows_in.labels)), most, seed))
    model = HistGradientBoostingRegressor(random_state=seed)
    predicted: Errors = model.fit(chosen.features, chosen.labels, chosen.weights).predict(test)
    return predicted
