import hashlib
import json
import logging
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from diva.store import manifest, paths
from diva.store.features import FeatureFile
from diva.vision import extraction
from stages.extract import extract
from stages.params.extract import Extract
from stages.params.section import validate

SECTION = {
    "backbone": "shufflenet_v2_x0_5",
    "weights": "none",
    "weights_sha256": None,
    "seed": 0,
    "linearize": "last_layer",
    "projection": 16,
    "resize": 32,
    "crop": 32,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "dtype": "float32",
    "batch_size": 8,
    "workers": 0,
    "device": "cpu",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings()
    return tmp_path


def settings(**changes):
    paths.PARAMS.write_text(yaml.safe_dump({"extract": SECTION | changes}), encoding="utf-8")


def deliver(batch, count=20):
    """A batch of PNG files and its manifest."""
    rng = np.random.default_rng(7)
    paths.raw(batch).mkdir(parents=True)
    samples = []
    for number in range(count):
        path = paths.raw(batch) / f"{number:05d}.png"
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
        sample_id = hashlib.sha256(path.read_bytes()).hexdigest()[: manifest.ID_LENGTH]
        samples.append(manifest.Sample(sample_id, path.as_posix(), str(number % 3), 8, 8))
    manifest.write(paths.manifest(batch), manifest.samples(samples))
    return samples


def give(batch, features, labels):
    """A batch of ready features and its manifest."""
    np.savez("ready.npz", features=features, labels=labels)
    rows = [manifest.Sample(f"{row:032x}", "ready.npz", label, row=row) for row, label in enumerate(labels)]
    manifest.write(paths.manifest(batch), manifest.samples(rows))


def outputs():
    return {path: path.read_bytes() for path in paths.DATA.rglob("*") if path.is_file() and "raw" not in path.parts}


def test_images_become_features_in_the_order_of_the_manifest(folder, caplog):
    samples = deliver("b001")
    with caplog.at_level(logging.INFO):
        extract("b001")
    file = FeatureFile(paths.features("b001"))
    assert file.shape == (20, 1024)
    assert file.dtype == np.float32
    assert file.sample_id == [sample.sample_id for sample in samples]
    assert [file.classes[code] for code in file.labels] == [sample.label for sample in samples]
    assert file.attributes["manifest_sha256"] == manifest.checksum(paths.manifest("b001"))
    assert (file.attributes["backbone"], file.attributes["seed"]) == ("shufflenet_v2_x0_5", 0)
    assert pl.read_parquet(paths.quarantine("extract", "b001")).is_empty()
    assert json.loads(paths.metrics("extract/b001").read_text()) == {
        "rows": 20,
        "extracted": 20,
        "features": 1024,
        "quarantined": 0,
        "reasons": {},
    }
    assert "untrained" in caplog.text


def test_two_runs_give_the_same_bytes(folder):
    deliver("b001")
    extract("b001")
    first = outputs()
    extract("b001")
    assert outputs() == first
    assert not list(paths.DATA.rglob("*.tmp"))


def test_broken_and_changed_images_go_to_quarantine(folder):
    samples = deliver("b001")
    paths.raw("b001").joinpath("00003.png").write_bytes(b"")
    paths.raw("b001").joinpath("00005.png").unlink()
    Image.new("L", (8, 8)).save(paths.raw("b001") / "00011.png")
    extract("b001")
    refused = pl.read_parquet(paths.quarantine("extract", "b001"))
    assert refused["path"].to_list() == [samples[row].path for row in (3, 5, 11)]
    assert [reason.split(":")[0] for reason in refused["reason"]] == ["changed file", "missing file", "changed file"]
    assert refused["remedy"].null_count() == 0
    file = FeatureFile(paths.features("b001"))
    assert file.sample_id == [sample.sample_id for row, sample in enumerate(samples) if row not in {3, 5, 11}]


def test_an_extraction_that_was_stopped_goes_on(folder, monkeypatch):
    deliver("b001")
    extract("b001")
    whole = outputs()
    paths.features("b001").unlink()
    block, seen = extraction.Run.block, []

    def stopped(self, rows, entries):
        seen.append(rows.start)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return block(self, rows, entries)

    monkeypatch.setattr(extraction.Run, "block", stopped)
    with pytest.raises(KeyboardInterrupt):
        extract("b001")
    assert not paths.features("b001").exists()
    seen[2:] = []  # what was under way when it stopped
    extract("b001")
    assert seen == [0, 8, 8, 16]  # the first eight were not done again
    assert outputs() == whole


def test_ready_features_are_taken_over_without_a_network(folder, monkeypatch):
    features = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    features[4, 1] = np.nan
    give("b001", features, ["a", "b"] * 3)
    settings(backbone="no such network")
    extract("b001")
    file = FeatureFile(paths.features("b001"))
    assert np.array_equal(file.read(), features[[0, 1, 2, 3, 5]])
    assert file.attributes["backbone"] == "ready"
    refused = pl.read_parquet(paths.quarantine("extract", "b001"))
    assert refused["reason"].to_list() == ["not finite: nan in column 1 (1 such columns)"]
    assert refused["sample_id"].to_list() == [f"{4:032x}"]


def test_ready_features_in_half_precision_stay_so_unless_a_file_has_more(folder):
    features = np.random.default_rng(0).standard_normal((4, 3))
    for batch, dtypes in (("b001", ["float16", "float16"]), ("b002", ["float16", "float32"])):
        rows = []
        for number, dtype in enumerate(dtypes):
            np.savez(f"{batch}-{number}.npz", features=features.astype(dtype), labels=["a", "b"] * 2)
            rows += [
                manifest.Sample(f"{number}{row:031x}", f"{batch}-{number}.npz", "ab"[row % 2], row=row)
                for row in range(4)
            ]
        manifest.write(paths.manifest(batch), manifest.samples(rows))
        extract(batch)
        file = FeatureFile(paths.features(batch))
        assert file.dtype == max(dtypes)
        stored = np.concatenate([features.astype(dtype).astype(file.dtype) for dtype in dtypes])
        assert np.array_equal(file.read(), stored)


def test_features_too_small_for_half_precision_are_named_with_the_remedy(folder):
    give("b001", np.array([[1.0, 2.0], [1e-7, 1e-8], [0.0, 0.0]]), ["a", "b", "a"])
    settings(dtype="float16")
    extract("b001")
    assert FeatureFile(paths.features("b001")).dtype == np.float16
    refused = pl.read_parquet(paths.quarantine("extract", "b001"))
    assert refused["reason"].to_list() == ["beyond float16: features reach 1e-07"]
    assert "extract.dtype to float32" in refused["remedy"][0]


@pytest.mark.parametrize("batch", ["core", "test"])
def test_a_core_or_test_set_where_every_row_fails_is_an_error(folder, batch):
    give(batch, np.full((2, 3), np.inf), ["a", "b"])
    with pytest.raises(ValueError, match="all 2 rows failed; the first: not finite"):
        extract(batch)
    assert not paths.features(batch).exists()
    assert not paths.quarantine("extract", batch).exists()


def test_a_useless_batch_of_the_pool_goes_to_quarantine_as_a_whole(folder):
    give("b001", np.full((2, 3), np.inf), ["a", "b"])
    extract("b001")
    assert FeatureFile(paths.features("b001")).shape == (0, 0)
    assert len(pl.read_parquet(paths.quarantine("extract", "b001"))) == 2


def test_a_batch_whose_images_are_all_gone_is_an_error(folder):
    for sample in deliver("b001", 3):
        (folder / sample.path).unlink()
    with pytest.raises(ValueError, match="all 3 rows failed; the first: missing file"):
        extract("b001")
    assert not paths.features("b001").exists()


def test_an_empty_batch_gives_empty_outputs(folder):
    manifest.write(paths.manifest("test"), manifest.samples([]))
    extract("test")
    assert FeatureFile(paths.features("test")).shape == (0, 0)
    assert pl.read_parquet(paths.quarantine("extract", "test")).columns == list(manifest.QUARANTINE)
    assert json.loads(paths.metrics("extract/test").read_text())["rows"] == 0


def test_what_is_wrong_is_one_message(folder, project):
    deliver("b001", 2)
    settings(backbone="resnet43")
    command = [sys.executable, "-m", "stages.extract", "--batch", "b001"]
    environment = os.environ | {"PYTHONPATH": str(project)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "near: resnet" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(outputs()) == [paths.manifest("b001")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float64"}, "extract.dtype"),
        ({"crop": 0}, "extract.crop"),
        ({"mean": [0.5]}, "extract.mean"),
        ({"weights_sha256": "abc"}, "extract.weights_sha256"),
        ({"device": "tpu"}, "extract.device"),
        ({"bacbone": "resnet18"}, "extract.bacbone"),
    ],
)
def test_a_wrong_key_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        validate(SECTION | change, Extract, "extract")
