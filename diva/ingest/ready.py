"""Ready features: embeddings of any kind (text, audio, tables, images) that need no network.

One file holds ``features`` (n, p), ``labels`` (n,) and, if it likes, ``sample_id`` (n,) and ``group`` (n,), what is
left out together: npz arrays, HDF5 data sets, or columns of a parquet (``features`` a list, or one column per feature,
``f0`` to ``f<p-1>``); an npy holds features alone, its labels lie beside it in ``<name>_labels.npy``. Where samples
may wait for their labels, these may be empty, or missing. Several labels of a sample are a list, or a row of 0 and 1
(n, q) whose columns ``classes`` (q,) names.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from diva.ingest.label_arrays import COLUMNS, DELIVERED, Text, as_text, label_lists
from diva.ingest.ready_columns import columns_of
from diva.numerics import cores
from diva.store import manifest
from diva.store.features import opened
from diva.store.paths import is_features
from diva.store.slabs import read_rows
from diva.text.votes import plurality, votes_in
from diva.text.words import amount

LARGE = 1 << 28  # bytes from which what a file claims to hold is compared with what it stores
DENSEST = 1100  # what the strongest of the common compressions makes of a byte
SUFFIXES = (".npz", ".npy", ".parquet", ".h5", ".hdf5")
LIKELY = {
    "features": ("arr_0", "x_train", "embeddings", "embedding", "feature", "vectors", "vector", "x", "data"),
    "labels": ("arr_1", "y_train", "label", "targets", "target", "classes", "class", "y"),
}  # what others call them


class Ready(NamedTuple):
    """What a file of ready features holds.

    Attributes:
        features: (n, p), numeric; slices of it are arrays (an HDF5 file is read slice by slice).
        labels: (n,) text; empty where a label is missing.
        sample_id: (n,) text, or None where the file names no rows.
        group: (n,) text, what is left out together, empty where there is none; None where the file has no groups.
    """

    features: Any
    labels: Text
    sample_id: Text | None
    group: Text | None = None


class StoredRows:
    """The rows of one HDF5 data set; the file is open only while a slice is read."""

    def __init__(self, path: Path, name: str = "features") -> None:
        self.path, self.name = path, name
        with opened(path, DELIVERED) as file:
            self.shape, self.dtype = tuple(file[name].shape), file[name].dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        with opened(self.path, DELIVERED) as file:
            values: npt.NDArray[Any] = file[self.name][rows]
        return values


def open_ready(path: str | Path, unlabelled: bool = False) -> Ready:
    """Open a file of ready features; ``unlabelled``: it need not have labels.

    Raises:
        ValueError: the file is absent, damaged, of another kind, or its arrays are missing or do not fit together.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], Mapping[str, Any]]] = {
        ".npz": _npz,
        ".npy": lambda path: _npy(path, unlabelled),
        ".parquet": _parquet,
        ".h5": _hdf5,
        ".hdf5": _hdf5,
    }
    if path.suffix.lower() not in readers:
        raise ValueError(f"source must end in one of {', '.join(SUFFIXES)}, got {path}.")
    if not path.is_file():
        raise ValueError(f"source must be an existing file, got {path}.")
    arrays = readers[path.suffix.lower()](path)
    if arrays.get("labels") is None and arrays.get("features") is not None:
        arrays = {**arrays, **_by_votes(path, arrays)}
    bare = unlabelled and not {"labels", *LIKELY["labels"]} & set(arrays)
    missing = [name for name in ("features", "labels")[: 1 if bare else 2] if arrays.get(name) is None]
    if missing:
        absent, names = " and ".join(missing), ", ".join(arrays) or "nothing"
        raise ValueError(
            f"{path} must hold features and labels; {absent} missing, got {names}{_offer(missing, arrays)}."
        )
    return _checked(path, arrays)


