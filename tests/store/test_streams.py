import json
import os
import pickle
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diva.store import streams
from diva.store.streams import Buffers, FeatureRows, Runs, ahead
from tests.store.test_features import FEATURES, LABELS, plain


@pytest.fixture
def several(tmp_path):
    """Three files and an index over them in no order at all."""
    rng = np.random.default_rng(1)
    blocks = [rng.standard_normal((n, 4)).astype(np.float32) for n in (40, 7, 90)]
    paths = [plain(tmp_path / f"{number}.h5", block) for number, block in enumerate(blocks)]
    files, rows = rng.integers(0, 3, 150), []
    rows = np.array([rng.integers(0, len(blocks[number])) for number in files])
    expected = np.stack([blocks[number][row] for number, row in zip(files, rows, strict=True)])
    return [str(paths[number]) for number in files], rows, rng.integers(0, 5, 150), expected


@pytest.mark.parametrize("chunk_size", [1, 7, 50, 150, 8192])
def test_rows_of_several_files_in_the_order_of_the_index(several, chunk_size):
    files, rows, labels, expected = several
    chunks = FeatureRows(files, rows, labels, chunk_size)
    assert chunks.shape == (150, 4)
    for _ in range(2):  # again and again
        read = list(chunks)
        assert np.array_equal(np.concatenate([chunk.features for chunk in read]), expected)
        assert np.array_equal(np.concatenate([chunk.labels for chunk in read]), labels)
        assert read[0].rows.start == 0
        assert read[-1].rows.stop == 150
        assert all(a.rows.stop == b.rows.start for a, b in pairwise(read))
        assert max(len(chunk.labels) for chunk in read) <= chunk_size


def test_files_are_closed_and_left_alone(several):
    files, rows, labels, _ = several
    before = {path: Path(path).read_bytes() for path in set(files)}
    for path in before:
        Path(path).chmod(0o444)
    next(iter(FeatureRows(files, rows, labels, 10)))  # a loop that ends early
    open_files = {str(link.resolve()) for link in Path("/proc/self/fd").iterdir()}
    assert not open_files & set(before)
    assert {path: Path(path).read_bytes() for path in before} == before


def test_half_and_single_precision_meet_in_single(tmp_path):
    paths = [plain(tmp_path / f"{dtype}.h5", FEATURES, dtype=dtype) for dtype in ("float16", "float32")]
    assert {chunk.features.dtype for chunk in FeatureRows(paths, [0, 1], [0, 0], 1)} == {np.dtype(np.float32)}
    assert {chunk.features.dtype for chunk in FeatureRows(paths[:1], [0], [0])} == {np.dtype(np.float16)}


def test_an_index_without_rows(tmp_path):
    assert FeatureRows([], [], [], width=12).shape == (0, 12)
    assert list(FeatureRows([], [], [])) == []


def test_an_index_that_does_not_fit_is_refused(tmp_path):
    a, b = plain(tmp_path / "a.h5", FEATURES), plain(tmp_path / "b.h5", FEATURES[:, :3])
    with pytest.raises(ValueError, match=r"share one width.*one backbone"):
        FeatureRows([a, b], [0, 0], [0, 0])
    with pytest.raises(ValueError, match="share one width"):
        FeatureRows([a], [0], [0], width=5)
    with pytest.raises(ValueError, match=r"within the 23 rows of .*a\.h5, got 0 to 23"):
        FeatureRows([a, a], [0, 23], [0, 0])
    with pytest.raises(ValueError, match="one length"):
        FeatureRows([a], [0, 1], [0])
    with pytest.raises(ValueError, match="chunk_size"):
        FeatureRows([a], [0], [0], 0)
    with pytest.raises(ValueError, match="got nothing there"):
        FeatureRows([tmp_path / "absent.h5"], [0], [0])


def test_files_as_a_whole_come_one_after_the_other_with_their_own_labels(tmp_path):
    a = plain(tmp_path / "a.h5", FEATURES, LABELS)
    b = plain(tmp_path / "b.h5", FEATURES[:5], ["z"] * 5, dtype="float16")
    classes = ["z", *sorted(set(LABELS))]
    rows = FeatureRows.whole([a, b], classes, 7)
    assert rows.shape == (28, 6)
    assert [classes[code] for code in rows.labels] == LABELS + ["z"] * 5
    expected = np.concatenate([FEATURES, FEATURES[:5].astype(np.float16).astype(np.float32)])
    assert np.array_equal(np.concatenate([chunk.features for chunk in rows]), expected)
    with pytest.raises(ValueError, match="classes must hold every label, got none for 'z'"):
        FeatureRows.whole([b], ["y"])


