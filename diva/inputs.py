"""What notebooks hand in, checked at the door: arrays, tensors and data sets to chunks, labels to codes.

X (n, p) is a numpy array (or a list, or a data frame), a torch tensor, or an h5py data set; the latter two are read
slice by slice. y (n,) are labels, strings or numbers. scikit-learn's own checks are used where it has them.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Literal, cast, get_args

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight
from torch import Tensor

from diva.curation.relatives import SEARCHED, Relatives, candidate_groups, explanation, group_relatives
from diva.numerics import device
from diva.numerics.chunks import Chained, InMemory, Subset
from diva.numerics.grid import choose_ridge
from diva.numerics.groups import undivided_classes
from diva.numerics.normalize import Prepared, Scaling, scaling
from diva.numerics.precision import RidgeFit, fit_ridge
from diva.text.cells import (
    check_label,
    columns_in_doubt,
    first_fault,
    is_missing,
    named_label,
    plain_labels,
    require_no_dates,
    require_rows,
    shape_fault,
    vectors_in,
    weight_fault,
)
from diva.text.choices import GroupMode, Normalization
from diva.text.labels import check_names, normalized

Array = NDArray[Any]
Ridge = float | Literal["loo"]
Precision = Literal["auto", "float32", "float64"]
Size = int | Literal["auto"]
Groups = Any  # (n,) of numbers or strings, or a `GroupMode`; None for `auto`


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
        number = isinstance(self.ridge, Real) and self.ridge is not True and 0 < self.ridge < float("inf")
        if not (number or self.ridge == "loo"):
            raise ValueError(f"ridge must be 'loo' or positive and finite, got {self.ridge!r}.")
        if self.dtype not in get_args(Precision):
            raise ValueError(f"dtype must be one of {', '.join(get_args(Precision))}, got {self.dtype!r}.")

    def chunks(
        self, X: Any, codes: Tensor, scaling: Scaling | None = None, *, dtype: Precision | None = None
    ) -> Prepared:
        """Rows prepared for the closed forms."""
        target = device.resolve(self.device)
        chosen = self._precision() if dtype is None else dtype
        rows = InMemory(Slices(X, chosen), codes, self._size(X))
        return Prepared(rows, self.normalize, scaling=scaling, device=target, dtype=getattr(torch, chosen))

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
    """Chunks, the classes (k,) in order, weights (n,), and the model of these rows, with their groups."""

    chunks: Prepared
    classes: Array
    weights: Tensor
    fitted: RidgeFit
    relatives: Relatives | None = None

    @property
    def related(self) -> bool:
        """Whether groups are those of near relatives, which nobody named."""
        return self.relatives is not None and self.fitted.groups is not None


def read(
    engine: Engine, X: Any, y: Any, sample_weight: Any = None, groups: Groups = None, *, fewest: int = 2
) -> CheckedInput:
    """Labels to codes, rows to chunks, λ, and what is left out together; a class has ``fewest`` samples and groups."""
    labels = read_labels(y)
    require_rows(X=X, y=labels)
    given = None if sample_weight is None else as_array(sample_weight)
    try:
        alpha = torch.tensor(_check_sample_weight(given, labels, dtype=np.float64, ensure_non_negative=True))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{weight_fault(given, len(labels))} ({error})".strip()) from None
    classes = np.unique(labels)
    codes = to_codes(labels, classes)
    _check_classes(classes, torch.bincount(codes).numpy(), len(np.unique(codes[alpha > 0].numpy())), fewest)
    chunks = engine.chunks(X, codes, engine.scaling(X, codes, alpha > 0))

    def fit(together: Tensor | None) -> RidgeFit:
        if engine.ridge == "loo":
            return choose_ridge(chunks, len(classes), weights=alpha, groups=together).fit()
        return fit_ridge(chunks, len(classes), float(engine.ridge), alpha, groups=together)

    if groups is not None and not isinstance(groups, str):
        together = group_codes(read_groups(groups, len(labels)))
        check_groups(together, codes, classes, fewest)
        return CheckedInput(chunks, classes, alpha, fit(together))
    fitted, relation = group_relatives(fit(None), cast(GroupMode, groups or "auto"), fit)
    if relation is not None and relation.belong and groups != "always":
        warnings.warn(_advice(relation), UserWarning, stacklevel=3)
    return CheckedInput(chunks, classes, alpha, fitted, relation)


def _advice(relation: Relatives) -> str:
    """The warning where rows belong together that nobody named."""
    text = explanation(relation)
    if not relation.complete:
        return f"{text}; a label that they share vouches for itself, so say groups= (n,) what belongs together."
    return (
        f"{text}; a label that they share vouches for itself, so these are left out together. Say groups= (n,) what "
        "belongs together, or groups='never' to judge each row by all others."
    )


def read_groups(groups: Any, n: int, name: str = "groups") -> Array:
    """Groups (n,), numbers or strings; ValueError where one is missing or the length differs."""
    values = np.asarray(as_array(groups))
    values = values[:, 0] if values.shape == (n, 1) else values
    if values.shape != (n,):
        raise ValueError(f"{name} must have one entry per row ({n},), got {values.shape}.")
    for row, group in enumerate(values.tolist() if values.dtype.kind in "OfU" else ()):
        if is_missing(group) or group == "":
            raise ValueError(f"{name} must hold a group for every row, got none in row {row}.")
    return values.astype(str) if values.dtype.kind == "O" else values


def group_codes(groups: Array) -> Tensor:
    """Groups (n,) as integers from 0."""
    return torch.from_numpy(np.unique(groups, return_inverse=True)[1].reshape(-1))


def pool_groups(data: CheckedInput, pool: Prepared, groups: Groups, groups_pool: Any) -> tuple[RidgeFit, Tensor | None]:
    """The core with its groups, and the pool's, numbered alike; relatives are those of both where the core has some."""
    core, n, n_pool = data.fitted, data.chunks.shape[0], pool.shape[0]
    if data.related and n + n_pool <= SEARCHED and groups_pool is None:
        both = candidate_groups(Chained([core.chunks, core.like(pool)]))
        return replace(core, groups=both[:n]), both[n:]
    if groups_pool is None:
        return core, None
    of_pool = read_groups(groups_pool, n_pool, "groups_pool")
    if groups is None or isinstance(groups, str):
        below = int(core.groups.max()) + 1 if core.groups is not None else 0
        return core, group_codes(of_pool) + below
    codes = group_codes(np.concatenate([read_groups(groups, n), of_pool]))
    return replace(core, groups=codes[:n]), codes[n:]


