"""What a file of ready features says of its rows beside labels, ids and groups.

Further columns of a parquet file, arrays of an .npz, data sets of an .h5, those with one entry a row.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl

from diva.ingest.label_arrays import COLUMNS, DELIVERED
from diva.store.columns import further
from diva.store.features import opened

USED = ("features", "classes", *COLUMNS)
CLASS_NAMES = ("classes", "class_names", "label_names", "target_names")
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
LARGEST = 1 << 26  # bytes of an array that is looked into


def columns_of(path: Path, rows: int) -> pl.DataFrame:
    """The further columns of a file with so many rows; none of an .npy."""
    readers: dict[str, Callable[[Path, int], dict[str, Any]]] = {
        ".parquet": _parquet,
        ".npz": _npz,
        ".h5": _hdf5,
        ".hdf5": _hdf5,
    }
    read = readers.get(path.suffix.lower())
    return further(pl.DataFrame(read(path, rows) if read else {}), USED)


def names_beside(path: Path) -> str:
    """The array of an .npz that looks as if it named the numbers which are its labels, and does not; may be empty."""
    if path.suffix.lower() != ".npz":
        return ""
    with np.load(path, allow_pickle=False) as file:
        beside = [name for name in CLASS_NAMES if name in file.files]
        labels = file["labels"] if beside and "labels" in file.files else np.empty(0)
    return beside[0] if labels.ndim == 1 and labels.dtype.kind in "iu" else ""


def _parquet(path: Path, rows: int) -> dict[str, Any]:  # noqa: ARG001 - a table has as many everywhere
    schema = pl.read_parquet_schema(path)
    names = [name for name, dtype in schema.items() if not dtype.is_nested() and not _is_feature(name)]
    return pl.read_parquet(path, columns=names, glob=False, hive_partitioning=False).to_dict() if names else {}


def _is_feature(name: str) -> bool:
    return name in USED or (name[:1] == "f" and name[1:].isdigit())


def _npz(path: Path, rows: int) -> dict[str, Any]:
    arrays = {}
    with np.load(path, allow_pickle=False) as file:
        for entry in file.zip.infolist():
            name = entry.filename.removesuffix(".npy")
            if name in USED or entry.file_size > LARGEST:
                continue
            with file.zip.open(entry) as content:  # the header alone: a column of Python objects is passed over
                try:
                    head = HEADERS[np.lib.format.read_magic(content)]
                    shape, _, dtype = head(content)
                except (ValueError, KeyError):
                    continue
            if shape == (rows,) and dtype.kind in "fiubUM":
                arrays[name] = file[name]
    return arrays


def _hdf5(path: Path, rows: int) -> dict[str, Any]:
    arrays = {}
    with opened(path, DELIVERED) as file:
        for name, data in file.items():
            own = file.get(name, getclass=True, getlink=True) is h5py.HardLink and isinstance(data, h5py.Dataset)
            if name in USED or not own or data.shape != (rows,) or data.is_virtual or data.external:
                continue
            if h5py.check_string_dtype(data.dtype):
                arrays[name] = data.asstr(errors="replace")[:]
            elif data.dtype.kind in "fiub":
                arrays[name] = data[:]
    return arrays
