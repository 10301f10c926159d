"""What to label next, on plain arrays; `diva.estimators` has the arguments that all of them take."""

import warnings
from typing import Any

import numpy as np
import torch

from diva import inputs
from diva.estimators.results import NextLabels
from diva.inputs import Array, Engine, Groups, Precision, Ridge, Size
from diva.methods import registry
from diva.numerics.precision import RidgeFit, fit_ridge
from diva.numerics.threads import single_threaded_libraries
from diva.text.cells import require_rows
from diva.text.choices import Normalization


@single_threaded_libraries()
def suggest(
    X: Any,
    y: Any,
    X_pool: Any,
    *,
    budget: int,
    groups: Groups = None,
    groups_pool: Any = None,
    per_class: int | None = None,
    per_group: int = 1,
    rule: str = "expected_variance",
    seed: int = 0,
    ridge: Ridge = "loo",
    normalize: Normalization = "unit",
    chunk_size: Size = "auto",
    device: str = "auto",
    dtype: Precision = "auto",
) -> NextLabels:
    """Choose what to label next (`diva.curation.suggest`).

    Args:
        X: what is labelled (n, p); None where nothing is.
        y: (n,); None where nothing is labelled.
        X_pool: (n_pool, p), without labels.
        budget: how many to choose.
        groups: (n,) of numbers or strings; rows of one group are left out together.
        groups_pool: (n_pool,) likewise, of the pool.
        per_class: at most so many of one suggested label; None for no limit.
        per_group: at most so many of one group of the pool.
        rule: `expected_variance`, `margin`, `entropy`, `badge`, `k_center`, `typiclust` or `uniform`.
        seed: where there is chance.
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.
        dtype: `auto`, `float32` or `float64`.

    Returns:
        Positions in the pool in the order chosen, each with the label that the model would give it.

    Raises:
        ValueError: as `DivaClassifier.fit`, but for classes, of which there may be none; and on an unknown rule, and a
            budget or limit out of range.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> suggest(X[:100], y[:100], X[100:400], budget=20)
        NextLabels(20 rows to label, by expected_variance)
    """
    engine = Engine(ridge, normalize, chunk_size, device, dtype)
    candidates = inputs.read_features(X_pool, name="X_pool")
    labels = inputs.read_labels([] if y is None else y)
    classes, core, scaling, of_pool = np.unique(labels), None, None, None
    nothing = torch.zeros(len(candidates), dtype=torch.int64)
    if len(labels):
        inputs.check_columns(X, X_pool, "X_pool")
        core, scaling = _core(engine, X, labels, groups, candidates.shape[1])
    else:
        scaling = engine.scaling(candidates, nothing, nothing == 0)
    pool = engine.chunks(candidates, nothing, scaling)
    if groups_pool is not None:
        of_pool = inputs.group_codes(inputs.read_groups(groups_pool, len(candidates), "groups_pool"))
    chosen = registry.suggest(
        rule, core, pool, budget=budget, groups=of_pool, per_class=per_class, per_group=per_group, seed=seed
    )
    if chosen.message:
        warnings.warn(chosen.message, stacklevel=2)
    suggested = classes[chosen.label.numpy()] if len(classes) > 1 else None
    return NextLabels.of(chosen, suggested)


def _core(engine: Engine, X: Any, labels: Array, groups: Groups, width: int) -> tuple[RidgeFit, Any]:
    """The model of what is labelled, of whatever number of classes, and how its rows are scaled."""
    rows = inputs.read_features(X)
    if rows.shape[1] != width:
        raise ValueError(f"X_pool must have the {rows.shape[1]} features of X, got {width}.")
    if len(np.unique(labels)) > 1:
        data = inputs.read(engine, rows, labels, None, groups, fewest=1)
        return data.fitted, data.chunks.scaling
    require_rows(X=rows, y=labels)
    codes = torch.zeros(len(labels), dtype=torch.int64)
    scaling = engine.scaling(rows, codes, codes == 0)
    return fit_ridge(engine.chunks(rows, codes, scaling), 1, 1.0), scaling  # no other class to choose λ by