def check_groups(groups: Tensor, codes: Tensor, classes: Array, fewest: int = 2) -> None:
    """Refuse a single group, and where ``fewest`` is 2 a class that lies in one: without it nothing predicts it."""
    if len(torch.unique(groups)) < 2:
        raise ValueError(
            "groups must hold at least 2 groups, got one: nothing is left that could predict it; "
            "name smaller ones, or groups='never' to leave rows out one by one."
        )
    undivided = undivided_classes(groups, codes)
    if undivided and fewest > 1:
        names = ", ".join(map(repr, classes[undivided[:5]].tolist()))
        raise ValueError(
            f"groups must spread every class over at least 2 groups, got all samples of {names} in one; a label that "
            "is left out cannot be predicted, so add samples, leave the class out, or name smaller groups."
        )


def read_features(X: Any, fewest: int = 1, name: str = "X") -> Any:
    """X as it is where it streams, else as a checked numpy array."""
    if not isinstance(X, Tensor | h5py.Dataset):
        if hasattr(X, "collect"):
            raise ValueError(f"{name} must be data, got a lazy frame; call .collect() first.")
        if said := columns_in_doubt(X, name):
            warnings.warn(said, stacklevel=4)
        vectors = vectors_in(X)
        return read_numbers(X if vectors is None else vectors, name, ensure_min_samples=fewest)
    _require_open(X, name)
    if isinstance(X, Tensor) and X.layout != torch.strided:
        raise ValueError(f"{name} must be dense, got a tensor of layout {X.layout}; use {name}.to_dense().")
    if X.dtype.is_complex if isinstance(X, Tensor) else X.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got {X.dtype}.")
    if X.ndim != 2 or X.shape[0] < fewest or not X.shape[1]:
        raise ValueError(f"{name} must have shape (n, p) with at least {fewest} rows, got {tuple(X.shape)}.")
    return X


