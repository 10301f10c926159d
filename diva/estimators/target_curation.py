"""Extend and suggest for several labels a sample, or a number; `diva.estimators` has the arguments that all take.

Rows are left out one by one here: what belongs together is not left out together.
"""

import warnings
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from diva import inputs
from diva.curation.additions import RoundSettings
from diva.curation.suggest import Suggestion
from diva.curation.suggest import suggest as suggest_rows
from diva.curation.target_extend import extend_targets, outputs_of, target_rule
from diva.curation.target_suggest import RULES, target_outlook
from diva.estimators.results import Extension, NextLabels
from diva.estimators.targets import fit, mean_and_scale, read_column, read_entries, rows_of
from diva.inputs import Array, Engine, Ridge, Size
from diva.numerics.normalize import Prepared
from diva.numerics.targets import TargetFit, TargetLoss, choose_entry_temperature, loo_predictions_of_targets
from diva.numerics.threads import single_threaded_libraries
from diva.text.cells import require_rows
from diva.text.choices import Normalization, ValidateOn

TargetRule = Literal["calibrated", "trimmed", "all"]


@single_threaded_libraries()
def extend_multilabel(
    X: Any,
    Y: Any,
    X_pool: Any,
    Y_pool: Any,
    *,
    separator: str | None = None,
    budget: int | None = None,
    per_round: float | None = None,
    loss: TargetRule = "calibrated",
    validate_on: ValidateOn = "members_and_pool",
    stop: bool = True,
    ridge: Ridge = "loo",
    normalize: Normalization = "unit",
    chunk_size: Size = "auto",
    device: str = "auto",
) -> Extension:
    """Choose, round by round, the samples of a pool that help a core (`diva.curation.target_extend`).

    Args:
        X: the core (n, p).
        Y: (n, q) of 0 and 1 (a data frame names the labels); or n lists of labels; or n texts such as "cat|dog".
        X_pool: (n_pool, p); may be empty.
        Y_pool: likewise, of the core's labels.
        separator: of the labels in texts, such as "|".
        budget: samples added in all; None for no limit.
        per_round: samples added in a round, or a share of the pool; None for a tenth of it.
        loss: `calibrated` leaves hopeless entries out where the labels are noisy, `trimmed` always, `all` never.
        validate_on: `members_and_pool`, or `members`.
        stop: False adds ``per_round`` each round whatever the sign, until pool or budget is used up.
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.

    Returns:
        Positions in the pool in the order chosen, and why it ended.

    Raises:
        ValueError: as `detect_multilabel`, on a label or a number of features that the core lacks, and on a budget or
            choice out of range.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> X, digits = load_digits(return_X_y=True)
        >>> Y = np.column_stack([digits % 2 == 0, np.isin(digits, (0, 6, 8, 9))]).astype(int)
        >>> Y[200:500:3] = 1 - Y[200:500:3]  # of the pool below
        >>> added = extend_multilabel(X[:200], Y[:200], X[200:500], Y[200:500], budget=60)
        >>> len(added.index), int((added.index % 3 == 0).sum()) < 10
        (60, True)
    """
    settings = RoundSettings(per_round, validate_on=validate_on, stop=stop)
    entries, names = read_entries(Y, separator)
    offered = _entries_of_pool(Y_pool, separator, names)
    core, pool = _core_and_pool(X, X_pool, entries, Engine(ridge, normalize, chunk_size, device, "float64"))
    temperature = choose_entry_temperature(loo_predictions_of_targets(core).values, core.targets)
    return _extended(core, pool, offered, (loss, TargetLoss("entries", temperature)), budget, settings)


