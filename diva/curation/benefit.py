"""What weights are worth: the error on held-out rows of the core, with and without them, in pairs.

Each fold of the core's rows is held out. On the rest of the set weights are fitted, labels called wrong leave as in the
release, and two learners train with and without the weights: the ridge head and logistic regression.
Only rows of the core test: those that Extend chose are easy for the head by construction and flatter its weights;
labels called wrong do not test either. Weights are kept where the mean gain exceeds its standard error.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diva.curation.evaluation import train
from diva.curation.learners import MOST_ROWS, Array, TrainingSet, answer, choose_penalty, mean_gain
from diva.curation.reweight import reweight
from diva.numerics.chunks import Chunks, Subset
from diva.numerics.precision import fit_ridge
from diva.text.progress import track


@dataclass(frozen=True)
class Members:
    """The set that is weighed: n rows, k classes, λ, and where (n,) rows are of the core, and called wrong."""

    chunks: Chunks
    classes: int
    ridge: float
    core: Tensor
    flagged: Tensor


def weights_benefit(
    members: Members, folds: int, seed: int, *, flagged_out: bool, most: int = MOST_ROWS, **weighing: Any
) -> dict[str, Any]:
    """Mean errors with and without weights, the gain, its standard error, and the errors of each learner.

    Args:
        members: the set.
        folds: of the core's rows; two or more.
        seed: of the folds, of samples, and of Reweight.
        flagged_out: whether rows called wrong train.
        most: rows that train the logistic regression at most, drawn with the seed.
        weighing: loss, steps (a number: those that the whole set took) and step_size of Reweight.
    """
    n = len(members.core)
    fold = torch.full((n,), -1)
    tests = (members.core & ~members.flagged).nonzero()[:, 0]
    fold[tests] = torch.randperm(len(tests), generator=torch.Generator().manual_seed(seed)) % folds
    penalty = choose_penalty(
        "logistic", gathered(members.chunks, members.core & ~members.flagged, most, seed), seed, most
    )
    wrong: dict[tuple[str, bool], list[Array]] = {}
    for number in track(range(folds), folds, "folds"):
        if (fold == number).any():
            for key, errors in _held_out(members, fold != number, flagged_out, penalty, seed, most, weighing).items():
                wrong.setdefault(key, []).append(errors)
    joined = {key: np.concatenate(parts) for key, parts in wrong.items()}
    with_, without = ([joined[key] for key in joined if key[1] is weighted] for weighted in (True, False))
    if not joined:
        return {"folds": folds, "rows": 0}
    gain, deviation = mean_gain(with_, without)
    learners = {
        name: {"with_weights": float(joined[name, True].mean()), "without_weights": float(joined[name, False].mean())}
        for name in ("ridge", "logistic")
    }
    return {
        "with_weights": float(np.mean(with_)),
        "without_weights": float(np.mean(without)),
        "gain": gain,
        "standard_error": deviation,
        "rows": len(tests),
        "folds": folds,
        "learners": learners,
    }


def _held_out(
    members: Members, rest: Tensor, flagged_out: bool, penalty: float, seed: int, most: int, weighing: dict[str, Any]
) -> dict[tuple[str, bool], Array]:
    """1 where a row that is not in ``rest`` is misclassified, by learner and whether it trained with weights."""
    chunks, k = members.chunks, members.classes
    start = fit_ridge(Subset(chunks, rest), k, members.ridge)
    weights = torch.zeros(len(rest), dtype=torch.float64)
    weights[rest] = reweight(start, seed=seed, **weighing).weights
    trains = trainable(chunks, rest, members.flagged) if flagged_out else rest
    out, set_ = Subset(chunks, ~rest), Subset(chunks, trains)
    test, drawn = gathered(chunks, ~rest, len(rest), seed), sampled(trains, most, seed)
    rows = gathered(chunks, drawn, most, seed)
    errors: dict[tuple[str, bool], Array] = {}
    for weighted in (True, False):
        head = train(set_, k, members.ridge, weights[trains] if weighted else None)
        errors["ridge", weighted] = (~head.correct(out)).double().numpy()
        training = TrainingSet(rows.features, rows.labels, weights[drawn].numpy() if weighted else None)
        predicted = answer("logistic", training, test.features, penalty=penalty, seed=seed, most=most).predicted
        errors["logistic", weighted] = (predicted != test.labels).astype(float)
    return errors


def trainable(chunks: Chunks, rest: Tensor, flagged: Tensor) -> Tensor:
    """Rows that train (n,) where those called wrong leave; a class of which fewer than two would stay stays whole."""
    labels = torch.cat([labels.cpu() for _, labels, _ in chunks])
    stays = torch.bincount(labels, (rest & ~flagged).double())
    return rest & (~flagged | (stays[labels] < 2))


def sampled(mask: Tensor, most: int, seed: int) -> Tensor:
    """At most so many of the rows of a mask (n,), drawn at random."""
    rows = mask.nonzero()[:, 0]
    chosen = torch.zeros_like(mask)
    chosen[rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:most]]] = True
    return chosen


def gathered(chunks: Chunks, mask: Tensor, most: int, seed: int) -> TrainingSet:
    """At most so many of the rows of a mask at once, without the constant column."""
    parts = [(z[:, :-1].float().cpu(), labels.cpu()) for z, labels, _ in Subset(chunks, sampled(mask, most, seed))]
    if not parts:
        return TrainingSet(np.zeros((0, chunks.shape[1] - 1), np.float32), np.zeros(0, np.int64))
    return TrainingSet(torch.cat([z for z, _ in parts]).numpy(), torch.cat([labels for _, labels in parts]).numpy())
