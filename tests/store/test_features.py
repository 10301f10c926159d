import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from diva.store.features import Failure, FeatureFile, FeatureWriter, contents

MADE = {"backbone": "resnet18", "weights": "none", "seed": 3, "manifest_sha256": "ab"}
N, P = 23, 6
FEATURES = np.random.default_rng(0).standard_normal((N, P)).astype(np.float32)
LABELS = [f"Löwenzahn {row % 3}" for row in range(N)]
IDS = [f"{row:032x}" for row in range(N)]
FAILED = [
    Failure(2, "zero bytes", "Copy it."),
    Failure(9, "not an image", "Copy it."),
    Failure(22, "missing file", "-"),
]


def append(writer, start, stop):
    failed = [failure for failure in FAILED if start <= failure.row < stop]
    gone = {failure.row for failure in failed}
    writer.append(FEATURES[[row for row in range(start, stop) if row not in gone]], failed)


def write(path, step=5, dtype="float32"):
    writer = FeatureWriter(path, MADE, dtype)
    for start in range(writer.done, N, step):
        append(writer, start, min(start + step, N))
    return writer.finish(LABELS, IDS)


KEPT = [row for row in range(N) if row not in {2, 9, 22}]


def plain(path, features, labels=None, dtype="float32"):
    """A file of features without failures."""
    n = len(features)
    writer = FeatureWriter(path, MADE, dtype)
    writer.append(np.asarray(features))
    writer.finish(labels or ["a"] * n, [f"{row:032x}" for row in range(n)])
    return path


def test_what_was_written_is_read(tmp_path):
    failures = write(tmp_path / "b.h5")
    assert failures == FAILED
    file = FeatureFile(tmp_path / "b.h5")
    assert file.shape == (20, P)
    assert file.attributes == MADE
    assert [file.classes[code] for code in file.labels] == [LABELS[row] for row in KEPT]
    assert file.labels.dtype == np.int32
    assert file.sample_id == [IDS[row] for row in KEPT]
    assert np.array_equal(file.read(), FEATURES[KEPT])
    assert np.array_equal(file.read(slice(3, 7)), FEATURES[KEPT][3:7])
    assert np.array_equal(file.read([5, 1, 5]), FEATURES[KEPT][[5, 1, 5]])
    assert list(tmp_path.iterdir()) == [tmp_path / "b.h5"]  # nothing temporary stays