@single_threaded_libraries()
def extend_regression(
    X: Any,
    y: Any,
    X_pool: Any,
    y_pool: Any,
    *,
    budget: int | None = None,
    per_round: float | None = None,
    loss: TargetRule = "calibrated",
    validate_on: ValidateOn = "members_and_pool",
    stop: bool = True,
    ridge: Ridge = "loo",
    normalize: Normalization = "standardize",
    chunk_size: Size = "auto",
    device: str = "auto",
) -> Extension:
    """Choose, round by round, the samples of a pool that help a core (`diva.curation.target_extend`).

    Args:
        X: the core (n, p).
        y: (n,) numbers.
        X_pool: (n_pool, p); may be empty.
        y_pool: (n_pool,) numbers.
        budget: samples added in all; None for no limit.
        per_round: samples added in a round, or a share of the pool; None for a tenth of it.
        loss: `calibrated` leaves hopeless numbers out where the numbers are noisy, `trimmed` always, `all` never.
        validate_on: `members_and_pool`, or `members`.
        stop: False adds ``per_round`` each round whatever the sign, until pool or budget is used up.
        ridge: λ > 0, or `loo`.
        normalize: `standardize`, `unit` or `none`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.

    Returns:
        Positions in the pool in the order chosen, and why it ended.

    Raises:
        ValueError: as `detect_regression`, on a number of features that the core lacks, and on a budget or choice out
            of range.

    Examples:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> y[200::4] += 300  # of the pool below
        >>> added = extend_regression(X[:200], y[:200], X[200:], y[200:])
        >>> len(added.index) > 50, int((added.index % 4 == 0).sum()) < 10
        (True, True)
    """
    settings = RoundSettings(per_round, validate_on=validate_on, stop=stop)
    numbers = read_column(y)
    mean, scale = mean_and_scale(numbers)
    offered = (read_column(y_pool, "y_pool", 0) - mean) / scale
    engine = Engine(ridge, normalize, chunk_size, device, "float64")
    core, pool = _core_and_pool(X, X_pool, (numbers - mean) / scale, engine)
    return _extended(core, pool, offered, (loss, TargetLoss("squared")), budget, settings)


@single_threaded_libraries()
def suggest_multilabel(
    X: Any,
    Y: Any,
    X_pool: Any,
    *,
    budget: int,
    separator: str | None = None,
    groups_pool: Any = None,
    per_group: int = 1,
    rule: str = "expected_variance",
    seed: int = 0,
    ridge: Ridge = "loo",
    normalize: Normalization = "unit",
    chunk_size: Size = "auto",
    device: str = "auto",
) -> NextLabels:
    """Choose what to label next (`diva.curation.suggest`).

    Args:
        X: what is labelled (n, p).
        Y: (n, q) of 0 and 1 (a data frame names the labels); or n lists of labels; or n texts such as "cat|dog".
        X_pool: (n_pool, p), without labels.
        budget: how many to choose.
        separator: of the labels in texts, such as "|".
        groups_pool: (n_pool,) of numbers or strings, what belongs together in the pool.
        per_group: at most so many of one group of the pool.
        rule: `expected_variance`, `margin`, `k_center`, `typiclust` or `uniform`.
        seed: where there is chance.
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.

    Returns:
        Positions in the pool in the order chosen; ``suggested`` of each are the labels that the model would give, in a
        tuple, and ``probability`` that all of them and no other are right.

    Raises:
        ValueError: as `detect_multilabel`, on an unknown rule, and on a budget or limit out of range.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> X, digits = load_digits(return_X_y=True)
        >>> Y = [{"round"} if digit in (0, 6, 8, 9) else set() for digit in digits[:100]]
        >>> suggest_multilabel(X[:100], Y, X[100:400], budget=20)
        NextLabels(20 rows to label, by expected_variance)
    """
    _check_rule(rule, "multilabel")
    entries, names = read_entries(Y, separator)
    core, pool = _core_and_pool(X, X_pool, entries, Engine(ridge, normalize, chunk_size, device, "float64"), 1)
    temperature = choose_entry_temperature(loo_predictions_of_targets(core).values, core.targets)
    outputs = outputs_of(pool, core.model)
    said, codes = np.unique((outputs > 0.5).numpy(), axis=0, return_inverse=True)
    labels = np.empty(len(said), dtype=object)
    labels[:] = [tuple(name for name, given in zip(names, row, strict=True) if given) for row in said]
    judged = target_outlook(core, pool, outputs, torch.from_numpy(codes.astype(np.int64)), temperature)
    chosen = suggest_rows(
        judged[0], pool, budget=budget, rule=rule, temperature=temperature, judged=judged[1], per_group=per_group,
        groups=_groups(groups_pool, len(outputs)), seed=seed,
    )  # fmt: skip
    return _next_labels(chosen, labels[chosen.label.numpy()])


