"""What is measured on: a pack of features, with wrong labels planted where it brings none of its own."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from diva.numerics.chunks import InMemory
from diva.numerics.grid import choose_ridge
from diva.numerics.normalize import Prepared
from diva.numerics.precision import RidgeFit

Array = npt.NDArray[Any]

FILES = {"flowers": "flowers102_mobilenetv2.npz", "cifar10n": "cifar10n_random1_mobilenetv2.npz"}
ROWS = 3000  # of CIFAR-10N


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

    def in_its_span(self) -> "Problem":
        """In an orthonormal basis of the training rows, where these are fewer than their features.

        Linear learners and neighbours predict the same, in less time; not so the MLP, whose start sees every direction.
        """
        if len(self.x) >= self.x.shape[1]:
            return self
        basis = np.linalg.qr(self.x.T.astype(np.float64))[0]
        x, x_test = ((rows @ basis).astype(np.float32) for rows in (self.x, self.x_test))
        return replace(self, x=x, x_test=x_test)


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


def draw(about: str, folder: Path, seed: int) -> Problem:
    """A pack under one kind of noise, rows of unit length.

    Args:
        about: `digits`, `flowers` or `cifar10n`, and `clean`, `human` or a kind of `mislabelled`.
        folder: of the packs.
        seed: splits digits, draws rows of CIFAR-10N, and plants what is wrong.
    """
    name, _, kind = about.partition(" ")
    arrays = digits(seed) if name == "digits" else load(str(folder / FILES[name]))
    if name == "cifar10n":
        some = np.random.default_rng([seed, ROWS]).permutation(len(arrays["y_train"]))[:ROWS]
        arrays |= {key: arrays[key][some] for key in ("x_train", "y_train", "y_train_clean")}
    drawn = problem(arrays, None if kind == "human" else 0.0, seed)
    y = drawn.y if kind in ("human", "clean") else mislabelled(drawn.y, kind, drawn.classes, seed)
    rows = (part.astype(np.float32) for part in (drawn.x, drawn.x_test))
    x, x_test = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in rows)
    return replace(drawn, x=x, x_test=x_test, y=y, wrong=drawn.wrong | (y != drawn.y))


def mislabelled(labels: Array, kind: str, classes: int, seed: int) -> Array:
    """Labels of which N % are another class: `uniform N %`, `one class N %`, `a tenth of the classes N %`."""
    random, share = np.random.default_rng([seed, 1]), float(kind.split()[-2]) / 100
    if kind.startswith("uniform"):
        among = np.arange(len(labels))
    else:
        count = 1 if kind.startswith("one") else max(1, round(classes / 10))
        among = np.isin(labels, random.permutation(classes)[:count]).nonzero()[0]
    wrong = random.permutation(among)[: round(share * len(among))]
    changed = labels.copy()
    changed[wrong] = (labels[wrong] + random.integers(1, classes, len(wrong))) % classes
    return changed


def halves(labels: Array, seed: int) -> tuple[Array, Array]:
    """Core and pool: of each class the first half of a permutation, and the rest."""
    random = np.random.default_rng(seed)
    order = [random.permutation((labels == c).nonzero()[0]) for c in np.unique(labels)]
    return np.concatenate([o[: len(o) // 2] for o in order]), np.concatenate([o[len(o) // 2 :] for o in order])


def prepared(x: Array, y: Array) -> Prepared:
    """Rows in chunks."""
    return Prepared(InMemory(torch.from_numpy(x), torch.from_numpy(y), 2048))


def fitted(x: Array, y: Array, classes: int) -> RidgeFit:
    """The head, λ by leave-one-out."""
    return choose_ridge(prepared(x, y), classes).fit()