def read_numbers(values: Any, name: str, **options: Any) -> Array:
    """Numbers as scikit-learn checks them (``options`` of `check_array`).

    Raises:
        ValueError: a text, a date or a number that is not finite: its row and column are named.
    """
    require_no_dates(values, name)
    if said := shape_fault(values, name, flat=not options.get("ensure_2d", True)):
        raise ValueError(said)
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(float), np.nan)
    try:
        checked = check_array(values, input_name=name, **options)
        if checked.dtype.kind in "fiub":
            return checked  # type: ignore[no-any-return]
        raise ValueError(f"{name} must hold numbers, got {checked.dtype}; convert it, or leave such columns out.")
    except (ValueError, TypeError):
        if hasattr(values, "shape") and not values.shape[0] and options.get("ensure_min_samples"):
            raise ValueError(f"{name} must have shape (n, p) with at least 1 row, got {tuple(values.shape)}.") from None
        if said := first_fault(values, name):
            raise ValueError(said) from None
        if np.asarray(values).dtype.kind in "US":
            raise ValueError(f"{name} must hold numbers, got text; convert it: numpy.array({name}, float).") from None
        raise


def _require_open(values: Any, name: str) -> None:
    """ValueError where a data set's file is closed."""
    if isinstance(values, h5py.Dataset) and not values:
        raise ValueError(f"{name} must be an open data set, got one of a closed file; call this before file.close().")


def as_array(values: Any, name: str = "an array") -> Any:
    """A tensor or a data set of a file as a numpy array; anything else as it is."""
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    _require_open(values, name)
    if isinstance(values, h5py.Dataset):
        return (values.asstr() if h5py.check_string_dtype(values.dtype) else values)[:]
    return values


def read_labels(y: Any, name: str = "y") -> Array:
    """Labels (n,) as a checked numpy array.

    Raises:
        ValueError: where a label is missing, or a row has several.
    """
    values = plain_labels(as_array(y, name), name)
    if isinstance(values, Iterable) and (not isinstance(values, np.ndarray) or values.dtype.kind in "fO"):
        for row, label in enumerate(values):
            check_label(label, name, row)
        if len({isinstance(label, str) for label in values}) > 1:
            raise ValueError(f"{name} must hold text or numbers, got both; make all of them text.")
        if not any(np.ndim(label) or isinstance(label, str | Real | set | dict) for label in values):
            values = [named_label(label) for label in values]
    labels = check_array(values, ensure_2d=False, dtype=None, input_name=name, ensure_min_samples=0)
    labels = column_or_1d(labels, warn=True)
    if labels.dtype.kind == "f" and (labels % 1).any():
        raise ValueError(
            f"{name} must hold classes, got numbers such as {labels[labels % 1 != 0][0]} (Unknown label type: "
            f"continuous); detect_regression and its like take numbers, pandas.cut({name}, 5) makes classes of them."
        )
    if len(labels):
        check_classification_targets(labels)
        check_names(labels.tolist(), name)
    return labels  # type: ignore[no-any-return]


def in_spelling_of(classes: Array, labels: Array) -> Array:
    """Labels as ``classes`` spell them, as text or as numbers, where they spell them at all."""
    if np.isin(labels, classes).all():
        return labels
    spelling = {normalized(name): name for name in classes.tolist()[::-1]}
    exact = set(classes.tolist())
    alike = [name if name in exact else spelling.get(normalized(name), name) for name in labels.tolist()]
    return np.array(alike, classes.dtype if exact.issuperset(alike) else object)


def check_columns(first: Any, second: Any, name: str) -> None:
    """ValueError where two frames name their columns differently, or in another order; arrays have no names."""
    columns, others = (list(getattr(frame, "columns", ())) for frame in (first, second))
    if columns and others and columns != others:
        wrong = next((pair for pair in zip(columns, others, strict=False) if pair[0] != pair[1]), (columns, others))
        raise ValueError(
            f"{name} must have the columns of X in their order, got {wrong[1]!r} where X has {wrong[0]!r}; "
            f"select them by name: {name}[X.columns]."
        )


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
