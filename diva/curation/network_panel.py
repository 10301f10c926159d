"""Training sets judged by a network that is fine-tuned on their images, on request."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from diva.curation.evaluation import Errors
from diva.curation.trials import Training, Trial

# 1 where a test row (path, label) is misclassified by what training rows (path, label, weight) make of a network
Judge = Callable[[pl.DataFrame, pl.DataFrame, Sequence[str]], Errors]


def finetuned(
    trial: Trial, compared: Mapping[str, Training], judge: Judge, settings: object
) -> dict[str, dict[str, Any]]:
    """Figures of each training set, and the paired difference to the core.

    Args:
        trial: tests; its index rows name images by their paths.
        compared: training sets by name, the core among them.
        judge: fine-tunes a network anew for each set, unless that was done before.
        settings: all that ``judge`` depends on, written out.
    """

    def errors_of(training: Training) -> Errors:
        rows = _trained(trial, training)
        made = trial.results.get(
            lambda: {"errors": judge(rows, trial.exam.rows, trial.problem.classes)}, "finetuned", settings, rows
        )
        return made["errors"]

    errors = {name: errors_of(training) for name, training in compared.items()}
    return {
        name: {**trial.interval(own), **trial.interval(own - errors["core"], "difference")}
        for name, own in errors.items()
    }


def _trained(trial: Trial, training: Training) -> pl.DataFrame:
    """Rows that train, named by their content, with their weights."""
    weights = pl.lit(1.0) if training.weights is None else pl.Series(training.weights.numpy())
    frame = training.frame.select("path", "label", "sample_id").with_columns(weight=weights)
    return frame.filter(trial.allowed(training.frame))
