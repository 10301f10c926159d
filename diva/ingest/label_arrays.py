"""Labels, ids and groups of ready features as text, in whatever arrays or lists they come."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diva.store import manifest
from diva.text.labels import plain_text
from diva.text.targets import BAR, delivered, multi_hot

COLUMNS = ("labels", "sample_id", *manifest.GROUPS)
DELIVERED = "deliver it again, as it was written"
Text = npt.NDArray[np.str_]


def as_text(values: Any, name: str, path: Path, classes: Any = None) -> Text:
    """Labels or ids as text; what is missing is empty. ``classes`` (q,) name columns of labels (n, q) of 0 and 1."""
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if name == "labels" and _is_multi_hot(values):
        return np.array(multi_hot(values.tolist(), _names_of_columns(classes, values.shape[1], path)), "U")
    if values.ndim != 1:
        hint = "; one-hot rows become labels by .argmax(1)" if values.ndim == 2 else ""
        raise ValueError(f"{name} of {path} must have shape (n,), got {values.shape}{hint}.")
    convert = delivered if name == "labels" else plain_text
    texts = [convert(_decoded(value, row, name, path)) or "" for row, value in enumerate(values.tolist())]
    broken = next((row for row, text in enumerate(texts) if "\0" in text), None)
    if broken is not None:
        got = f"{texts[broken]!r} in row {broken}"
        raise ValueError(f"{name} of {path} must be text without NUL bytes, got {got}; write the name alone.")
    return np.array(texts, "U")


def _is_multi_hot(values: npt.NDArray[Any]) -> bool:
    """Whether rows say of each label whether a sample has it, and not, one-hot, which class it is of."""
    if values.ndim != 2 or values.dtype.kind not in "fiub" or not np.isin(values, (0, 1)).all():
        return False
    return bool(values.any() and (values.sum(1) != 1).any())


def _names_of_columns(classes: Any, width: int, path: Path) -> list[str] | None:
    if classes is None:
        return None
    names: list[str] = as_text(classes, "classes", path).tolist()
    if len(set(names)) != width or any(BAR in name or not name for name in names):
        raise ValueError(f"classes of {path} must name each of {width} columns of labels, without bars, got {names}.")
    return names


def _decoded(value: Any, row: int, name: str, path: Path) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        byte = f"the byte 0x{value[error.start]:02x} in row {row}"
        raise ValueError(f"{name} of {path} must be text in UTF-8, got {byte}; write it in UTF-8.") from None


def label_lists(lists: list[Any]) -> npt.NDArray[Any]:
    """Lists of labels as texts (n,); lists of 0 and 1, equally long, as an array (n, q)."""
    widths = {len(labels) for labels in lists if labels is not None}
    if len(widths) == 1 and max(widths) > 1 and None not in lists and _is_multi_hot(np.asarray(lists)):
        return np.asarray(lists)
    return np.array([delivered(labels) or "" for labels in lists], "U")
