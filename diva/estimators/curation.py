"""Detect, reweight, extend and explain on plain arrays; `diva.estimators` has the arguments that all of them take."""

import warnings
from typing import Any, Literal

import numpy as np
import torch

from diva import inputs
from diva.curation import why
from diva.curation.additions import RoundSettings
from diva.curation.detect import detect as detect_rows
from diva.curation.extend import extend as extend_rows
from diva.curation.noise import assess_noise
from diva.curation.reweight import reweight as reweight_rows
from diva.estimators.results import (
    Detection,
    Explanation,
    Extension,
    Influenced,
    Neighbours,
    Reweighting,
)
from diva.inputs import Array, Engine, Groups, Precision, Ridge, Size
from diva.numerics.chunks import Subset
from diva.numerics.groups import undivided_classes
from diva.numerics.leave_one_out import temperature_and_leverage
from diva.numerics.losses import Loss
from diva.numerics.threads import single_threaded_libraries
from diva.text.cells import copies_fault, require_flag, require_rows
from diva.text.choices import LossName, Normalization, Rule, Score, ValidateOn, is_whole
from diva.text.words import few_of


@single_threaded_libraries()
def detect(
    X: Any,
    y: Any,
    *,
    groups: Groups = None,
    score: Score = "soft",
    rule: Rule = "rate",
    second_round: bool = False,
    ridge: Ridge = "loo",
    normalize: Normalization = "unit",
    chunk_size: Size = "auto",
    device: str = "auto",
    dtype: Precision = "auto",
) -> Detection:
    """Find labels that are probably wrong (`diva.curation.detect`).

    Args:
        X: (n, p).
        y: (n,).
        groups: (n,) of numbers or strings; rows of one group are left out together.
        score: `soft`, `margin`, or `derivative` (the paper's).
        rule: `rate`, `margin`, or `derivative` (the paper's; it flags hard, correct samples: never remove by it).
        second_round: refit without the rows of m ≤ −τ and score again (best on heavy human noise).
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.
        dtype: `auto`, `float32` or `float64`.

    Returns:
        Score, margin, flag and suggested label of each row.

    Raises:
        ValueError: as `DivaClassifier.fit`, but for classes of one sample, which are not judged; and on an unknown
            score or rule.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> y[:3] = 7  # a 0, a 1 and a 2
        >>> suspects = detect(X[:500], y[:500])
        >>> suspects.flagged[:4], suspects.suggested[:4]
        (array([ True,  True,  True, False]), array([0, 1, 2, 3]))
    """
    require_flag(second_round, "second_round")
    data = inputs.read(
        Engine(ridge, normalize, chunk_size, device, dtype), inputs.read_features(X), y, None, groups, fewest=1
    )
    suspicion = detect_rows(data.fitted, score=score, rule=rule, second_round=second_round)
    suggested, scores = data.classes[suspicion.suggested.numpy()], suspicion.score.numpy()
    codes = inputs.to_codes(inputs.read_labels(y), data.classes).numpy()
    single = np.bincount(codes) == 1
    undivided = undivided_classes(data.fitted.groups, torch.from_numpy(codes))
    messages = [suspicion.message] if suspicion.message else []
    if single.any():
        scores = np.where(single[codes], np.nan, scores)
        names = ", ".join(map(repr, data.classes[single][:5].tolist()))
        messages.append(f"classes of one sample ({single.sum()}: {names}) are not judged: add a second sample of each")
    if undivided:
        scores = np.where(np.isin(codes, undivided), np.nan, scores)
        names = ", ".join(map(repr, data.classes[undivided[:5]].tolist()))
        messages.append(f"classes of one group ({len(undivided)}: {names}) are not judged: add a second group of each")
    message = "; ".join(messages)
    if message:
        warnings.warn(message, stacklevel=2)
    return Detection(scores, suspicion.margin.numpy(), suspicion.flagged.numpy(), suggested, message)


