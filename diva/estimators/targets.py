"""Several labels a sample, or a number, on plain arrays; `diva.estimators` has the arguments that all of them take.

Rows are left out one by one here: what belongs together is not left out together.
"""

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.preprocessing import MultiLabelBinarizer

from diva import inputs
from diva.curation.target_detection import detect_entries, detect_numbers
from diva.estimators.target_results import EntryDetection, NumberDetection
from diva.inputs import Array, Engine, Ridge, Size
from diva.numerics.grid import RIDGES, WIDER
from diva.numerics.normalize import Prepared
from diva.numerics.targets import (
    TargetFit,
    TargetLoss,
    choose_entry_temperature,
    fit_targets,
    loo_predictions_of_targets,
    reweight_targets,
)
from diva.numerics.threads import single_threaded_libraries
from diva.text.cells import is_missing, require_rows
from diva.text.choices import Normalization
from diva.text.labels import normalized, warn_of_spellings

GRID = (*RIDGES, *(RIDGES[-1] * step for step in WIDER[:4]))  # standardised rows of many features want more


@single_threaded_libraries()
def detect_multilabel(
    X: Any,
    Y: Any,
    *,
    separator: str | None = None,
    ridge: Ridge = "loo",
    normalize: Normalization = "unit",
    chunk_size: Size = "auto",
    device: str = "auto",
) -> EntryDetection:
    """Find entries that are probably wrong: labels that a sample lacks, and such that it has and should not.

    Labels of which the features tell nothing are not judged, with a warning.

    Args:
        X: (n, p).
        Y: (n, q) of 0 and 1 (a data frame names the labels); or n lists of labels; or n texts such as "cat|dog".
        separator: of the labels in texts, such as "|".
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.

    Returns:
        Score, margin, flag and suggestion of each entry; ``words()`` says them.

    Raises:
        ValueError: on entries other than 0 and 1, texts without a separator, lengths that differ, or a value of X that
            is not finite.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> X, digits = load_digits(return_X_y=True)
        >>> Y = [{"round"} if digit in (0, 6, 8, 9) else set() for digit in digits[:500]]
        >>> Y[0] = set()  # a 0
        >>> (0, "round is missing") in detect_multilabel(X[:500], Y).words()
        True
    """
    entries, names = read_entries(Y, separator)
    suspicion = detect_entries(
        fit(rows_of(X, entries, Engine(ridge, normalize, chunk_size, device, "float64")), entries, ridge)
    )
    message = _unjudged([name for name, judged in zip(names, suspicion.judged, strict=True) if not judged])
    if message:
        warnings.warn(message, stacklevel=2)
    return EntryDetection(
        suspicion.score.numpy(),
        suspicion.margin.numpy(),
        suspicion.flagged.numpy(),
        suspicion.suggested.numpy(),
        names,
        suspicion.rate,
        message,
    )


def _unjudged(names: list[Any]) -> str:
    """Which labels are not judged and why; empty where all are."""
    if not names:
        return ""
    some = ", ".join(map(repr, names[:5])) + ", …" * (len(names) > 5)
    return (
        f"labels ({len(names)}: {some}) are not judged: predictions err on them about as often as one that says the "
        "same of every row; these features cannot tell"
    )


@single_threaded_libraries()
def reweight_multilabel(
    X: Any,
    Y: Any,
    *,
    separator: str | None = None,
    trim: bool = False,
    steps: int = 3,
    step_size: float = 0.5,
    ridge: Ridge = "loo",
    normalize: Normalization = "unit",
    chunk_size: Size = "auto",
    device: str = "auto",
) -> Array:
    """Weights (n,) so that the leave-one-out loss of all entries falls.

    Args:
        X: (n, p).
        Y: (n, q) of 0 and 1; or n lists of labels; or n texts.
        separator: of the labels in texts.
        trim: whether hopeless entries do not validate: better where labels are ranked, worse where they are counted.
        steps: how many.
        step_size: η, the largest change of a weight in a step.
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.

    Returns:
        Weights (n,), at least 0.

    Raises:
        ValueError: as `detect_multilabel`, and on steps out of range.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> X, digits = load_digits(return_X_y=True)
        >>> Y = [{"round"} if digit in (0, 6, 8, 9) else set() for digit in digits[:500]]
        >>> Y[0] = set()  # a 0
        >>> weights = reweight_multilabel(X[:500], Y)
        >>> bool(weights[0] < weights.mean())
        True
    """
    entries, _ = read_entries(Y, separator)
    fitted = fit(rows_of(X, entries, Engine(ridge, normalize, chunk_size, device, "float64")), entries, ridge)
    temperature = choose_entry_temperature(loo_predictions_of_targets(fitted).values, fitted.targets)
    return _weights(reweight_targets(fitted, TargetLoss("entries", temperature, trim), steps, step_size))


