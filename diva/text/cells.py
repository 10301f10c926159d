"""Cells of arrays and data frames that are no numbers: what is wrong with the first, where it stands, what to do."""

import math
from collections.abc import Mapping, Sequence, Set
from datetime import date, timedelta
from numbers import Real
from typing import Any

import numpy as np

DATES = ("date", "time", "duration")  # how the types of dates and durations begin
NO_FEATURES = {
    "label",
    "labels",
    "class",
    "classes",
    "target",
    "targets",
    "y",
    "y_true",
    "ground_truth",
    "id",
    "ids",
    "index",
    "idx",
    "row",
    "row_id",
    "sample_id",
}  # columns of a frame that are called so
COMPARED = 20_000  # rows of core and pool among which equal ones are looked for
FEW_ROWS = 8  # below which numbers may well be those of the rows by chance
UNDATED = "leave them out, or count days since one of them"


def is_missing(value: Any) -> bool:
    """Whether a value is none: None, NaN, a missing value of pandas."""
    # Among strings numpy would read NaN, which differs from itself, as the text "nan".
    nan = isinstance(value, float | np.floating) and bool(value != value)
    return value is None or nan or type(value).__name__ in ("NAType", "NaTType")


def is_sequence(values: Any) -> bool:
    """Whether something holds values in an order: a list, an array, a column; not a text, a mapping, an iterator."""
    arrays = hasattr(values, "__len__") or hasattr(values, "__array__")
    return arrays and not isinstance(values, str | bytes | Mapping | Set)


def require_no_dates(values: Any, name: str) -> None:
    """ValueError where an array or a column of a frame holds dates, of which some libraries make numbers in silence."""
    framed = hasattr(values, "columns") and hasattr(values, "dtypes")
    types = zip(values.columns, values.dtypes, strict=True) if framed else ()
    dates = [f" in column {column!r}" for column, dtype in types if str(dtype).lower().startswith(DATES)]
    if not dates and str(getattr(values, "dtype", "")).lower().startswith(DATES):
        dates = [""]
    if dates:
        raise ValueError(f"{name} must hold numbers, got dates{dates[0]}; {UNDATED}.")


def shape_fault(values: Any, name: str, *, flat: bool = False) -> str:
    """What is wrong with what is no table of numbers, or, ``flat``, no column; empty where it may be one."""
    if hasattr(values, "nnz"):  # sparse: scikit-learn says so
        return ""
    if isinstance(values, Mapping):
        made = f"numpy.column_stack(list({name}.values())), or polars.DataFrame({name})"
        return f"{name} must be an array or a frame, got a mapping of {len(values)} columns; stack them: {made}."
    if not is_sequence(values):
        got = repr(values) if isinstance(values, str | bytes) else f"a {type(values).__name__}"
        return f"{name} must be an array, a frame or a list of rows, got {got}; load it, or make a list of it."
    if isinstance(values, Sequence):
        lengths = [len(row) if isinstance(row, Sequence | np.ndarray) and is_sequence(row) else 0 for row in values]
        odd = next((row for row, length in enumerate(lengths) if length != lengths[0]), None)
        if odd is not None:
            return (
                f"{name} must have rows of one length, got {lengths[0]} numbers in row 0, {lengths[odd]} in row {odd}."
            )
    kind, shape = getattr(getattr(values, "dtype", None), "kind", ""), getattr(values, "shape", ())
    if fields := getattr(getattr(values, "dtype", None), "names", None):
        plain = f"numpy.lib.recfunctions.structured_to_unstructured({name})"
        return f"{name} must be a plain array, got one with the fields {', '.join(fields[:3])}…; {plain} makes it one."
    if kind == "c":
        return f"{name} must hold real numbers, got {values.dtype} (Complex data not supported); take .real, or .view."
    shape = (len(values),) if isinstance(values, Sequence) and values and np.ndim(values[0]) == 0 else shape
    if len(shape) == 1 and not flat:
        if kind == "O" and (said := first_fault(values, name)):
            return said
        shapes = f"{name}.reshape(-1, 1) of one feature, {name}.reshape(1, -1) of one sample"
        got = f"{shape} (Expected 2D array, got 1D array instead)"
        return f"{name} must have shape (n, p), got {got}. Reshape your data: {shapes}."
    if len(shape) > 2:
        return f"{name} must have shape (n, p), got {tuple(shape)}; flatten each row: {name}.reshape(len({name}), -1)."
    return ""


