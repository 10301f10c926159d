"""Labels of the test set that look wrong, by a model that never saw them; nothing of this reaches a training set.

    score_i = 1 − softmax(T*·f_i)_y,    f_i = Wᵀz_i of the head that the release trains

Which are called wrong is decided as in training (`diva.curation.flagging`), where f_i are leave-one-out predictions: of
a row that trains nothing the plain prediction is one.
"""

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
from diva.store import evaluation, tables

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
    doubted = flags.flagged.numpy()
    listed = test.select("sample_id", "path", "label").with_columns(
        suggested_label=pl.Series([problem.classes[code] for code in seen.predicted.tolist()], dtype=pl.String),
        score=pl.Series(soft.numpy()),
        margin=pl.Series(margins(outputs, given).numpy()),
    )
    table = listed.filter(pl.Series(doubted)).sort("score", "sample_id", descending=[True, False])
    return table, {
        "suspicious": int(doubted.sum()),
        "message": flags.message,
        **_errors(trial, outputs, given, doubted),
    }


def _errors(trial: Trial, outputs: torch.Tensor, given: torch.Tensor, doubted: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """The head's error with all labels, and without those in doubt."""
    return with_and_without(trial, (outputs.argmax(1) != given).double().numpy(), doubted)


def with_and_without(trial: Trial, errors: Errors, doubted: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """The mean of errors (n,) and its interval, and of those of rows that are not in doubt."""
    figures: dict[str, Any] = {"with": asdict(bootstrap(errors, trial.draws, trial.seed, trial.exam.units))}
    if doubted.any() and not doubted.all():
        units = np.unique(trial.exam.units[~doubted], return_inverse=True)[1]
        figures["without"] = asdict(bootstrap(errors[~doubted], trial.draws, trial.seed, units))
    return figures
