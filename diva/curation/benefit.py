"""What weights are worth, and samples that no round chose: errors on held-out rows of the core, in pairs.

Each fold of the core's rows is held out, and with it all that shares a group with one of them; of more than 20,000 rows
only as many folds as hold 20,000. On the rest of the set
weights are fitted, labels called wrong leave as in the release, and two learners train with and without weights: the
ridge head and logistic regression. Only rows of the core test: those that Extend chose are easy for the head by
construction and flatter its weights. Labels called wrong do test: without them only rows would be left that the head
without weights tells right. Weights are kept where the mean gain exceeds its standard error, and more samples are taken
where theirs does. Errors are soft: 0 or 1 differ on few rows, and their standard error hides most gains.

    error of a row with margin m:  σ(−m / s),  s = `BLUR` · the median |m| of its learner
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from diva.curation.evaluation import train
from diva.curation.learners import (
    MOST_ROWS,
    Array,
    TrainingSet,
    choose_penalty,
    logistic_outputs,
    mean_gain,
    sample_rows,
)  # fmt: skip
from diva.curation.reweight import folds_needed, reweight
from diva.numerics.chunks import Chunk, Chunks, Subset
from diva.numerics.gathering import labels_of
from diva.numerics.losses import margins
from diva.numerics.passes import together
from diva.numerics.precision import fit_ridge
from diva.numerics.residence import in_own_span
from diva.text.progress import track

BLUR = 0.2  # of the step from right to wrong, in median margins


@dataclass(frozen=True)
class Members:
    """The set that is weighed: n rows, k classes, λ, where (n,) rows are of the core, and called wrong; groups (n,)."""

    chunks: Chunks
    classes: int
    ridge: float
    core: Tensor
    flagged: Tensor
    groups: Tensor | None = None

    @cached_property
    def labels(self) -> Tensor:
        """Codes (n,)."""
        return labels_of(self.chunks)

    def folds(self, count: int, seed: int) -> Tensor:
        """The fold (n,) that each row is held out with, −1 for one that always trains; whole groups together."""
        n = len(self.core)
        groups = torch.full((n,), -1) if self.groups is None else self.groups
        unit = torch.where(groups < 0, int(groups.max()) + 1 + torch.arange(n), groups)
        tested = torch.unique(unit[self.core])
        fold = torch.full((int(unit.max()) + 1,), -1)
        fold[tested] = torch.randperm(len(tested), generator=torch.Generator().manual_seed(seed)) % count
        return fold[unit]


@dataclass(frozen=True)
class HeldOut:
    """Margins of held-out rows, by learner and whether it trained with weights; how many folds were held out."""

    margins: dict[tuple[str, bool], Array]
    folds: int

    @property
    def learners(self) -> tuple[str, ...]:
        """That judged."""
        return tuple(dict.fromkeys(name for name, _ in self.margins))

    def of(self, weighted: bool) -> list[Array]:
        """Soft errors of each learner."""
        return [soft_errors(self.margins[name, weighted]) for name in self.learners]

    def figures(self) -> dict[str, Any]:
        """Mean errors with and without weights, the gain, its standard error, and the errors of each learner."""
        if not self.margins:
            return {"folds": self.folds, "rows": 0}
        errors = {"with_weights": self.of(weighted=True), "without_weights": self.of(weighted=False)}
        gain, deviation = mean_gain(*errors.values())
        return {
            **{name: float(np.mean(values)) for name, values in errors.items()},
            "gain": gain,
            "standard_error": deviation,
            "rows": len(self.margins[self.learners[0], True]),
            "folds": self.folds,
            "learners": {
                learner: {name: float(values[i].mean()) for name, values in errors.items()}
                for i, learner in enumerate(self.learners)
            },
        }


def soft_errors(margins: Array) -> Array:
    """σ(−m/s) of margins (m,); they may be infinite."""
    finite = np.abs(margins[np.isfinite(margins)])
    scale = BLUR * np.median(finite) if len(finite) else 0.0
    with np.errstate(over="ignore"):
        return expit(-margins / max(scale, np.finfo(float).tiny))  # type: ignore[no-any-return]


def hold_out(
    members: Members, folds: int, seed: int, *, flagged_out: bool, most: int = MOST_ROWS, **weighing: Any
) -> HeldOut:
    """Margins of held-out rows of the core, in an order that depends on these and the seed alone.

    Args:
        members: the set.
        folds: into which the core's rows go, two or more.
        seed: of the folds, of samples, and of Reweight.
        flagged_out: whether rows called wrong train.
        most: rows that train the logistic regression at most, drawn with the seed.
        weighing: loss, steps (a number: those that the whole set took) and step_size of Reweight.
    """
    if not members.core.any():
        return HeldOut({}, folds)
    fold, held_out = members.folds(folds, seed), folds_needed(int(members.core.sum()), folds)
    train_fold = partial(_trained, members, flagged_out=flagged_out, seed=seed, most=most, weighing=weighing)
    unflagged = drawn(members.labels, members.core & ~members.flagged, most, seed)
    work = [partial(train_fold, fold == number) for number in range(held_out) if (fold == number).any()]
    core, *trained = together([partial(in_memory, members.chunks, unflagged), *work])
    penalty = choose_penalty("logistic", core, seed, most)
    made: dict[tuple[str, bool], list[Array]] = {}
    for each in track(trained, len(trained), "folds"):
        for weighted, outputs in each.heads.items():
            made.setdefault(("ridge", weighted), []).append(outputs)
            training = each.rows if weighted else TrainingSet(each.rows.features, each.rows.labels)
            judged = torch.from_numpy(logistic_outputs(training, each.test.features, members.classes, penalty))
            made.setdefault(("logistic", weighted), []).append(
                margins(judged, torch.from_numpy(each.test.labels).long()).numpy()
            )
    return HeldOut({key: np.concatenate(parts) for key, parts in made.items()}, held_out)


class Trained(NamedTuple):
    """What a fold without its rows made: margins of the test rows by whether the head had weights; rows, test rows."""

    heads: dict[bool, Array]
    rows: TrainingSet
    test: TrainingSet


def _trained(
    members: Members, out: Tensor, *, flagged_out: bool, seed: int, most: int, weighing: dict[str, Any]
) -> Trained:
    """Of the core's rows that are ``out``, which test, and the rest, which trains."""
    chunks, k, rest, tests = members.chunks, members.classes, ~out, out & members.core
    together = None if members.groups is None else members.groups[rest]
    start = fit_ridge(in_own_span(Subset(chunks, rest))[0], k, members.ridge, groups=together)
    weights = torch.zeros(len(rest), dtype=torch.float64)
    weights[rest] = reweight(start, seed=seed, **weighing).weights
    trains = trainable(members.labels, rest, members.flagged) if flagged_out else rest
    own, basis = in_own_span(Subset(chunks, trains))
    heads = {
        weighted: replace(train(own, k, members.ridge, weights[trains] if weighted else None), basis=basis)
        for weighted in (True, False)
    }
    chosen = drawn(members.labels, trains, most, seed)
    outcome: dict[bool, list[Tensor]] = {weighted: [] for weighted in heads}
    parts: tuple[list[Chunk], list[Chunk]] = [], []
    for features, labels, numbers in chunks:  # one pass for what trains and what tests
        for mask, into in zip((chosen, tests), parts, strict=True):
            here = mask[numbers]
            if here.any():
                into.append(Chunk(features[here], labels[here], numbers))
        if tests[numbers].any():
            for weighted, head in heads.items():
                outcome[weighted].append(head.margins(parts[1][-1:]))
    rows, test = (as_arrays(some, chunks.shape[1]) for some in parts)
    margins = {weighted: torch.cat([torch.zeros(0), *some]).double().numpy() for weighted, some in outcome.items()}
    return Trained(margins, replace(rows, weights=weights[chosen].numpy()), test)