def vectors_in(values: Any) -> Any:
    """The rows of a column of vectors, or of a frame of one such column; None of anything else."""
    names = list(getattr(values, "columns", ()))
    column = values[names[0]] if len(names) == 1 else values
    if names[1:] or isinstance(values, Sequence) or not hasattr(column, "__array__") or hasattr(column, "layout"):
        return None
    nested = names or str(getattr(column, "dtype", "")).lower().startswith(("object", "list"))
    cells = np.asarray(column) if nested else np.empty(0)
    if cells.ndim == 2 and names:
        return cells
    return list(cells) if cells.dtype == object and cells.ndim == 1 and len(cells) and is_sequence(cells[0]) else None


def columns_in_doubt(values: Any, name: str) -> str:
    """What columns of a frame hold that is probably no feature: a label, a name, the number of a row; else nothing."""
    columns = list(getattr(values, "columns", ()))
    called = [column for column in columns if str(column).strip().casefold() in NO_FEATURES or _is_unnamed(column)]
    count = np.arange(len(values)) if columns else None
    counted = [column for column in columns if column not in called and _counts(values[column], count)]
    said = [f"{column!r}, which looks like a label or a name" for column in called if not _is_unnamed(column)]
    said += [f"{column!r}, which numbers the rows" for column in [*filter(_is_unnamed, called), *counted]]
    return f"{name} has the column {' and '.join(said)}: it counts as a feature; leave it out." if said else ""


def _is_unnamed(column: Any) -> bool:
    return str(column).startswith("Unnamed: ")  # what pandas calls the index that it wrote


def _counts(column: Any, rows: Any) -> bool:
    """Whether a column holds the numbers of its rows, from 0 or 1 on."""
    if len(rows) < FEW_ROWS or getattr(column, "ndim", 1) != 1 or column.shape[0] != len(rows):
        return False
    cells = np.asarray(column)
    return cells.dtype.kind in "iu" and cells[0] in (0, 1) and bool((cells - cells[0] == rows).all())


