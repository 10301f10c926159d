"""The door of every method: whatever the caller has, as tensors, checked once.

Features may be numpy arrays, tensors or nested lists of any real dtype; labels may be integers or strings. Everything
after this door may rely on finite rows and on labels that are codes 0..k−1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Classes = int | Sequence[Any] | None

BLOCK = 2**24  # entries of a temporary n×block matrix: 64 MiB in float32


@dataclass(frozen=True)
class Labelled:
    """n samples.

    Attributes:
        features: (n, p) float32 or float64, on the device they came on; finite.
        labels: (n,) int64 codes in 0..k−1, on the same device.
        classes: k, those without a sample included.
    """

    features: Tensor
    labels: Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: Tensor) -> "Labelled":
        """The samples at these positions."""
        return Labelled(self.features[rows], self.labels[rows], self.classes)

    def require_classes(self, least: int) -> None:
        """ValueError where fewer classes occur than a method needs to mean anything."""
        if (distinct := int(self.labels.bincount().count_nonzero())) < least:
            raise ValueError(f"labels must hold at least {least} different classes, got {distinct}.")

    def members(self) -> list[Tensor]:
        """Positions of each class's samples, ascending, one entry per class."""
        return [(self.labels == c).nonzero()[:, 0] for c in range(self.classes)]


def labelled(features: Any, labels: Any, classes: Classes = None) -> Labelled:
    """Checked features (n, p) and labels (n,).

    Args:
        features: array-like; float16 and float32 become float32, all else float64.
        labels: array-like of integers or strings.
        classes: None where the classes are those that occur (codes in sorted order); a number k where labels are codes
            0..k−1 already; or the classes themselves, in the order of their codes.

    Raises:
        ValueError: on a wrong shape, no row, an entry that is not finite, or a missing or unknown label.
    """
    x = _features(features)
    names = _names(labels)
    if len(names) != len(x):
        raise ValueError(f"labels must have one entry per row of features ({len(x)}), got {len(names)}.")
    codes, k = _codes(names, classes)
    return Labelled(x, torch.from_numpy(codes).to(x.device), k)


def pair(
    core_features: Any, core_labels: Any, pool_features: Any, pool_labels: Any, classes: Classes = None
) -> tuple[Labelled, Labelled]:
    """Core and pool with common codes; classes that occur in either count.

    Raises:
        ValueError: as `labelled`, or if core and pool differ in their number of features.
    """
    core, pool = _names(core_labels), _names(pool_labels)
    x_core, x_pool = _features(core_features), _features(pool_features)
    if x_core.shape[1] != x_pool.shape[1]:
        raise ValueError(f"pool_features must have {x_core.shape[1]} columns, like the core's, got {x_pool.shape[1]}.")
    common = np.unique(np.concatenate([core, pool])).tolist() if classes is None else classes
    return labelled(x_core, core, common), labelled(x_pool.to(x_core), pool, common)


def _features(features: Any) -> Tensor:
    x = torch.as_tensor(features if isinstance(features, Tensor) else np.asarray(features))
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"features must have shape (n, p) with n, p > 0, got {tuple(x.shape)}.")
    if x.is_complex():
        raise ValueError(f"features must be real numbers, got {x.dtype}.")
    x = x.to(torch.float32 if x.dtype in (torch.float16, torch.bfloat16, torch.float32) else torch.float64)
    # A norm that is not finite gives away any entry that is not, at the price of n numbers.
    finite = torch.isfinite(torch.linalg.vector_norm(x, dim=1))
    if not finite.all():
        raise ValueError(f"features must be finite, got NaN or infinity in row {int((~finite).nonzero()[0])}.")
    return x


def _names(labels: Any) -> Any:
    """Labels as a one-dimensional numpy array of integers or strings."""
    names = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if names.ndim != 1:
        raise ValueError(f"labels must have shape (n,), got {names.shape}.")
    if names.dtype.kind == "O":
        missing = [i for i, name in enumerate(names) if name is None or name != name]
        if missing:
            raise ValueError(f"labels must not be missing, got {names[missing[0]]} in row {missing[0]}.")
        names = names.astype(str)
    if names.dtype.kind == "f":
        whole = np.isfinite(names) & (names == np.round(names))
        if not whole.all():
            row = int(np.flatnonzero(~whole)[0])
            raise ValueError(f"labels must be integers or strings, got {names[row]} in row {row}.")
        names = names.astype(np.int64)
    return names


def _codes(names: Any, classes: Classes) -> tuple[Any, int]:
    if classes is None:
        present, codes = np.unique(names, return_inverse=True)
        return codes.astype(np.int64), len(present)
    if isinstance(classes, int):
        if names.dtype.kind not in "iub":
            raise ValueError(f"labels must be codes in 0..{classes - 1}, got {names[0]!r}; or name the classes.")
        if names.min() < 0 or names.max() >= classes:
            raise ValueError(f"labels must be codes in 0..{classes - 1}, got {names.min()}..{names.max()}.")
        return names.astype(np.int64), classes
    return _look_up(names, np.asarray(classes)), len(classes)


def _look_up(names: Any, classes: Any) -> Any:
    """Positions of ``names`` in ``classes``, which need not be sorted."""
    unknown = np.setdiff1d(names, classes)
    if len(unknown):
        raise ValueError(f"labels must be among the {len(classes)} classes, got {unknown[0]!r}.")
    order = np.argsort(classes, kind="stable")
    return order[np.searchsorted(classes[order], names)].astype(np.int64)
