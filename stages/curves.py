"""Curves that ``evaluate`` draws for people: errors by class, and what more and more steps of Reweight do."""

from collections.abc import Mapping

import polars as pl
import torch

from diva.curation.evaluation import Errors, train
from diva.curation.reweight import reweight
from diva.numerics.precision import fit_ridge
from stages.params.reweight import Reweight
from stages.trial import Trial


def by_class(test: pl.DataFrame, errors: Mapping[str, Errors]) -> pl.DataFrame:
    """Test samples of each class and the share of them that each training set's head gets wrong."""
    shares = {name: pl.Series(values) for name, values in errors.items()}
    frame = test.select("label").with_columns(**shares)
    return frame.group_by("label").agg(pl.len().alias("samples"), pl.col(list(shares)).mean()).sort("label")


def steps(trial: Trial, members: pl.DataFrame, ridge: float, settings: Reweight, most: int) -> pl.DataFrame:
    """Leave-one-out loss and test error after 0, 1, … ``most`` steps: the loss goes on falling, the error does not.

    Args:
        trial: what is held out of it does not train here either.
        members: the set that is weighed.
        ridge: λ of the heads that are tested, the same at every step.
        settings: loss and size of the steps, as of the stage ``reweight``.
        most: steps that are watched; 0 for an empty curve.
    """
    kept = members.filter(~pl.col("sample_id").is_in(list(trial.held)))
    chunks, classes = trial.chunks(kept), len(trial.classes)
    alpha, temperature = torch.ones(len(kept), dtype=torch.float64), None
    found = []
    for step in range(most + 1 if most else 0):
        turn = reweight(
            fit_ridge(chunks, classes, trial.fit.ridge, alpha),
            loss=settings.loss, steps=1, step_size=settings.step_size, temperature=temperature,
        )  # fmt: skip
        if not turn.history:  # nothing validates: no step can be taken
            break
        errors = trial.errors(train(chunks, classes, ridge, alpha))
        found.append({"step": step, "loss": turn.history[0].loss, **trial.interval(errors)})
        alpha, temperature = turn.weights, turn.loss.temperature if settings.loss == "calibrated" else None
    return pl.DataFrame(found, {"step": pl.Int64, **dict.fromkeys(("loss", "error", "low", "high"), pl.Float64)})
