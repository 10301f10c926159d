"""Features on disk: one immutable HDF5 file per batch; `diva.store.streams` reads several as one.

A file holds ``features`` (n, p) float16 or float32, ``labels`` (n,) int32 codes into ``classes`` (−1: none yet),
``sample_id`` (n,) ASCII; its attributes say how the features were made. It is written once: rows first gather in a
folder beside it (raw numbers plus a journal, so that a killed run continues where it stopped), then go into a file of a
temporary name that takes its real one when whole. An empty batch gives a file of n = 0 rows of width p = 0.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from diva.store.atomic import replacing, write_text
from diva.store.slabs import read_rows

DTYPES = ("float16", "float32")
SLAB = 8192  # rows read or written at once
LOSS = 1e-2  # what rounding may change of a row's norm
SMALLEST, LARGEST = 1e-18, 1e18  # norms whose squares single precision holds: later sums are of squares
ABSENT = (
    "missing file",
    "not readable",
    "not a file",
    "changed file",
)  # reasons that lie with the place, not with the content
Array = npt.NDArray[Any]
Codes = npt.NDArray[np.int32]


class Failure(NamedTuple):
    """A row of the manifest without features: its number, why ("<kind>: <particulars>"), and what to do."""

    row: int
    reason: str
    remedy: str


class FeatureWriter:
    """Gathers features block by block and writes the file once all are there.

    Args:
        path: of the HDF5 file.
        attributes: of the file (text or numbers): what made the features, on which manifest.
        dtype: "float16" or "float32".

    A run that was killed leaves its rows beside ``path``; a writer with equal attributes and dtype goes on after them
    (``done`` rows of the manifest are dealt with), any other starts anew.
    """

    def __init__(self, path: Path, attributes: Mapping[str, str | int], dtype: str) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype}.")
        self.path, self.attributes, self.dtype = path, dict(attributes), np.dtype(dtype)
        self.partial = path.with_name(f".{path.name}.tmp")
        self.done, self.width = 0, 0
        self.failures: list[Failure] = []
        self._settings = json.dumps({**self.attributes, "dtype": dtype}, sort_keys=True)
        self._resume()

    @property
    def stored(self) -> int:
        """Rows with features so far."""
        return self.done - len(self.failures)

    def append(self, features: Array, failures: Iterable[Failure] = ()) -> None:
        """Add the next rows of the manifest: (m, p) features of those that have any, and the failures among them.

        A row that is not finite, or too large or too small for ``dtype``, becomes a failure.
        """
        failed = list(failures)
        gone = {failure.row for failure in failed}
        done = self.done + len(features) + len(failed)
        rows = [row for row in range(self.done, done) if row not in gone]
        rounded, lost = _stored(features, rows, self.dtype)
        self._journal(rounded, sorted(failed + lost), done)

    def finish(self, labels: Sequence[str | None], sample_id: Sequence[str], *, spare: bool = False) -> list[Failure]:
        """Write the file for all ``done`` rows of the manifest; return the failures.

        Args:
            labels: of the rows; None of one that has none yet.
            sample_id: of the rows.
            spare: whether the batch may turn out empty, where what it brought is unusable; never where it is absent.
        """
        if len(labels) != self.done or len(sample_id) != self.done:
            raise ValueError(f"labels and sample_id must cover {self.done} rows, got {len(labels)}, {len(sample_id)}.")
        absent = any(failure.reason.startswith(ABSENT) for failure in self.failures)
        if self.done and not self.stored and (absent or not spare):
            self.discard()
            first = self.failures[0]
            raise ValueError(f"all {self.done} rows failed; the first: {first.reason}. {first.remedy}")
        gone = {failure.row for failure in self.failures}
        rows = [row for row in range(self.done) if row not in gone]
        classes = sorted({label for label in labels if label is not None})
        with replacing(self.path) as temporary:
            self._write(temporary, [labels[row] for row in rows], [sample_id[row] for row in rows], classes)
        self.discard()
        return self.failures

    def discard(self) -> None:
        """Forget what was gathered."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def _resume(self) -> None:
        settings, journal = self.partial / "settings.json", self.partial / "journal.jsonl"
        if not settings.is_file() or settings.read_text(encoding="utf-8") != self._settings:
            self.discard()
            self.partial.mkdir(parents=True)
            (self.partial / "features.bin").touch()
            journal.touch()
            write_text(settings, self._settings)  # last: it makes the others count
        whole = 0
        for line in journal.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):  # killed while it wrote this line
                break
            entry = json.loads(line)
            self.done, self.width = entry["done"], entry["width"]
            self.failures += [Failure(*failure) for failure in entry["failures"]]
            whole += len(line)
        os.truncate(journal, whole)
        # what the journal does not know of is written again; it is never ahead of the numbers
        os.truncate(self.partial / "features.bin", self.stored * self.width * self.dtype.itemsize)

    def _journal(self, features: Array, failures: list[Failure], done: int) -> None:
        width = features.shape[1] if len(features) else self.width
        if self.stored and width != self.width:
            raise ValueError(f"features must have {self.width} columns like the rows before, got {width}.")
        with (self.partial / "features.bin").open("ab") as numbers:
            numbers.write(np.ascontiguousarray(features).tobytes())
            numbers.flush()
            os.fsync(numbers.fileno())  # the journal must never run ahead of the numbers
        with (self.partial / "journal.jsonl").open("a", encoding="utf-8") as journal:
            journal.write(json.dumps({"done": done, "width": width, "failures": failures}) + "\n")
        self.done, self.width = done, width
        self.failures += failures

    def _write(self, path: Path, labels: list[str | None], sample_id: list[str], classes: list[str]) -> None:
        code = {None: -1} | {label: index for index, label in enumerate(classes)}
        shape = (len(labels), self.width)
        with h5py.File(path, "w") as file:
            file.attrs.update(self.attributes)
            # contiguous: rows are read in slabs, and equal input gives equal bytes
            features = file.create_dataset("features", shape, self.dtype, track_times=False)
            for start in range(0, len(labels), SLAB):
                stop = min(start + SLAB, len(labels))
                features[start:stop] = self._gathered(start, stop)
            _put(file, "labels", np.array([code[label] for label in labels], dtype=np.int32))
            length = max([32, *map(len, sample_id)])
            _put(file, "sample_id", np.array([name.encode("ascii") for name in sample_id], dtype=f"S{length}"))
            _put(file, "classes", np.array(classes, dtype=object), h5py.string_dtype("utf-8"))

    def _gathered(self, start: int, stop: int) -> Array:
        size = self.width * self.dtype.itemsize
        numbers = np.fromfile(
            self.partial / "features.bin", self.dtype, (stop - start) * self.width, offset=start * size
        )
        return numbers.reshape(stop - start, self.width)