@single_threaded_libraries()
def reweight(
    X: Any,
    y: Any,
    *,
    groups: Groups = None,
    steps: int | Literal["auto"] = 3,
    step_size: float = 0.5,
    loss: LossName = "calibrated",
    ridge: Ridge = "loo",
    normalize: Normalization = "unit",
    chunk_size: Size = "auto",
    device: str = "auto",
    dtype: Precision = "auto",
) -> Reweighting:
    """Weigh samples so that the leave-one-out loss falls (`reweight`); ``fit`` takes them as ``sample_weight``.

    Args:
        X: (n, p).
        y: (n,).
        groups: (n,) of numbers or strings; rows of one group are left out together.
        steps: how many, or `auto`.
        step_size: η, the largest change of a weight in a step.
        loss: `calibrated`, `hard_margin` (the paper's), `trimmed` or `all`.
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.
        dtype: `auto`, `float32` or `float64`.

    Returns:
        The weights, and the steps that led to them.

    Raises:
        ValueError: as `DivaClassifier.fit`, and on an unknown loss or steps out of range.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> y[::5] = 7  # most of these are none
        >>> weights = reweight(X[:500], y[:500]).weights
        >>> bool(weights[::5].mean() < weights.mean())
        True
    """
    data = inputs.read(Engine(ridge, normalize, chunk_size, device, dtype), inputs.read_features(X), y, None, groups)
    path = reweight_rows(data.fitted, loss=loss, steps=steps, step_size=step_size)
    if path.warning:
        warnings.warn(path.warning, stacklevel=2)
    return Reweighting(path.weights.numpy(), path.history)


@single_threaded_libraries()
def extend(
    X: Any,
    y: Any,
    X_pool: Any,
    y_pool: Any,
    *,
    groups: Groups = None,
    groups_pool: Any = None,
    budget: int | None = None,
    per_round: float | None = None,
    loss: LossName = "calibrated",
    validate_on: ValidateOn = "members_and_pool",
    stop: bool = True,
    ridge: Ridge = "loo",
    normalize: Normalization = "unit",
    chunk_size: Size = "auto",
    device: str = "auto",
    dtype: Precision = "auto",
) -> Extension:
    """Choose, round by round, the samples of a pool that help a core (`diva.curation.extend`).

    Args:
        X: the core (n, p).
        y: (n,).
        X_pool: (n_pool, p); may be empty.
        y_pool: (n_pool,), of the core's classes.
        groups: (n,) of numbers or strings; rows of one group are left out together.
        groups_pool: (n_pool,) likewise, of the pool; a pool row is judged without what shares its group.
        budget: samples added in all; None for no limit.
        per_round: samples added in a round, or a share of the pool; None for a tenth of it.
        loss: `calibrated` with its whole rule, or `hard_margin` (the paper's), `trimmed`, `all`: most negative first.
        validate_on: `members_and_pool`, or `members` (the paper's).
        stop: False adds ``per_round`` each round whatever the sign, until pool or budget is used up.
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.
        dtype: `auto`, `float32` or `float64`.

    Returns:
        Positions in the pool in the order chosen, and why it ended.

    Raises:
        ValueError: as `DivaClassifier.fit`, on a class or a number of features that the core lacks, and on a budget,
            loss or ``validate_on`` out of range, and on frames whose columns differ in name or order.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> y[200:500:3] = 7  # of the pool below
        >>> added = extend(X[:200], y[:200], X[200:500], y[200:500], budget=60)
        >>> len(added.index), int((added.index % 3 == 0).sum()) < 20
        (60, True)
    """
    require_flag(stop, "stop")
    inputs.check_columns(X, X_pool, "X_pool")
    engine, rows = Engine(ridge, normalize, chunk_size, device, dtype), inputs.read_features(X)
    data, candidates = inputs.read(engine, rows, y, None, groups), inputs.read_features(X_pool, 0, "X_pool")
    if candidates.shape[1] != rows.shape[1]:
        raise ValueError(f"X_pool must have the {rows.shape[1]} features of X, got {candidates.shape[1]}.")
    labels = inputs.read_labels(y_pool, "y_pool")
    require_rows(X_pool=candidates, y_pool=labels)
    labels = inputs.in_spelling_of(data.classes, labels)
    foreign = np.unique(labels[~np.isin(labels, data.classes)])
    if len(foreign):
        way = f"leave those samples out, or spell them as y does: {few_of([str(name) for name in data.classes])}"
        raise ValueError(f"y_pool must hold only classes of y, got {foreign[:5].tolist()}; {way}.")
    if (groups is None or isinstance(groups, str)) and groups != "never" and (said := copies_fault(rows, candidates)):
        warnings.warn(said, stacklevel=2)
    pool = engine.chunks(candidates, inputs.to_codes(labels, data.classes), data.chunks.scaling)
    core, of_pool = inputs.pool_groups(data, pool, groups, groups_pool)
    if loss == "hard_margin" and (warning := assess_noise(core, pool, of_pool).warning(loss)):
        warnings.warn(warning, stacklevel=2)
    settings = RoundSettings(per_round, validate_on=validate_on, stop=stop)
    return Extension.of(extend_rows(core, pool, loss=loss, budget=budget, settings=settings, groups=of_pool))


