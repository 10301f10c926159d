"""Cells of arrays and data frames that are no numbers: what is wrong with the first, where it stands, what to do."""

import math
from collections.abc import Sequence
from datetime import date, timedelta
from numbers import Real
from typing import Any

import numpy as np

DATES = ("date", "time", "duration")  # how the types of dates and durations begin
UNDATED = "leave them out, or count days since one of them"


def is_missing(value: Any) -> bool:
    """Whether a value is none: None, NaN, a missing value of pandas."""
    # Among strings numpy would read NaN, which differs from itself, as the text "nan".
    nan = isinstance(value, float | np.floating) and bool(value != value)
    return value is None or nan or type(value).__name__ in ("NAType", "NaTType")


def require_no_dates(values: Any, name: str) -> None:
    """ValueError where an array or a column of a frame holds dates, of which some libraries make numbers in silence."""
    framed = hasattr(values, "columns") and hasattr(values, "dtypes")
    types = zip(values.columns, values.dtypes, strict=True) if framed else ()
    dates = [f" in column {column!r}" for column, dtype in types if str(dtype).lower().startswith(DATES)]
    if not dates and str(getattr(values, "dtype", "")).lower().startswith(DATES):
        dates = [""]
    if dates:
        raise ValueError(f"{name} must hold numbers, got dates{dates[0]}; {UNDATED}.")


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
        remedy = "write decimals with a point (pandas: decimal=',')" if german else "leave it out, or make it a number"
        return f"{{name}} must hold numbers, got {{cell}} in {{at}}; {remedy}."
    if math.isnan(number):
        return "Input {name} contains NaN in {at}; fill it in, or leave it out."
    return "" if math.isfinite(number) else "Input {name} contains infinity in {at}; correct it, or leave it out."