def trainable(labels: Tensor, rest: Tensor, flagged: Tensor) -> Tensor:
    """Rows that train (n,) where those called wrong leave; a class of which fewer than two would stay stays whole."""
    stays = torch.bincount(labels, (rest & ~flagged).double())
    return rest & (~flagged | (stays[labels] < 2))


def drawn(labels: Tensor, mask: Tensor, most: int, seed: int) -> Tensor:
    """At most so many of the rows of a mask (n,), as a mask; see `diva.curation.learners.sample_rows`."""
    rows = mask.nonzero()[:, 0]
    chosen = torch.zeros_like(mask)
    chosen[rows[torch.from_numpy(sample_rows(labels[rows].numpy(), most, seed))]] = True
    return chosen


def in_memory(chunks: Chunks, mask: Tensor) -> TrainingSet:
    """The rows of a mask at once, without the constant column."""
    return as_arrays(Subset(chunks, mask), chunks.shape[1])


def as_arrays(chunks: Iterable[Chunk], p: int) -> TrainingSet:
    """All rows (m, p) at once, without the constant column."""
    parts = [(z[:, :-1].float().cpu(), labels.cpu()) for z, labels, _ in chunks]
    if not parts:
        return TrainingSet(np.zeros((0, p - 1), np.float32), np.zeros(0, np.int64))
    return TrainingSet(torch.cat([z for z, _ in parts]).numpy(), torch.cat([labels for _, labels in parts]).numpy())
