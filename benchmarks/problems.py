"""What is measured on: a pack of features, with wrong labels planted where it brings none of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Problem:
    """Codes 0..k−1 everywhere; ``wrong`` (n,) says which training labels are."""

    x: Array
    y: Array
    wrong: Array
    x_test: Array
    y_test: Array
    classes: int

    def save(self, path: Path, seed: int) -> None:
        """For the processes that are measured."""
        np.savez(path, x_train=self.x, y_train=self.y, seed=seed)


def digits(seed: int = 0) -> dict[str, Array]:
    """scikit-learn's digits, split at random into 1,437 to train and 360 to test."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    train, test = order[:1437], order[1437:]
    return {"x_train": x[train].astype(np.float32), "y_train": y[train], "x_test": x[test], "y_test": y[test]}


def load(features: str) -> dict[str, Array]:
    """The arrays of FILE.npz, or `digits`.

    Raises:
        ValueError: if one that is needed is missing.
    """
    if features == "digits":
        return digits()
    with np.load(features, allow_pickle=False) as file:
        missing = {"x_train", "y_train", "x_test", "y_test"} - set(file.files)
        if missing:
            raise ValueError(f"features must hold x_train, y_train, x_test, y_test, got none of {sorted(missing)}.")
        return {name: file[name] for name in file.files}


def problem(arrays: dict[str, Array], noise: float | None, seed: int, rows: int | None = None) -> Problem:
    """One draw.

    Args:
        arrays: of a pack.
        noise: share of training labels changed to another class, uniformly; None: 0.2, or what the pack brings.
        seed: of the noise and of the rows.
        rows: how many training rows are kept, drawn at random; None for all.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(arrays["y_train"]))[:rows])
    x, given = arrays["x_train"][chosen], arrays["y_train"][chosen]
    known = np.unique(given)
    kept = np.isin(arrays["y_test"], known)
    y, y_test = np.searchsorted(known, given), np.searchsorted(known, arrays["y_test"][kept])
    if noise is None and "y_train_clean" in arrays:
        wrong = given != arrays["y_train_clean"][chosen]
    else:
        wrong = np.zeros(len(y), dtype=bool)
        wrong[rng.permutation(len(y))[: round((0.2 if noise is None else noise) * len(y))]] = True
        y = np.where(wrong, (y + rng.integers(1, len(known), len(y))) % len(known), y)
    return Problem(x, y, wrong, arrays["x_test"][kept], y_test, len(known))
