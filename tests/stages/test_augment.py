"""Variants of a batch's images: their features, and the share of the weight that each transformation gets."""

import json
import logging

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from diva.curation import rows
from diva.numerics.grid import choose_ridge
from diva.numerics.normalize import Prepared
from diva.store import index, manifest, paths
from diva.store.features import FeatureFile
from stages.augment import main as augment
from stages.params.augment import Augment
from stages.params.section import validate
from tests.projects import digits
from tests.projects import stage_inputs as small
from tests.stages.test_extract import SECTION as EXTRACT

FLIPS = {
    "across": {"name": "RandomHorizontalFlip", "arguments": {"p": 1.0}},
    "down": {"name": "RandomVerticalFlip", "arguments": {"p": 1.0}},
    "none": {"name": "Identity", "arguments": {}},
}
SECTION = {
    "of": ["core"],
    "transforms": FLIPS,
    "validate_on": "untransformed",
    "ridge": None,
    "loss": "hard_margin",
    "steps": 2,
    "step_size": 0.5,
    "draws": 3,
    "seed": 0,
}
NETWORK = EXTRACT | {"batch_size": 32, "backbone": "tests.stages.test_augment:tiny"}


def tiny() -> nn.Module:
    """64 features that tell left from right and up from down."""
    return nn.Sequential(nn.Conv2d(3, 16, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 2))


@pytest.fixture
def core(workplace):
    """Forty digits with features, and the problem that fit posed."""
    from stages.download import download
    from stages.extract import extract

    small.write_params(augment=SECTION, extract=NETWORK)
    small.write_ledger(core=("digits", digits.options(0, 40)))
    download("core")
    extract("core")
    frame = index.of_batch("core", manifest.read(paths.manifest("core")), paths.features("core"))
    classes = sorted(frame["label"].unique())
    raw = rows.stored(frame, classes, 16)
    choice = choose_ridge(Prepared(raw), len(classes), (0.1, 1.0))
    grid = [{"ridge": ridge, "loo_error": error, "loo_loss": loss} for ridge, error, loss in choice.grid]
    found = rows.Problem(choice.ridge, 9.0, classes, "unit", 16, "cpu", "float32", choice.error, grid, 0)
    rows.write_problem(found, choice.moments, None)
    return frame


def test_every_transform_gets_a_share_of_the_weight(core, caplog):
    with caplog.at_level(logging.INFO):
        augment("core")
    told = json.loads(paths.metrics("augment/core").read_text())
    assert (told["images"], told["draws"]) == (len(core), 3)
    assert list(told["transforms"]) == ["identity", *FLIPS]
    shares = {name: entry["probability"] for name, entry in told["transforms"].items()}
    assert sum(shares.values()) == pytest.approx(1)
    assert told["transforms"]["identity"]["below_identity"] == 0
    assert all(entry["low"] <= entry["high"] for entry in told["transforms"].values())
    plotted = pl.read_csv(paths.augmented_plot("core"))
    assert plotted["transform"].to_list() == ["identity", *FLIPS]
    assert "identity 0." in caplog.text


def test_features_of_a_variant_are_those_of_the_transformed_images(core):
    augment("core")
    given = FeatureFile(paths.features("core"))
    same, across = (FeatureFile(paths.augmented("core", name)) for name in ("none", "across"))
    assert same.sample_id == given.sample_id
    assert np.allclose(same.read(), given.read(), rtol=1e-4, atol=1e-7)
    assert not np.allclose(across.read(), given.read(), rtol=1e-2)
    assert across.attributes["backbone"] == given.attributes["backbone"]
    assert json.loads(across.attributes["transform"])["variant"] == "RandomHorizontalFlip"


def test_images_that_download_admitted_are_transformed_however_large(core, monkeypatch, caplog):
    monkeypatch.setattr("diva.vision.decoding.LIMIT", 10)  # stands for PIL's own
    augment("core")
    assert json.loads(paths.metrics("augment/core").read_text())["images"] == len(core)
    assert "left out" not in caplog.text


def test_an_image_that_one_variant_lacks_counts_in_none(core, monkeypatch, caplog):
    lost = core["sample_id"][7]
    real = index.of_batch

    def without(batch, samples, path):
        frame = real(batch, samples, path)
        return frame.filter(pl.col("sample_id") != lost) if path.stem == "down" else frame

    monkeypatch.setattr(index, "of_batch", without)
    augment("core")
    assert json.loads(paths.metrics("augment/core").read_text())["images"] == len(core) - 1
    assert f"1 of {len(core)} images left out" in caplog.text


def test_two_runs_give_the_same_bytes(core):
    augment("core")
    first = {path: path.read_bytes() for path in paths.DATA.rglob("*") if path.is_file()}
    torch.rand(3)
    augment("core")
    assert {path: path.read_bytes() for path in paths.DATA.rglob("*") if path.is_file()} == first


def test_features_without_images_are_refused(workplace, core):
    ready = [manifest.Sample(f"{row:032x}", "ready.npz", "a", row=row) for row in range(3)]
    manifest.write(paths.manifest("b001"), manifest.samples(ready))
    with pytest.raises(ValueError, match=r"augment\.of must name batches of images, got b001"):
        augment("b001")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transforms": {"identity": FLIPS["none"]}}, "identity is the images as they are"),
        ({"transforms": {"../x": FLIPS["none"]}}, "augment.transforms"),
        ({"transforms": {}}, "augment.transforms"),
        ({"ridge": 0}, "augment.ridge"),
        ({"validate_on": "some"}, "augment.validate_on"),
    ],
)
def test_a_wrong_setting_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        validate(SECTION | change, Augment, "augment")
