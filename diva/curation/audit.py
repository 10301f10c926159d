"""Labels of the test set that look wrong, by a model that never saw them; nothing of this reaches a training set.

    score_i = 1 − softmax(T*·f_i)_y,    f_i = Wᵀz_i of the head that the release trains

Which are called wrong is decided as in training (`diva.curation.flagging`), where f_i are leave-one-out predictions: of
a row that trains nothing the plain prediction is one. Labels that people decided on are in doubt no more.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from diva.curation import rows
from diva.curation.evaluation import Errors, bootstrap, train
from diva.curation.flagging import flag_by_class, predictions
from diva.curation.trials import Training, Trial
from diva.numerics.losses import margins
from diva.store import evaluation, tables, test_decisions
from diva.text.targets import Vocabulary

NO_TEST_SET = "nothing is audited: there is no test set, and what is held out of the core is judged with the core"


def audit(trial: Trial, training: Training, ridge: float) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The test samples that look wrong, the most suspicious first, and the head's error with and without them.

    Args:
        trial: its exam is audited.
        training: what trains the head.
        ridge: λ of the head.
    """
    if trial.exam.about["kind"] != "test":
        return tables.empty(evaluation.AUDIT), {"suspicious": 0, "message": NO_TEST_SET}
    problem, test = trial.problem, trial.exam.rows
    head = train(rows.prepared(training.frame, problem), len(problem.classes), ridge, training.weights)
    outputs = torch.cat([head.outputs(z).double() for z, _, _ in trial.test]).cpu()
    given = torch.from_numpy(rows.codes(test["label"], problem.classes)).long()
    soft = 1 - torch.softmax(problem.temperature * outputs, 1).gather(1, given[:, None])[:, 0]
    seen = predictions(outputs)
    flags = flag_by_class(soft, given, seen, seen, len(problem.classes))
    listed = test.select("sample_id", "path", "label").with_columns(
        suggested_label=pl.Series([problem.classes[code] for code in seen.predicted.tolist()], dtype=pl.String),
        score=pl.Series(soft.numpy()),
        margin=pl.Series(margins(outputs, given).numpy()),
    )
    predicted = outputs.argmax(1).numpy()

    def errors(labels: pl.Series) -> Errors:
        wrong: Errors = (rows.codes(labels, problem.classes) != predicted).astype(float)
        return wrong

    return summed_up(trial, listed, flags.flagged.numpy(), flags.message, errors)


def summed_up(
    trial: Trial, listed: pl.DataFrame, flagged: npt.NDArray[np.bool_], message: str,
    errors: Callable[[pl.Series], Errors],
) -> tuple[pl.DataFrame, dict[str, Any]]:  # fmt: skip
    """The rows in doubt, and figures: the error by the given labels, without those in doubt, as people decided.

    Args:
        trial: its exam is audited.
        listed: all of its n rows, as of ``evaluation.AUDIT``.
        flagged: whose labels (n,) look wrong.
        message: what is said of the rule.
        errors: of the head's predictions (n,), by labels (n,).
    """
    labels = Vocabulary(trial.problem.task, trial.problem.classes)
    settled = test_decisions.settled(listed, test_decisions.read(), labels)
    doubted = flagged & ~settled.decided
    given, everything = errors(listed["label"]), np.ones(len(listed), bool)

    def of(each: Errors, stays: npt.NDArray[np.bool_]) -> dict[str, float]:
        units = np.unique(trial.exam.units[stays], return_inverse=True)[1]
        return asdict(bootstrap(each[stays], trial.draws, trial.seed, units))

    figures: dict[str, Any] = {"suspicious": int(doubted.sum()), "message": message, "with": of(given, everything)}
    if doubted.any() and not doubted.all():
        figures["without"] = of(given, ~doubted)
    if settled.decided.any():
        figures["by_people"] = int(settled.decided.sum())
        if settled.stays.any():
            figures["decided"] = of(errors(settled.labels), settled.stays)
    return listed.filter(pl.Series(doubted)).sort("score", "sample_id", descending=[True, False]), figures