def plain_labels(values: Any, name: str) -> Any:
    """Labels without what wraps them: a frame of one column, pandas' own types, a mask, bytes.

    Raises:
        ValueError: they are no sequence of labels.
    """
    if not is_sequence(values):
        got = f"{values!r}" if isinstance(values, str | bytes) else f"a {type(values).__name__}"
        raise ValueError(f"{name} must hold one label a sample (n,), got {got}; give a list or an array of them.")
    if isinstance(values, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(values).ravel().tolist()
        values = [None if gone else label for gone, label in zip(hidden, values.data.ravel().tolist(), strict=True)]
    elif hasattr(values, "columns") or hasattr(values, "iloc"):
        values = values.to_numpy()
    if getattr(values, "ndim", 1) == 2 and values.shape[1] > 1:
        hint = "one-hot rows become labels by .argmax(1), several labels a sample go to detect_multilabel and its like"
        raise ValueError(f"{name} must hold one label a sample (n,), got shape {tuple(values.shape)}; {hint}.")
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    return np.char.decode(values, "utf-8") if kind == "S" else values


def named_label(label: Any) -> str:
    """An interval, a member of an enumeration, bytes or anything else as text."""
    return label.decode("utf-8", "backslashreplace") if isinstance(label, bytes) else str(label)


def check_label(label: Any, name: str, row: int) -> None:
    """ValueError where a label is missing or more than one."""
    if isinstance(label, list | tuple | set | dict) and len(label) != 1:
        raise ValueError(f"{name} must hold one label a sample, got {label!r} in row {row}.")
    if is_missing(label):
        raise ValueError(f"{name} must hold a label for every row, got none in row {row}.")


def weight_fault(weights: Any, n: int) -> str:
    """What is wrong with the first weight that is none, or with their number; empty where nothing is."""
    if not is_sequence(weights):
        return f"sample_weight must hold a number for each row (n,), got {weights!r}; compute them first."
    cells = np.ravel(np.asarray(weights, dtype=object))
    if len(cells) != n:
        return f"sample_weight must hold a number for each row ({n},), got {len(cells)}."
    bad = (row for row, cell in enumerate(cells) if not isinstance(cell, Real) or not 0 <= float(cell) < math.inf)
    row = next(bad, None)
    return "" if row is None else f"sample_weight must hold numbers of at least 0, got {cells[row]!r} in row {row}."


def require_flag(value: Any, name: str) -> None:
    """ValueError where a value is neither True nor False: "no" would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def require_rows(**named: Any) -> None:
    """ValueError where arrays, of which some may be None, have not as many rows."""
    shapes = {
        name: np.shape(values)[:2] if hasattr(values, "shape") else (len(values),)
        for name, values in named.items()
        if values is not None
    }
    lengths = [shape[0] for shape in shapes.values()]
    if len(set(lengths)) > 1:
        wanted = [(length,) for length in lengths]
        turned = [name for name, shape in shapes.items() if shape[1:] in wanted and shape[1:] != shape[:1]]
        hint = f"; transpose {turned[0]}: {turned[0]}.T" if turned else ""
        names = " and ".join(shapes)
        raise ValueError(
            f"{names} must have a row for each sample, got inconsistent numbers of samples: {lengths}{hint}."
        )


def copies_fault(X: Any, X_pool: Any) -> str:
    """What is wrong where many rows of a pool are rows of the core; empty elsewhere, and of large sets."""
    if not all(isinstance(rows, np.ndarray) and len(rows) <= COMPARED for rows in (X, X_pool)):
        return ""
    core = {hash(row.tobytes()) for row in X.astype(np.float32)}
    copies = sum(hash(row.tobytes()) in core for row in X_pool.astype(np.float32))
    said = f"X_pool holds {copies} rows that are rows of X, too: they vouch for themselves; leave them out."
    return said if 20 * copies > len(X_pool) else ""


def first_fault(values: Any, name: str) -> str:
    """What is wrong with the first cell that is no number, and where it stands; empty where there is none."""
    columns, rows = getattr(values, "columns", None), getattr(values, "iloc", values)
    n = getattr(values, "shape", None) or (len(values) if isinstance(values, Sequence) else 0,)
    if hasattr(values, "nnz"):  # sparse
        return ""
    for start in range(0, n[0], 1024):
        part = np.asarray(rows[start : start + 1024])
        if part.ndim not in (1, 2):
            return ""
        for (row, *column), cell in np.ndenumerate(part):
            if said := _fault(cell):
                names = [column[0] if columns is None else columns[column[0]]] if column else []
                at = ", ".join([f"row {start + row}", *(f"column {entry!r}" for entry in names)])
                return said.format(name=name, cell=repr(str(cell)) if isinstance(cell, str) else cell, at=at)
    return ""


def _fault(cell: Any) -> str:
    """What is wrong with a cell, in words that name, cell and place go into; empty where it is a number."""
    if is_missing(cell):
        return "Input {name} contains NaN in {at}; fill it in, or leave it out."
    if isinstance(cell, date | timedelta | np.datetime64 | np.timedelta64):
        return f"{{name}} must hold numbers, got the date {{cell}} in {{at}}; {UNDATED}."
    try:
        number = float(cell) if isinstance(cell, str | Real) else 0.0
    except ValueError:
        german = cell.replace(".", "").replace(",", ".").strip().lstrip("+-").replace(".", "", 1).isdigit()
        if cell.lstrip().startswith("["):
            return "{name} must hold numbers, got a list as text in {at}; read it: [json.loads(row) for row in …]."
        remedy = "write decimals with a point (pandas: decimal=',')" if german else "leave it out, or make it a number"
        return f"{{name}} must hold numbers, got {{cell}} in {{at}}; {remedy}."
    if math.isnan(number):
        return "Input {name} contains NaN in {at}; fill it in, or leave it out."
    return "" if math.isfinite(number) else "Input {name} contains infinity in {at}; correct it, or leave it out."