def _by_votes(path: Path, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Labels by what most annotators say, where each has a column; nothing elsewhere."""
    if not votes_in(list(arrays)):
        return {}
    table = columns_of(path, len(arrays["features"]))
    return {"labels": np.array([plurality(row) or "" for row in table.select(votes_in(table.columns)).iter_rows()])}


def _offer(missing: Sequence[str], names: Iterable[str]) -> str:
    """What to do about names that are missing: those that others use are recognised."""
    if inside := [name for name in names if name.endswith("/")]:
        return f"; store them outside of the group {inside[0]}"
    numbered = [name for name in names if name[-1:].isdecimal()]
    if "features" in missing and len(numbered) > 1 and "arr_0" not in names:
        return f"; call its columns f0 to f{len(numbered) - 1}, or make them one column of lists, features"
    lower = {other.lower(): other for other in reversed([*names])}
    meant = {
        name: next((lower[key] for key in (name, *map(str.lower, LIKELY[name])) if key in lower), None)
        for name in missing
    }
    said = " and ".join(f"{other} as {name}" for name, other in meant.items() if other)
    if "features" in missing and not said and names:
        return "; name its numbers features (of a table also f0, f1, …), and its classes labels"
    return f"; save {said}" if said else "; save its classes, one a row, as labels: a pool alone may lack them"


def read_ready(paths: Sequence[str], rows: Sequence[int], chunk_size: int = 8192) -> Iterator[npt.NDArray[Any]]:
    """Rows of files of ready features, block by block, in the order given: row ``rows[i]`` of ``paths[i]``."""
    where = np.asarray(rows, dtype=np.int64)
    for path, group in itertools.groupby(range(len(paths)), key=paths.__getitem__):
        # of rows that wait in a file of our own the codes of labels are none of its classes
        features = StoredRows(Path(path)) if is_features(path) else open_ready(path, unlabelled=True).features
        members = np.fromiter(group, dtype=np.int64)
        asked = where[members]
        if asked.min() < 0 or asked.max() >= len(features):
            raise ValueError(f"{path} must have row {asked.max()}, got {len(features)} rows; run download again.")
        for start in range(0, len(asked), chunk_size):
            yield read_rows(features, asked[start : start + chunk_size])


def attributes() -> dict[str, str | int]:
    """What a file of features says of its making where no network made it."""
    versions = json.dumps({"h5py": h5py.__version__, "numpy": np.__version__})
    made: dict[str, str | int] = {"backbone": "ready", "weights": "none", "weights_sha256": "", "seed": 0}
    return made | {"transform": "null", "versions": versions}


def _checked(path: Path, arrays: Mapping[str, Any]) -> Ready:
    features = arrays["features"]
    if fields := np.dtype(features.dtype).names:
        raise ValueError(
            f"features of {path} must be one array (n, p), got records of {', '.join(fields)}; take it out."
        )
    if features.ndim != 2:
        got = f"{tuple(features.shape)}; save features.reshape(len(features), -1)"
        raise ValueError(f"features of {path} must have shape (n, p), got {got}.")
    if features.shape[1] == 0 < len(features):
        raise ValueError(
            f"features of {path} must have at least 1 column, got {tuple(features.shape)}; save them anew."
        )
    if np.dtype(features.dtype).kind not in "fiub":
        raise ValueError(f"features of {path} must be real numbers, got {features.dtype}; save them as such.")
    labels = np.full(len(features), "")
    if "labels" in arrays:
        labels = as_text(arrays["labels"], "labels", path, arrays.get("classes"))
    sample_id = as_text(arrays["sample_id"], "sample_id", path) if "sample_id" in arrays else None
    names = [name for name in manifest.GROUPS if name in arrays]
    group = as_text(arrays[names[0]], names[0], path) if names else None
    for name, values in (("labels", labels), ("sample_id", sample_id), ("group", group)):
        if values is not None and len(values) != len(features):
            turned = "; transpose its features" if len(values) == features.shape[1] else ""
            raise ValueError(
                f"{name} of {path} must have one entry per row ({len(features)}), got {len(values)}{turned}."
            )
    return Ready(features, labels, sample_id, group)


def _loaded(path: Path, **options: Any) -> Any:
    try:
        return np.load(path, allow_pickle=False, **options)
    except Exception as error:  # zip, header and pickle errors have nothing in common
        start = path.open("rb").read(8)
        if not start.startswith((b"\x93NUMPY", b"PK")):
            got = f"a file that begins with {start!r}, which is none; deliver it again"
        elif "pickle" in str(error).lower():
            got = "Python objects; save labels as text and features as numbers"
        else:
            got = str(error)
        raise ValueError(f"{path} must be a whole numpy file without Python objects, got: {got}") from None


def _npz(path: Path) -> Mapping[str, Any]:
    with _loaded(path) as file:
        _require_room(path, sum(entry.file_size for entry in file.zip.infolist()))
        arrays: dict[str, Any] = dict.fromkeys(file.files)
        for name in {"features", *COLUMNS} & arrays.keys():
            arrays[name] = _member(file, name, path)
        if "classes" in arrays and getattr(arrays.get("labels"), "ndim", 0) == 2:  # names of its columns
            arrays["classes"] = _member(file, "classes", path)
    return arrays


def _member(file: Any, name: str, path: Path) -> Any:
    try:
        values = file[name]
    except Exception as error:  # as above; object arrays are refused here
        plain = f"{error}; save it as numbers or text, such as .astype(str)"
        raise ValueError(f"{name} of {path} must be a plain array without Python objects, got: {plain}.") from None
    if not isinstance(values, np.ndarray):  # a member that does not begin as an array comes as its bytes
        raise ValueError(f"{name} of {path} must be a plain array without Python objects, got other bytes.")
    return values


def _npy(path: Path, unlabelled: bool) -> Mapping[str, Any]:
    beside = path.with_name(f"{path.stem}_labels.npy")
    if not beside.is_file():
        if unlabelled:
            return {"features": _loaded(path, mmap_mode="r")}
        raise ValueError(f"{path} must have its labels beside it in {beside.name}, got nothing there.")
    return {"features": _loaded(path, mmap_mode="r"), "labels": _loaded(beside)}


def _hdf5(path: Path) -> Mapping[str, Any]:
    with opened(path, DELIVERED) as file:
        members = {name: _own(file, name, path) for name in file}
        names = [name for name, data in members.items() if isinstance(data, h5py.Dataset)]
        groups = [f"{name}/" for name in members if name not in names]
        arrays: dict[str, Any] = dict.fromkeys([*names, *groups])
        arrays |= {name: _values(file[name]) for name in COLUMNS if name in names}
        if "classes" in names and "labels" in names:  # as in files of our own: labels are codes
            arrays["classes"] = file["classes"].asstr()[:]
            arrays["labels"] = _named(arrays["labels"], arrays["classes"], path)
    return {**arrays, "features": StoredRows(path)} if "features" in names else arrays


def _values(data: Any) -> Any:
    """A data set as an array; of an enumeration, its names."""
    names = {code: name for name, code in (h5py.check_enum_dtype(data.dtype) or {}).items()}
    return np.array([names.get(code, code) for code in data[:].tolist()]) if names else data[:]


def _named(codes: Any, classes: Any, path: Path) -> Any:
    """The names of ``classes`` (k,) that ``codes`` (n,) mean; labels that are names already stay."""
    if codes.dtype.kind not in "fiub" or codes.ndim > 1:
        return codes
    numbers = np.nan_to_num(codes, nan=-1).astype(np.int64)
    wrong = np.flatnonzero((numbers != codes) | (numbers < 0) | (numbers >= len(classes)))
    if len(wrong):
        hint = "; count them from 0" if numbers.min() == 1 and numbers.max() == len(classes) else ""
        raise ValueError(
            f"labels of {path} must be codes 0 to {len(classes) - 1} of its classes, or their names, got "
            f"{codes[wrong[0]]} in row {wrong[0]}{hint}."
        )
    return classes[numbers]


def _own(file: Any, name: str, path: Path) -> Any:
    """What a file holds under a name; it must lie in the file itself and be as large as it says.

    A data set that links to another file, or borrows its bytes, would make features of whatever this process may read.
    """
    if file.get(name, getclass=True, getlink=True) is not h5py.HardLink:
        raise ValueError(f"{name} of {path} must lie in the file itself, got a link; copy it there.")
    data = file[name]
    if isinstance(data, h5py.Dataset):
        if data.is_virtual or data.external:
            raise ValueError(f"{name} of {path} must lie in the file itself, got bytes of another; copy it there.")
        claimed, stored = data.size * data.dtype.itemsize, data.id.get_storage_size()
        if claimed > max(LARGE, DENSEST * stored):
            raise ValueError(f"{name} of {path} must be stored, got {claimed} bytes of which {stored} are there.")
    return data


def _require_room(path: Path, size: int) -> None:
    """Refuse arrays that this machine has no memory for: a small file can unpack to terabytes."""
    room = cores.memory()
    if size > max(LARGE, room):
        raise ValueError(
            f"{path} must fit into memory, {room} bytes, got {size} once unpacked; deliver it as .npy or HDF5, which "
            "are read slice by slice, or in parts."
        )


def _parquet(path: Path) -> Mapping[str, Any]:
    import polars as pl  # only this kind of file needs it

    from diva.store import tables

    def size(path: Path) -> int:
        head = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        return 8 * int(head.select(pl.len()).collect().item()) * len(head.collect_schema())

    _require_room(path, tables.parse(size, path, "parquet file"))
    frame = tables.parse(tables.read_parquet, path, "parquet file")
    arrays: dict[str, Any] = dict.fromkeys(frame.columns)
    for name in (name for name in COLUMNS if name in frame.columns):
        if name == "labels" and isinstance(frame.schema[name], pl.List | pl.Array):
            arrays[name] = label_lists(frame[name].to_list())
            continue
        if frame.schema[name].is_nested():
            raise ValueError(f"{name} of {path} must be one text or number per row, got {frame.schema[name]}.")
        arrays[name] = frame[name].to_numpy()
    if "features" in frame.columns:
        arrays["features"] = _from_lists(frame["features"], path)
    elif "f0" in frame.columns:
        columns = [f"f{index}" for index in range(sum(_is_feature(name) for name in frame.columns))]
        absent = [name for name in columns if name not in frame.columns]
        if absent:
            raise ValueError(f"{path} must hold columns f0 to {columns[-1]} without a gap; {absent[0]} is missing.")
        for name in columns:
            if not (frame.schema[name].is_numeric() or frame.schema[name] == pl.Boolean):
                raise ValueError(
                    f"{name} of {path} must hold real numbers, got {frame.schema[name]}; convert it to numbers."
                )
        arrays["features"] = frame.select(columns).to_numpy()
    return arrays


def _is_feature(name: str) -> bool:
    return name.startswith("f") and name[1:].isdigit()


def _from_lists(column: Any, path: Path) -> Any:
    """A list column as (n, p); a missing list is a row of NaN, which extraction sets aside."""
    if not (column.dtype.is_nested() and column.dtype.inner is not None and column.dtype.inner.is_numeric()):
        got = f"{column.dtype}; text becomes lists by json.loads"
        raise ValueError(f"features of {path} must be a list of numbers in each row, got {got}.")
    import polars as pl

    lists = column.cast(pl.List(column.dtype.inner))
    widths = lists.list.len()
    width = int(widths.drop_nulls().mode().max() or 0)
    odd = (widths != width).fill_null(value=False).arg_true()
    if len(odd):
        raise ValueError(
            f"features of {path} must be lists of one length, got {width} numbers in most rows, {widths[odd[0]]} in "
            f"row {odd[0]} ({amount(len(odd), 'such row')}); mend these rows, or leave them out."
        )
    numbers = np.full((len(column), width), np.nan, dtype=np.float64)
    if width:
        here = lists.is_not_null().to_numpy()
        numbers[here] = lists.drop_nulls().explode().to_numpy().reshape(-1, width)
    return numbers