@single_threaded_libraries()
def detect_regression(
    X: Any,
    y: Any,
    *,
    false_discoveries: float = 0.1,
    ridge: Ridge = "loo",
    normalize: Normalization = "standardize",
    chunk_size: Size = "auto",
    device: str = "auto",
) -> NumberDetection:
    """Find numbers that are probably wrong, by their studentised leave-one-out residuals.

    Args:
        X: (n, p).
        y: (n,) numbers.
        false_discoveries: which share of those flagged may be right; kept where right numbers deviate normally from
            what is expected, by as much in every row. Of heavy tails and skewed numbers more are right.
        ridge: λ > 0, or `loo`.
        normalize: `standardize`, `unit` or `none`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.

    Returns:
        Score, expected number, q-value and flag of each row.

    Raises:
        ValueError: on a number that is not finite, lengths that differ, or a setting out of range.

    Examples:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> y[0] = 1000.0  # 151
        >>> suspects = detect_regression(X, y)
        >>> bool(suspects.flagged[0]), bool(100 < suspects.expected[0] < 300)
        (True, True)
    """
    fitted, mean, scale = _fit_numbers(X, y, ridge, Engine(ridge, normalize, chunk_size, device, "float64"))
    suspicion = detect_numbers(fitted, false_discoveries)
    expected = mean + scale * suspicion.expected.numpy()
    return NumberDetection(
        suspicion.score.numpy(),
        expected,
        suspicion.q_value.numpy(),
        suspicion.flagged.numpy(),
        scale * suspicion.deviation,
    )


@single_threaded_libraries()
def reweight_regression(
    X: Any,
    y: Any,
    *,
    steps: int = 3,
    step_size: float = 0.5,
    ridge: Ridge = "loo",
    normalize: Normalization = "standardize",
    chunk_size: Size = "auto",
    device: str = "auto",
) -> Array:
    """Weights (n,) so that the squared leave-one-out loss of numbers (n,) falls.

    Args:
        X: (n, p).
        y: (n,) numbers.
        steps: how many.
        step_size: η, the largest change of a weight in a step.
        ridge: λ > 0, or `loo`.
        normalize: `standardize`, `unit` or `none`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.

    Returns:
        Weights (n,), at least 0.

    Raises:
        ValueError: as `detect_regression`, and on steps out of range.

    Examples:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> y[0] = 1000.0  # 151
        >>> weights = reweight_regression(X, y)
        >>> bool(weights[0] < weights.mean())
        True
    """
    fitted, _, _ = _fit_numbers(X, y, ridge, Engine(ridge, normalize, chunk_size, device, "float64"))
    return _weights(reweight_targets(fitted, TargetLoss("squared"), steps, step_size))


def read_entries(Y: Any, separator: str | None = None) -> tuple[torch.Tensor, tuple[Any, ...]]:
    """Y (n, q) of 0 and 1 as float64, and the names of its labels: numbers where nobody named them."""
    if separator is not None:
        Y = [list(filter(None, map(normalized, _text(text, row).split(separator)))) for row, text in enumerate(Y)]
    cells = np.asarray(Y) if hasattr(Y, "__array__") and not isinstance(Y, torch.Tensor) else None
    if isinstance(Y, list | tuple) or (cells is not None and cells.ndim == 1):
        return _from_lists(Y if cells is None else cells.tolist())
    table = inputs.read_numbers(Y.cpu().numpy() if isinstance(Y, torch.Tensor) else Y, "Y", dtype=np.float64)
    if not np.isin(table, (0, 1)).all():
        raise ValueError("Y must be 0 or 1 in every entry, got other numbers; or give a list of labels for each row.")
    warn_of_spellings(getattr(Y, "columns", ()), "Y")
    return torch.from_numpy(table.copy()), tuple(getattr(Y, "columns", range(table.shape[1])))