@single_threaded_libraries()
def suggest_regression(
    X: Any,
    y: Any,
    X_pool: Any,
    *,
    budget: int,
    groups_pool: Any = None,
    per_group: int = 1,
    rule: str = "expected_variance",
    seed: int = 0,
    ridge: Ridge = "loo",
    normalize: Normalization = "standardize",
    chunk_size: Size = "auto",
    device: str = "auto",
) -> NextLabels:
    """Choose what to measure next (`diva.curation.suggest`); a number lessens the variance of all predictions alike.

    Args:
        X: what is labelled (n, p).
        y: (n,) numbers.
        X_pool: (n_pool, p), without numbers.
        budget: how many to choose.
        groups_pool: (n_pool,) of numbers or strings, what belongs together in the pool.
        per_group: at most so many of one group of the pool.
        rule: `expected_variance`, `k_center`, `typiclust` or `uniform`.
        seed: where there is chance.
        ridge: λ > 0, or `loo`.
        normalize: `standardize`, `unit` or `none`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.

    Returns:
        Positions in the pool in the order chosen; ``suggested`` of each is the number that the model expects.

    Raises:
        ValueError: as `detect_regression`, on an unknown rule, and on a budget or limit out of range.

    Examples:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> suggest_regression(X[:100], y[:100], X[100:], budget=20)
        NextLabels(20 rows to label, by expected_variance)
    """
    _check_rule(rule, "regression")
    numbers = read_column(y)
    mean, scale = mean_and_scale(numbers)
    engine = Engine(ridge, normalize, chunk_size, device, "float64")
    core, pool = _core_and_pool(X, X_pool, (numbers - mean) / scale, engine, 1)
    outputs = outputs_of(pool, core.model)
    judged = target_outlook(core, pool, outputs, torch.arange(len(outputs)), None)
    chosen = suggest_rows(
        judged[0], pool, budget=budget, rule=rule, judged=judged[1], per_group=per_group,
        groups=_groups(groups_pool, len(outputs)), seed=seed,
    )  # fmt: skip
    return _next_labels(chosen, mean + scale * outputs[chosen.index, 0].numpy())


def _core_and_pool(X: Any, X_pool: Any, targets: Tensor, engine: Engine, fewest: int = 0) -> tuple[TargetFit, Prepared]:
    """The model of the core, and the pool's rows scaled as the core's."""
    inputs.check_columns(X, X_pool, "X_pool")
    rows, candidates = rows_of(X, targets, engine), inputs.read_features(X_pool, fewest, "X_pool")
    width = inputs.read_features(X).shape[1]
    if candidates.shape[1] != width:
        raise ValueError(f"X_pool must have the {width} features of X, got {candidates.shape[1]}.")
    pool = engine.chunks(candidates, torch.zeros(len(candidates), dtype=torch.int64), rows.scaling)
    return fit(rows, targets, engine.ridge), pool


def _entries_of_pool(Y_pool: Any, separator: str | None, names: tuple[Any, ...]) -> Tensor:
    """Entries (n_pool, q) by the names of the core's labels."""
    entries, offered = read_entries(Y_pool, separator)
    as_array = separator is None and not isinstance(Y_pool, list | tuple) and getattr(Y_pool, "ndim", 2) == 2
    foreign = [name for name in offered if name not in names]
    if foreign or (as_array and offered != names):
        raise ValueError(
            f"Y_pool must hold only the {len(names)} labels of Y, got {foreign[:5] or list(offered)}; leave others out."
        )
    placed = torch.zeros(len(entries), len(names), dtype=torch.float64)
    placed[:, [names.index(name) for name in offered]] = entries
    return placed


def _extended(
    core: TargetFit,
    pool: Prepared,
    targets: Tensor,
    rule: tuple[TargetRule, TargetLoss],
    budget: int | None,
    settings: RoundSettings,
) -> Extension:
    require_rows(X_pool=range(pool.shape[0]), y_pool=targets)
    loss = target_rule(rule[0], core, pool, targets, rule[1])
    return Extension.of(extend_targets(core, pool, targets, loss, budget, settings))


def _check_rule(rule: str, task: str) -> None:
    if rule not in RULES[task]:
        raise ValueError(f"rule must be one of {', '.join(RULES[task])}, got {rule!r}.")


def _groups(groups: Any, n: int) -> Tensor | None:
    return None if groups is None else inputs.group_codes(inputs.read_groups(groups, n, "groups_pool"))


def _next_labels(chosen: Suggestion, suggested: Array) -> NextLabels:
    if chosen.message:
        warnings.warn(chosen.message, stacklevel=4)
    return NextLabels.of(chosen, suggested)
