"""What notebooks hand in, checked at the door: arrays, tensors and data sets to chunks, labels to codes.

X (n, p) is a numpy array (or a list, or a data frame), a torch tensor, or an h5py data set; the latter two are read
slice by slice. y (n,) are labels, strings or numbers. scikit-learn's own checks are used where it has them.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight
from torch import Tensor

from diva.numerics import device
from diva.numerics.chunks import InMemory, Subset
from diva.numerics.grid import choose_ridge
from diva.numerics.normalize import Normalization, Prepared, Scaling, scaling
from diva.numerics.precision import RidgeFit, fit_ridge
from diva.numerics.ridge import Moments

Array = NDArray[Any]
Ridge = float | Literal["loo"]
Precision = Literal["auto", "float32", "float64"]
Size = int | Literal["auto"]


class Slices:
    """Features (n, p) as `InMemory` slices them: each slice a tensor of ``dtype``, of memory of its own."""

    def __init__(self, X: Any, dtype: Precision) -> None:
        self.X, self.dtype, self.shape, self.ndim = X, dtype, X.shape, X.ndim

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice) -> Tensor:
        part = self.X[rows]
        if isinstance(part, Tensor):
            return part.detach().to(getattr(torch, self.dtype))
        # torch takes neither foreign byte orders nor read-only memory; a copy of one chunk settles both.
        return torch.from_numpy(np.array(part, dtype=self.dtype))


@dataclass(frozen=True)
class Engine:
    """How rows are read and computed with: the arguments that class and functions share."""

    ridge: Ridge
    normalize: Normalization
    chunk_size: Size
    device: str
    dtype: Precision

    def __post_init__(self) -> None:
        number = isinstance(self.ridge, Real) and 0 < self.ridge < float("inf")
        if not (number or self.ridge == "loo"):
            raise ValueError(f"ridge must be 'loo' or positive and finite, got {self.ridge!r}.")
        if self.dtype not in get_args(Precision):
            raise ValueError(f"dtype must be one of {', '.join(get_args(Precision))}, got {self.dtype!r}.")

    def chunks(
        self, X: Any, codes: Tensor, scaling: Scaling | None = None, *, dtype: Precision | None = None
    ) -> Prepared:
        """Rows prepared for the closed forms."""
        place = device.resolve(self.device)
        chosen = self._precision() if dtype is None else dtype
        rows = InMemory(Slices(X, chosen), codes, self._size(X))
        return Prepared(rows, self.normalize, scaling=scaling, device=place, dtype=getattr(torch, chosen))

    def _precision(self) -> Precision:
        if self.dtype != "auto":
            return self.dtype
        return "float64" if device.precision(device.resolve(self.device)) == torch.float64 else "float32"

    def _size(self, X: Any) -> int:
        if self.chunk_size != "auto":
            return self.chunk_size
        return device.chunk_size(X.shape[1] + 1, device.resolve(self.device))

    def scaling(self, X: Any, codes: Tensor, present: Tensor) -> Scaling | None:
        """Mean and scale of the rows that are ``present``, where rows are standardized."""
        if self.normalize != "standardize":
            return None
        return scaling(Subset(InMemory(Slices(X, self._precision()), codes, self._size(X)), present))


@dataclass(frozen=True)
class CheckedInput:
    """Chunks, the classes (k,) in order, weights (n,), λ, and the moments where a search for λ has summed them."""

    chunks: Prepared
    classes: Array
    weights: Tensor
    ridge: float
    moments: Moments | None = None

    def fit(self) -> RidgeFit:
        """The model of the rows."""
        return fit_ridge(self.chunks, len(self.classes), self.ridge, self.weights, self.moments)


def read(engine: Engine, X: Any, y: Any, sample_weight: Any = None, *, fewest: int = 2) -> CheckedInput:
    """Labels to codes, rows to chunks, and λ; a class has at least ``fewest`` samples."""
    labels = read_labels(y)
    check_consistent_length(X, labels)
    given = None if sample_weight is None else _numpy(sample_weight)
    alpha = torch.tensor(_check_sample_weight(given, labels, dtype=np.float64, ensure_non_negative=True))
    classes = np.unique(labels)
    codes = to_codes(labels, classes)
    _check_classes(classes, torch.bincount(codes).numpy(), len(np.unique(codes[alpha > 0].numpy())), fewest)
    chunks = engine.chunks(X, codes, engine.scaling(X, codes, alpha > 0))
    if engine.ridge != "loo":
        return CheckedInput(chunks, classes, alpha, float(engine.ridge))
    choice = choose_ridge(chunks, len(classes), weights=alpha)
    return CheckedInput(chunks, classes, alpha, choice.ridge, choice.moments)


def read_features(X: Any, fewest: int = 1) -> Any:
    """X as it is where it streams, else as a checked numpy array."""
    if not isinstance(X, Tensor | h5py.Dataset):
        return check_array(X, input_name="X", ensure_min_samples=fewest)
    if isinstance(X, Tensor) and X.layout != torch.strided:
        raise ValueError(f"X must be dense, got a tensor of layout {X.layout}; use X.to_dense().")
    if X.dtype.is_complex if isinstance(X, Tensor) else X.dtype.kind not in "fiub":
        raise ValueError(f"X must hold real numbers, got {X.dtype}.")
    if X.ndim != 2 or X.shape[0] < fewest or not X.shape[1]:
        raise ValueError(f"X must have shape (n, p) with at least {fewest} rows, got {tuple(X.shape)}.")
    return X


def _numpy(values: Any) -> Any:
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    if isinstance(values, h5py.Dataset):
        return (values.asstr() if h5py.check_string_dtype(values.dtype) else values)[:]
    return values


def read_labels(y: Any, name: str = "y") -> Array:
    """Labels (n,) as a checked numpy array; ValueError where one is missing."""
    values = _numpy(y)
    if isinstance(values, list | tuple) or (isinstance(values, np.ndarray) and values.dtype.kind == "O"):
        # Among strings numpy would read NaN as the label "nan", and None as an unknown kind of label.
        for row, label in enumerate(values):
            if label is None or (isinstance(label, float) and label != label):
                raise ValueError(f"{name} must hold a label for every row, got none in row {row}.")
    labels = check_array(values, ensure_2d=False, dtype=None, input_name=name, ensure_min_samples=0)
    labels = column_or_1d(labels, warn=True)
    if len(labels):
        check_classification_targets(labels)
    return labels  # type: ignore[no-any-return]


def to_codes(labels: Array, classes: Array) -> Tensor:
    """Positions of labels in the sorted classes."""
    return torch.from_numpy(np.searchsorted(classes, labels))


def _check_classes(classes: Array, counts: Array, present: int, fewest: int) -> None:
    if present < 2:
        raise ValueError(f"y must hold at least 2 classes (in rows of positive weight), got {present} class.")
    if (counts < fewest).any():
        lonely = ", ".join(map(repr, classes[counts == 1][:5].tolist()))
        raise ValueError(
            f"y must hold at least 2 samples of every class, got one sample of {lonely}; a label that is left out "
            "cannot be predicted, so add samples or leave the class out."
        )