def _text(text: Any, row: int) -> str:
    if is_missing(text):
        raise ValueError(
            f"Y must hold a text for each row, got {text!r} in row {row}; an empty text says that it has no label, "
            "rows of which nobody knows are left out."
        )
    return str(text)


def _from_lists(lists: Any) -> tuple[torch.Tensor, tuple[Any, ...]]:
    plain = []
    for row, labels in enumerate(lists):
        labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
        if not isinstance(labels, list | tuple | set | frozenset):
            way = "read the text by ast.literal_eval" if str(labels).startswith("[") else "or name a separator"
            raise ValueError(f"Y must hold a list of labels for each row, got {labels!r} in row {row}; {way}.")
        spelt = [normalized(label) if isinstance(label, str) else label for label in labels]
        plain.append([label for label in spelt if label is not None])
        if len(set(spelt)) < len(labels):
            raise ValueError(
                f"Y must name each label of a row once, got {labels!r} in row {row}; 0 and 1 go into an array."
            )
    lengths, ordered = {len(labels) for labels in lists}, all(isinstance(labels, list | tuple) for labels in lists)
    if ordered and len(lengths) == 1 and lengths != {0} and {name for labels in lists for name in labels} <= {0, 1}:
        raise ValueError(
            "Y must hold lists of labels, got equally long lists of only 0 and 1: entries go into an array, "
            "np.array(Y), and labels of these names into sets or texts."
        )
    binarizer = MultiLabelBinarizer()
    entries = torch.from_numpy(binarizer.fit_transform(plain)).double()
    warn_of_spellings(binarizer.classes_, "Y")
    return entries, tuple(binarizer.classes_)


def rows_of(X: Any, targets: torch.Tensor, engine: Engine) -> Prepared:
    """X (n, p) prepared for the closed forms, beside targets (n, q)."""
    rows = inputs.read_features(X)
    require_rows(X=rows, y=targets)
    nothing = torch.zeros(len(targets), dtype=torch.int64)
    return engine.chunks(rows, nothing, engine.scaling(rows, nothing, nothing == 0))


def fit(chunks: Prepared, targets: torch.Tensor, ridge: Ridge) -> TargetFit:
    """The model of rows and targets (n, q)."""
    return fit_targets(chunks, targets, None if ridge == "loo" else float(ridge), grid=GRID)


def read_column(y: Any, name: str = "y", fewest: int = 1) -> torch.Tensor:
    """Numbers (n, 1) float64."""
    options = {"ensure_2d": False, "dtype": np.float64, "ensure_min_samples": fewest}
    numbers = inputs.read_numbers(inputs.as_array(y), name, **options)
    numbers = numbers[:, 0] if numbers.ndim == 2 and numbers.shape[1] == 1 else numbers
    if numbers.ndim != 1:
        raise ValueError(f"{name} must have shape (n,), got {numbers.shape}.")
    return torch.from_numpy(numbers.copy())[:, None]


def mean_and_scale(numbers: torch.Tensor) -> tuple[float, float]:
    """Mean and standard deviation, 1 where all are equal."""
    return float(numbers.mean()), float(numbers.std(correction=0)) or 1.0


def _fit_numbers(X: Any, y: Any, ridge: Ridge, engine: Engine) -> tuple[TargetFit, float, float]:
    """The model of numbers less their mean, in standard deviations; mean and deviation."""
    numbers = read_column(y)
    mean, scale = mean_and_scale(numbers)
    if len(numbers) > 1 and (numbers == numbers[0]).all():
        warnings.warn(f"y is {mean:g} in every row, so that nothing can be told from it", stacklevel=4)
    targets = (numbers - mean) / scale
    return fit(rows_of(X, targets, engine), targets, ridge), mean, scale


def _weights(fitted: TargetFit) -> Array:
    return np.ones(len(fitted.targets)) if fitted.weights is None else fitted.weights.numpy()