def test_two_runs_and_any_blocks_give_the_same_bytes(tmp_path):
    for name, step in (("a.h5", 5), ("b.h5", 5), ("c.h5", 1), ("d.h5", 100)):
        write(tmp_path / name, step)
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_type_on_disk(tmp_path, dtype):
    write(tmp_path / "b.h5", dtype=dtype)
    file = FeatureFile(tmp_path / "b.h5")
    assert file.dtype == np.dtype(dtype)
    assert np.array_equal(file.read(), FEATURES[KEPT].astype(dtype))


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    script = (
        "import os, signal; from pathlib import Path; from tests.store.test_features import *;"
        f"w = FeatureWriter(Path({str(tmp_path / 'b.h5')!r}), MADE, 'float32'); append(w, 0, 5); append(w, 5, 10);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert not (tmp_path / "b.h5").exists()
    again = FeatureWriter(tmp_path / "b.h5", MADE, "float32")
    assert (again.done, again.width, again.failures) == (10, P, FAILED[:2])
    append(again, 10, N)
    again.finish(LABELS, IDS)
    write(tmp_path / "whole.h5")
    assert (tmp_path / "b.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.parametrize("numbers", [0, 3, 4 * P * 4 + 7])
def test_a_block_half_written_is_written_again(tmp_path, numbers):
    writer = FeatureWriter(tmp_path / "b.h5", MADE, "float32")
    append(writer, 0, 5)
    with (writer.partial / "features.bin").open("ab") as file:
        file.write(b"\1" * numbers)
    with (writer.partial / "journal.jsonl").open("ab") as file:
        file.write(b'{"done": 1')
    write(tmp_path / "b.h5")
    assert np.array_equal(FeatureFile(tmp_path / "b.h5").read(), FEATURES[KEPT])


@pytest.mark.parametrize("change", [{"manifest_sha256": "cd"}, {"backbone": "resnet34"}, {"seed": 4}])
def test_other_settings_start_anew(tmp_path, change):
    append(FeatureWriter(tmp_path / "b.h5", MADE, "float32"), 0, 5)
    assert FeatureWriter(tmp_path / "b.h5", MADE | change, "float32").done == 0
    append(FeatureWriter(tmp_path / "b.h5", MADE, "float32"), 0, 5)
    assert FeatureWriter(tmp_path / "b.h5", MADE, "float16").done == 0


def test_rows_that_are_not_finite_or_do_not_survive_rounding_are_set_aside(tmp_path):
    features = np.ones((5, P))
    features[1, 2], features[2, 0], features[3], features[4, 5] = np.nan, -np.inf, 1e-12, 1e6
    writer = FeatureWriter(tmp_path / "b.h5", MADE, "float16")
    writer.append(features)
    failures = writer.finish(["a"] * 5, IDS[:5])
    assert [failure.row for failure in failures] == [1, 2, 3, 4]
    assert failures[0].reason == "not finite: nan in column 2 (1 such columns)"
    assert failures[1].reason.startswith("not finite: -inf in column 0")
    assert failures[2].reason == "beyond float16: features reach 1e-12"
    assert failures[3].reason == "beyond float16: features reach 1e+06"
    assert "float32" in failures[3].remedy
    assert FeatureFile(tmp_path / "b.h5").shape == (1, P)
    single = FeatureWriter(tmp_path / "c.h5", MADE, "float32")
    single.append(features)
    assert [failure.row for failure in single.failures] == [1, 2]


def test_rows_of_nothing_but_zeros_are_kept(tmp_path):
    assert FeatureFile(plain(tmp_path / "b.h5", np.zeros((3, 2)))).shape == (3, 2)


def test_all_rows_failing_is_an_error_with_the_first_reason(tmp_path):
    writer = FeatureWriter(tmp_path / "b.h5", MADE, "float32")
    writer.append(np.full((2, P), np.nan), [Failure(0, "zero bytes", "Copy it.")])
    with pytest.raises(ValueError, match=r"all 3 rows failed; the first: zero bytes\. Copy it\."):
        writer.finish(LABELS[:3], IDS[:3])
    assert list(tmp_path.iterdir()) == []


def test_an_empty_batch_is_a_file_without_rows_or_columns(tmp_path):
    assert FeatureWriter(tmp_path / "b.h5", MADE, "float16").finish([], []) == []
    file = FeatureFile(tmp_path / "b.h5")
    assert (file.shape, file.classes, file.sample_id, file.attributes) == ((0, 0), [], [], MADE)
    assert file.read().shape == (0, 0)


def test_blocks_of_another_width_and_labels_of_another_length_are_refused(tmp_path):
    writer = FeatureWriter(tmp_path / "b.h5", MADE, "float32")
    append(writer, 0, 5)
    with pytest.raises(ValueError, match="must have 6 columns"):
        writer.append(np.ones((2, P + 1)))
    with pytest.raises(ValueError, match="must cover 5 rows"):
        writer.finish(LABELS, IDS)
    with pytest.raises(ValueError, match="dtype must be"):
        FeatureWriter(tmp_path / "c.h5", MADE, "int8")


def test_files_that_are_no_features_are_refused(tmp_path):
    good = plain(tmp_path / "good.h5", FEATURES)
    cut = tmp_path / "cut.h5"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    text = tmp_path / "text.h5"
    text.write_text("features")
    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file["features"] = FEATURES
    for path, message in (
        (cut, "cut.h5 must be a whole HDF5 file.*delete it"),
        (text, "text.h5 must be a whole HDF5 file"),
        (foreign, "without labels, sample_id, classes"),
        (tmp_path / "absent.h5", "got nothing there"),
    ):
        with pytest.raises(ValueError, match=message):
            FeatureFile(path)


def test_this_module_needs_neither_torch_nor_polars():
    script = "import sys, json, diva.store.features; print(json.dumps([m for m in sys.modules if '.' not in m]))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout)
    assert not {"torch", "polars", "pydantic", "torchvision"} & set(loaded)


def test_equal_numbers_have_one_content_in_any_type_and_any_file(tmp_path):
    numbers = np.random.default_rng(0).integers(-9, 9, (5, 3)).astype(np.float16)
    numbers[0, 0] = 0
    kinds = [list(contents(numbers.astype(kind))) for kind in ("f2", "<f4", ">f4", "f8", "i8")]
    kinds.append(list(contents(np.where(numbers == 0, np.float16(-0.0), numbers))))
    writer = FeatureWriter(tmp_path / "x.h5", {}, "float16")
    writer.append(numbers)
    writer.finish(list("ababa"), list("stuvw"))
    assert all(kind == FeatureFile(tmp_path / "x.h5").contents() for kind in kinds)
    assert len(set(kinds[0])) == 5