@pytest.mark.parametrize("rows", [slice(0, 150), slice(3, 4), slice(10, 77), slice(149, 150)])
def test_a_part_sent_elsewhere_reads_its_rows(several, rows):
    files, within, labels, expected = several
    part = pickle.loads(pickle.dumps(FeatureRows(files, within, labels, 9).part(rows)))  # noqa: S301 - as Dask sends it
    assert part.shape == (rows.stop - rows.start, 4)
    assert np.array_equal(np.concatenate([chunk.features for chunk in part]), expected[rows])
    assert np.array_equal(part.labels, labels[rows])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=40), st.data())
def test_runs_are_the_rows_they_were_made_from(index, data):
    file, row = np.array(index).T
    runs = Runs.of(file, row)
    start = data.draw(st.integers(0, len(index) - 1))
    stop = data.draw(st.integers(start + 1, len(index)))
    for part, chosen in ((runs, slice(None)), (runs.part(slice(start, stop)), slice(start, stop))):
        assert np.array_equal(part.rows(), row[chosen])
        assert np.array_equal(np.repeat(part.file, np.diff(part.start)), file[chosen])


def test_memory_is_used_again_once_nobody_holds_it():
    buffers = Buffers((4, 2), np.dtype(np.float16))
    first = buffers.take(4)
    held = first[1:]
    place = first.__array_interface__["data"]
    del first
    second = buffers.take(3)
    assert not np.shares_memory(second, held)
    del held
    assert buffers.take(4).__array_interface__["data"] == place
    assert len(buffers.made) == 2


def test_a_long_pass_uses_few_buffers_and_one_thread(tmp_path, monkeypatch):
    path = plain(tmp_path / "a.h5", np.arange(400, dtype=np.float32).reshape(200, 2))
    made, threads = [], threading.active_count()
    rows = FeatureRows.whole([path], ["a"], 4, allocate=lambda *given: made.append(given) or np.empty(*given))
    total = 0.0
    for chunk in rows:
        total += float(chunk.features.sum())
        assert threading.active_count() <= threads + 1
    assert total == np.arange(400).sum()
    assert len(made) <= streams.AHEAD + 3
    assert threading.active_count() == threads


def test_several_threads_read_what_one_reads(several):
    files, within, labels, expected = several
    rows = FeatureRows(files, within, labels, 3)
    ascending = np.lexsort((within, files))
    whole = FeatureRows([files[i] for i in ascending], within[ascending], labels[ascending], 5)
    for chunks, wanted in ((rows, expected), (whole.part(slice(4, 140)), expected[ascending][4:140])):
        chunks.readers = 4
        passed = [(chunk.features.copy(), chunk.rows) for chunk in chunks]
        assert np.array_equal(np.concatenate([features for features, _ in passed]), wanted)
        assert all(a.stop == b.start for (_, a), (_, b) in pairwise(passed))


def test_rows_that_a_file_lost_are_named(tmp_path):
    """After it was opened: what HDF5 saw of it lies in memory."""
    path = plain(tmp_path / "a.h5", np.arange(4000, dtype=np.float32).reshape(2000, 2))
    rows = FeatureRows.whole([path], ["a"], 5)
    rows.readers = 2
    passed = iter(rows)
    next(passed)
    with h5py.File(path, "r") as file:
        start = file["features"].id.get_offset()
    os.truncate(path, start + 8000)
    with pytest.raises(
        ValueError, match=r"a\.h5 must be a whole HDF5 file, got a file that ends at byte \d+; delete it"
    ):
        list(passed)


def test_more_files_than_may_be_open(several, monkeypatch):
    files, rows, labels, expected = several
    monkeypatch.setattr(streams, "MOST_OPEN", 2)
    assert np.array_equal(np.concatenate([c.features for c in FeatureRows(files, rows, labels, 20)]), expected)


def test_chunks_are_read_before_they_are_asked_for():
    begun = []
    results = ahead("abcd", lambda item: begun.append(item) or item, 2)
    assert next(results) == "a"
    assert begun == ["a", "b", "c"]
    assert list(results) == ["b", "c", "d"]


def test_a_file_that_breaks_during_a_pass_is_named(tmp_path):
    path = plain(tmp_path / "a.h5", FEATURES)
    rows = FeatureRows.whole([path], ["a"], 5)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.h5 must be a whole HDF5 file"):
        list(rows)


def test_reading_needs_neither_torch_nor_polars():
    script = "import sys, json, diva.store.streams; print(json.dumps([m for m in sys.modules if '.' not in m]))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout)
    assert not {"torch", "polars", "pydantic", "torchvision"} & set(loaded)