@single_threaded_libraries()
def explain(
    X: Any,
    y: Any,
    index: int,
    *,
    groups: Groups = None,
    top: int = 10,
    loss: LossName = "calibrated",
    ridge: Ridge = "loo",
    normalize: Normalization = "unit",
    chunk_size: Size = "auto",
    device: str = "auto",
    dtype: Precision = "auto",
) -> Explanation:
    """Why a row of X is thought helpful or harmful (`diva.curation.why`).

    Args:
        X: (n, p).
        y: (n,).
        index: the row, from 0.
        groups: (n,) of numbers or strings; rows of one group are left out together.
        top: how many rows are named each time.
        loss: `calibrated`, `hard_margin`, `trimmed` or `all`: which rows validate, and how sharply.
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.
        dtype: `auto`, `float32` or `float64`.

    Returns:
        What the model says of the row without it, whom it helps and harms, and what lies near.

    Raises:
        ValueError: as `DivaClassifier.fit`, and on an index that is no row, an unknown loss, or ``top`` below 1.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> y[0] = 7  # a 0
        >>> reasons = explain(X[:500], y[:500], 0, top=3)
        >>> int(reasons.label), int(reasons.suggested)
        (7, 0)
        >>> set(y[reasons.other.index].tolist())  # its nearest neighbours of that label
        {0}
    """
    rows = inputs.read_features(X)
    if not (is_whole(index) and 0 <= index < len(rows)):
        raise ValueError(f"index must be a row of X (0 to {len(rows) - 1}), got {index!r}.")
    data = inputs.read(Engine(ridge, normalize, chunk_size, device, dtype), rows, y, None, groups)
    fitted = data.fitted
    itself = torch.arange(len(rows)) == index
    together = (
        itself if fitted.groups is None else itself | ((fitted.groups == fitted.groups[index]) & (fitted.groups >= 0))
    )
    features, labels, _ = next(iter(Subset(fitted.chunks, itself)))
    temperature, fitted = temperature_and_leverage(fitted)
    validation = Loss(loss, temperature) if loss == "calibrated" else Loss(loss)
    reasons = why.explain(fitted, why.Query(features[0], int(labels[0]), together), validation, temperature, top=top)
    return Explanation(
        label=data.classes[int(labels[0])],
        suggested=data.classes[reasons.suggested],
        derivative=reasons.derivative,
        helped=Influenced(*_arrays(reasons.helped)),
        harmed=Influenced(*_arrays(reasons.harmed)),
        classes=data.classes,
        probabilities=reasons.probabilities.numpy(),
        without=reasons.without.numpy(),
        group=together.nonzero()[:, 0].numpy(),
        same=Neighbours(*_arrays(reasons.same)),
        other=Neighbours(*_arrays(reasons.other)),
    )


def _arrays(ranked: why.Ranked) -> tuple[Array, Array]:
    return ranked.rows.numpy(), ranked.values.numpy()
