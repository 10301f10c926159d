"""Rows of several feature files as chunks, read ahead: while one chunk is computed with, a thread reads the next.

HDF5 lets other threads run while it reads, and reads whole stretches of rows straight into memory that is used again.
For a GPU several threads read, into page-locked memory, from which the way to it is short.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from diva.numerics.chunks import Chunk, Origin
from diva.store.features import FeatureFile, opened
from diva.store.slabs import read_rows

AHEAD = 2  # chunks that are read before they are asked for; one more for each further reader
READERS = 4  # threads that read for a card
MOST_OPEN = 64  # files of a pass; of more than that one thread reads
Array = npt.NDArray[Any]
Allocate = Callable[[tuple[int, int], np.dtype[Any]], Array]
T = TypeVar("T")
R = TypeVar("R")


class Buffers:
    """Arrays (m, p) that are used again once nobody holds them any more.

    Args:
        shape: of the largest.
        dtype: of all.
        allocate: makes one.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any], allocate: Allocate = np.empty) -> None:
        self.shape, self.dtype, self.allocate = shape, dtype, allocate
        self.made: list[Array] = []

    def take(self, rows: int) -> Array:
        """The first ``rows`` of a free one; a view holds its array, so what is still in use is not free."""
        for number in range(len(self.made)):
            if sys.getrefcount(self.made[number]) <= 2:  # the list's and the call's
                return self.made[number][:rows]
        self.made.append(self.allocate(self.shape, self.dtype))
        return self.made[-1][:rows]


def ahead(items: Iterable[T], begin: Callable[[T], R], depth: int) -> Iterator[R]:
    """What ``begin`` gives for each item, in order; it is called ``depth`` items before its result is needed."""
    waiting: deque[R] = deque()
    for item in items:
        waiting.append(begin(item))
        if len(waiting) > depth:
            yield waiting.popleft()
    yield from waiting


class Runs(NamedTuple):
    """Rows as stretches of consecutive rows of one file, which is what an index mostly consists of.

    Attributes:
        start: where each stretch begins among all rows (r,), and at its end n.
        file: number of its file (r,).
        first: its first row within that file (r,).
    """

    start: Array
    file: Array
    first: Array

    @classmethod
    def of(cls, file: Array, row: Array) -> "Runs":
        """Of a file and a row within it for each of n rows."""
        follows = (np.diff(file) == 0) & (np.diff(row) == 1)
        start = np.concatenate([[0], np.flatnonzero(~follows) + 1])[: len(row)]
        return cls(np.append(start, len(row)), file[start], row[start])

    def part(self, rows: slice) -> "Runs":
        """Some of the rows."""
        low = int(np.searchsorted(self.start, rows.start, "right")) - 1
        high = max(low, int(np.searchsorted(self.start, rows.stop, "left")))
        start = np.clip(self.start[low : high + 1], rows.start, rows.stop)
        first = self.first[low:high] + (start[:-1] - self.start[low:high])
        return Runs(start - rows.start, self.file[low:high], first)

    def rows(self) -> Array:
        """The row within its file, for each of all rows."""
        numbers: Array = np.arange(int(self.start[-1])) + np.repeat(self.first - self.start[:-1], np.diff(self.start))
        return numbers