def _put(file: Any, name: str, values: Array, dtype: Any = None) -> None:
    file.create_dataset(name, data=values, dtype=dtype, track_times=False)


def _stored(features: Array, rows: list[int], dtype: np.dtype[Any]) -> tuple[Array, list[Failure]]:
    """The rows that are finite and survive rounding to ``dtype``, rounded, and a failure for each other."""
    exact = np.asarray(features)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found below
        rounded = exact.astype(dtype)
        change = np.linalg.norm(rounded.astype(np.float64) - exact, axis=1)
        norm = np.linalg.norm(exact.astype(np.float64), axis=1)
        good = (change <= LOSS * norm) & ((norm == 0) | ((norm > SMALLEST) & (norm < LARGEST)))
    return rounded[good], [Failure(rows[i], *_fault(exact[i], dtype)) for i in np.flatnonzero(~good)]


def _fault(row: Array, dtype: np.dtype[Any]) -> tuple[str, str]:
    broken = np.flatnonzero(~np.isfinite(row))
    if broken.size:
        reason = f"not finite: {row[broken[0]]} in column {broken[0]} ({len(broken)} such columns)"
        return reason, "Make these features anew, or take the row out."
    reason = f"beyond {dtype}: features reach {np.abs(row).max():.3g}"
    return reason, "Set extract.dtype to float32, or scale them."


class FeatureFile:
    """What one file of features holds; the features themselves are read by ``read``.

    Attributes:
        shape: (n, p).
        dtype: of the features.
        attributes: how they were made.
        classes: names that the codes stand for.
        labels: (n,) codes, −1 of a row that has none yet.

    Raises:
        ValueError: the file is absent, cut short, or no file of features.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with opened(self.path) as file:
            missing = [name for name in ("features", "labels", "sample_id", "classes") if name not in file]
            if missing:
                raise ValueError(f"{path} must be a file of features, got HDF5 without {', '.join(missing)}.")
            n, p = file["features"].shape
            self.shape, self.dtype = (int(n), int(p)), file["features"].dtype
            self.attributes: dict[str, Any] = {name: _plain(value) for name, value in file.attrs.items()}
            self.classes: list[str] = list(file["classes"].asstr()[:])
            self.labels: Codes = file["labels"][:]
            named = len(file["sample_id"])
        if len(self.labels) != n or named != n:
            raise ValueError(f"{path} must have a label and a sample_id per row ({n}); delete it and extract again.")

    @cached_property
    def sample_id(self) -> list[str]:
        """n ids; read only where they are asked for, because they take twenty times the memory of the labels."""
        with opened(self.path) as file:
            return [name.decode("ascii") for name in file["sample_id"][:]]

    def read(self, rows: Sequence[int] | slice = slice(None)) -> Array:
        """Features of some rows, in the order asked for."""
        with opened(self.path) as file:
            return file["features"][rows] if isinstance(rows, slice) else read_rows(file["features"], np.asarray(rows))

    def contents(self) -> list[str]:
        """What ``contents`` says of each row."""
        parts = (self.read(slice(start, start + SLAB)) for start in range(0, self.shape[0], SLAB))
        return [content for part in parts for content in contents(part)]


def contents(features: Array) -> Iterator[str]:
    """Hexadecimal sha256 of each row (m, p) in single precision: equal numbers are equal in any file and any type."""
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.asarray(features).astype("<f4") + np.float32(0)  # -0 is 0
    for row in numbers:
        yield hashlib.sha256(row.tobytes()).hexdigest()


@contextmanager
def opened(path: Path, remedy: str = "delete it and make it anew") -> Iterator[Any]:
    """An HDF5 file, read-only; ValueError with the remedy where it cannot be one, or turns out to be damaged."""
    if not path.is_file():
        raise ValueError(f"{path} must be an HDF5 file, got nothing there; run the stage that makes it.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except MemoryError:
        raise
    except Exception as error:  # the library fails in any way on a damaged file
        if str(path) in str(error) and isinstance(error, ValueError):  # said already
            raise
        if isinstance(error, BlockingIOError):
            raise ValueError(f"{path} must not be open for writing, but another program has it so: close it.") from None
        if isinstance(error, OSError) and error.errno:  # the system's
            raise ValueError(f"{path} must be a readable file: {error.strerror}") from None
        raise ValueError(f"{path} must be a whole HDF5 file, got {error}; {remedy}.") from None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