class FeatureRows:
    """Rows of several feature files as chunks, in the order given; an index's columns are its arguments.

    Args:
        features: path of the feature file, per row.
        rows: row within that file, per row.
        labels: class code, per row.
        chunk_size: rows per chunk.
        width: p, needed only where there may be no rows at all.
        allocate: makes the memory that chunks are read into.

    Iterates again and again; files are open, read-only, only during a pass. What is kept of n rows is their labels.

    Attributes:
        readers: threads that read.
    """

    readers = 1

    def __init__(
        self,
        features: Sequence[str | Path],
        rows: Sequence[int] | Array,
        labels: Sequence[int] | Array,
        chunk_size: int = 8192,
        width: int | None = None,
        allocate: Allocate = np.empty,
    ) -> None:
        if not len(features) == len(rows) == len(labels):
            raise ValueError(
                f"features, rows, labels must be of one length, got {(len(features), len(rows), len(labels))}."
            )
        number: dict[str, int] = {}
        file = np.array([number.setdefault(str(path), len(number)) for path in features], dtype=np.int64)
        runs = Runs.of(file, np.asarray(rows, dtype=np.int64).reshape(-1))
        self._fill([Path(path) for path in number], runs, labels, chunk_size, width, allocate)

    @classmethod
    def indexed(
        cls,
        paths: Sequence[str | Path],
        file: Array,
        rows: Array,
        labels: Array,
        chunk_size: int = 8192,
        width: int | None = None,
        allocate: Allocate = np.empty,
    ) -> "FeatureRows":
        """The same for many rows: each names its file by a number, its place in ``paths``."""
        made = cls.__new__(cls)
        runs = Runs.of(np.asarray(file), np.asarray(rows, dtype=np.int64))
        made._fill([Path(path) for path in paths], runs, labels, chunk_size, width, allocate)
        return made

    def _fill(
        self, paths: list[Path], runs: Runs, labels: Any, chunk_size: int, width: int | None, allocate: Allocate
    ) -> None:
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}.")
        self.paths, self.runs, self.chunk_size, self.allocate = paths, runs, chunk_size, allocate
        self.identities: dict[int, tuple[str, int, int, int]] = {}
        labels = np.asarray(labels).reshape(-1)
        self.labels = labels.astype(np.int32 if not len(labels) or labels.max() > 2**15 - 1 else np.int16)
        self.width, self.dtype = self._check(width)

    @classmethod
    def whole(
        cls, paths: Sequence[str | Path], classes: Sequence[str], chunk_size: int = 8192, allocate: Allocate = np.empty
    ) -> "FeatureRows":
        """All rows of some files, one after the other, with the labels they bring as codes into ``classes``.

        Raises:
            ValueError: a file has a label that is none of the classes, or a row without one.
        """
        files = [FeatureFile(path) for path in paths]
        codes = {label: code for code, label in enumerate(classes)}
        unknown = sorted({label for file in files for label in file.classes} - set(codes))
        if unknown:
            raise ValueError(f"classes must hold every label, got none for {unknown[0]!r}.")
        bare = [file.path for file in files if len(file.labels) and file.labels.min() < 0]
        if bare:
            raise ValueError(f"{bare[0]} must have a label in each row, got some without; leave these rows out.")
        labels = [np.array([codes[label] for label in file.classes], dtype=np.int32)[file.labels] for file in files]
        lengths = [len(part) for part in labels]
        runs = Runs(np.cumsum([0, *lengths]), np.arange(len(files)), np.zeros(len(files), dtype=np.int64))
        made = cls.__new__(cls)
        made._fill([Path(path) for path in paths], runs, np.concatenate(labels), chunk_size, None, allocate)
        return made

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p)."""
        return len(self.labels), self.width

    def part(self, rows: slice) -> "FeatureRows":
        """Some consecutive rows, by themselves; a few numbers and the labels, fit to be sent elsewhere."""
        made = FeatureRows.__new__(FeatureRows)
        runs = self.runs.part(rows)
        used, file = np.unique(runs.file, return_inverse=True)
        made.paths = [self.paths[number].absolute() for number in used]
        made.runs = Runs(runs.start, file, runs.first)
        made.labels, made.chunk_size, made.allocate = self.labels[rows].copy(), self.chunk_size, self.allocate
        made.width, made.dtype, made.identities, made.readers = self.width, self.dtype, {}, self.readers
        return made

    def __iter__(self) -> Iterator[Chunk]:
        return self.read(lambda _: None)

    def origins(self, rows: slice) -> list[Origin]:
        """Where the rows of a chunk lie; what was written anew since is another file."""
        runs = self.runs.part(rows)
        file, numbers = np.repeat(runs.file, np.diff(runs.start)), runs.rows()
        chosen = [(int(number), np.flatnonzero(file == number)) for number in np.unique(runs.file)]
        return [Origin(self._identity(number), here, numbers[here]) for number, here in chosen]

    def _identity(self, number: int) -> tuple[str, int, int, int]:
        if number not in self.identities:
            path = self.paths[number]
            status = path.stat()  # as it is opened: folders above may be closed to this login
            self.identities[number] = (str(path.absolute()), status.st_ino, status.st_mtime_ns, status.st_size)
        return self.identities[number]

    def read(self, chosen: Callable[[slice], Array | None]) -> Iterator[Chunk]:
        """Every chunk with all its labels, and the features of the rows that the mask ``chosen(rows)`` says; None: all.

        It is asked a few chunks ahead.
        """
        n = len(self.labels)
        parts = [slice(start, min(start + self.chunk_size, n)) for start in range(0, n, self.chunk_size)]
        count = self.readers if len(self.paths) <= MOST_OPEN else 1
        with ThreadPoolExecutor(count, "read") as reader, ExitStack() as files:
            reading, depth = Reading(self, files), AHEAD + count - 1
            try:
                for chunk in ahead(parts, lambda part: reader.submit(reading.chunk, part, chosen(part)), depth):
                    yield chunk.result()
            finally:
                reader.shutdown(cancel_futures=True)  # before the files are closed

    def _check(self, width: int | None) -> tuple[int, np.dtype[Any]]:
        widths = {} if width is None else {"width": width}
        dtypes = []
        last = self.runs.first + np.diff(self.runs.start) - 1
        for number, path in enumerate(self.paths):
            with opened(path) as file:
                if "features" not in file:
                    raise ValueError(f"{path} must be a file of features, got HDF5 without features.")
                n, widths[str(path)] = file["features"].shape
                dtypes.append(file["features"].dtype)
            here = self.runs.file == number
            low, high = self.runs.first[here].min(initial=n), last[here].max(initial=-1)
            if here.any() and (low < 0 or high >= n):
                raise ValueError(f"rows must lie within the {n} rows of {path}, got {low} to {high}.")
        if len(set(widths.values())) > 1:
            raise ValueError(f"features must share one width, got {widths}; extract them with one backbone.")
        return next(iter(widths.values()), 0), np.result_type(*dtypes) if dtypes else np.dtype(np.float32)


class Reading:
    """One pass over some rows: its open files and its buffers.

    Args:
        source: the rows.
        files: closes them.
    """

    def __init__(self, source: FeatureRows, files: ExitStack) -> None:
        self.source, self.files = source, files
        self.open, self.taking = dict[int, Any](), Lock()
        rows = min(source.chunk_size, len(source.labels))
        self.buffers = Buffers((rows, source.width), source.dtype, source.allocate)

    def chunk(self, part: slice, chosen: Array | None = None) -> Chunk:
        """Labels of consecutive rows, and features of those that are chosen (m,); None: of all."""
        runs = self.source.runs.part(part)
        if chosen is not None and chosen.all():
            chosen = None
        with self.taking:
            out = self.buffers.take(part.stop - part.start if chosen is None else int(chosen.sum()))
        if len(runs.file) == 1 and chosen is None:
            self._stretch(int(runs.file[0]), int(runs.first[0]), out)
        else:
            file, rows = np.repeat(runs.file, np.diff(runs.start)), runs.rows()
            if chosen is not None:
                file, rows = file[chosen], rows[chosen]
            for number in np.unique(file):
                here = np.flatnonzero(file == number)
                out[here] = read_rows(self._features(int(number)), rows[here], self.source.chunk_size)
        return Chunk(out, self.source.labels[part], part)

    def _stretch(self, number: int, first: int, out: Array) -> None:
        features = self._features(number)
        if features.dtype != out.dtype:  # HDF5 converts slower than numpy
            out[:] = features[first : first + len(out)]
        elif self.source.readers > 1 and hasattr(os, "preadv") and (start := features.id.get_offset()) is not None:
            # HDF5 lets one thread in at a time; where its rows lie one after the other, it is not needed
            read_at(features.file.id.get_vfd_handle(), start + first * out[:1].nbytes, out)
        else:
            features.read_direct(out, np.s_[first : first + len(out)])

    def _features(self, number: int) -> Any:
        with self.taking:
            if number not in self.open:
                if len(self.open) >= MOST_OPEN:
                    self.files.close()
                    self.open.clear()
                self.open[number] = self.files.enter_context(opened(self.source.paths[number]))["features"]
            return self.open[number]


def read_at(file: int, start: int, out: Array) -> None:
    """Fill an array with the bytes of an open file from ``start`` on."""
    memory = out.data.cast("B")
    while memory:
        if not (count := os.preadv(file, [memory], start)):
            raise OSError(f"a file that ends at byte {start}")
        memory, start = memory[count:], start + count
