"""Names of classes as a pool: right ones lower the test error, whether from a file or by the text tower."""

import json

import numpy as np
import polars as pl
import pytest

from diva.curation.multimodal import draw_shots
from diva.store import index, manifest, paths
from stages.download import download
from stages.extract import extract
from stages.fit import fit
from stages.multimodal import main as multimodal
from stages.params.multimodal import Multimodal
from stages.params.section import validate
from tests.curation.test_multimodal import CLASSES, towers
from tests.projects import digits
from tests.projects import stage_inputs as small
from tests.stages.test_extract import SECTION as EXTRACT

SECTION = {
    "shots": [3],
    "embeddings": "names.npz",
    "prompts": ["a photo of a {}."],
    "loss": "calibrated",
    "per_round": 1,
    "draws": 2,
    "seed": 0,
}
FIT = {"normalize": "unit", "ridges": [0.1], "chunk_size": 64, "device": "cpu", "dtype": "float32"}


@pytest.fixture
def named(workplace):
    """Core and test of made embeddings; half of the names at the place of another class."""
    core, names, test = towers()
    for name, (features, labels) in (("core", core), ("names", names), ("test", test)):
        spelt = [f"class_{label:02d}" for label in labels.tolist()]
        np.savez(f"{name}.npz", features=features.numpy(), labels=np.array(spelt))
    small.write_params(multimodal=SECTION, extract=EXTRACT, fit=FIT)
    small.write_ledger(core=("core.npz", {}), test=("test.npz", {}))
    for batch in ("core", "test"):
        download(batch)
        extract(batch)
    fit()
    return workplace


def test_right_names_come_first_and_the_curve_turns_after_them(named):
    multimodal("3")
    order = pl.read_parquet(paths.embeddings("3"))
    right = [f"class_{c:02d}" for c in range(CLASSES // 2)]
    assert set(order.filter("willing")["label"]) == set(right)
    assert order["place"].to_list() == list(range(1, CLASSES + 1))
    told = json.loads(paths.metrics("multimodal/3").read_text())
    assert (told["images"], told["names"], told["willing"]) == (3 * CLASSES, CLASSES, CLASSES // 2)
    errors = told["error"]
    assert errors["best"] < errors["images_alone"] < errors["all_names"]
    assert errors["best_names"] <= CLASSES // 2
    curve = pl.read_csv(paths.multimodal_plot("3"))
    assert curve["added"].to_list() == list(range(CLASSES + 1))
    assert curve["error"][-1] == pytest.approx(curve["uniform"][-1])


def test_fewer_images_are_drawn_of_each_class(named):
    core = index.read(paths.CORE)
    some = draw_shots(core, 2, seed=1)
    assert some["label"].value_counts()["count"].to_list() == [2] * CLASSES
    assert some["sample_id"].is_in(core["sample_id"].implode()).all()
    assert draw_shots(core, 2, seed=2)["sample_id"].to_list() != some["sample_id"].to_list()
    assert draw_shots(core, 99, seed=1).equals(core)


def test_names_of_other_classes_are_left_out(named, caplog):
    with np.load("names.npz") as file:
        arrays = dict(file)
    arrays["labels"][:2] = ["unicorn", "yeti"]
    np.savez("names.npz", **arrays)
    multimodal("3")
    assert json.loads(paths.metrics("multimodal/3").read_text())["names"] == CLASSES - 2
    assert "2 of 12 embeddings name no class" in caplog.text
    np.savez("names.npz", features=arrays["features"][:2], labels=arrays["labels"][:2])
    with pytest.raises(ValueError, match="must hold names of classes, got unicorn, yeti"):
        multimodal("3")


def test_embeddings_of_another_width_are_refused(named):
    np.savez("names.npz", features=np.ones((1, 3)), labels=np.array(["class_00"]))
    with pytest.raises(ValueError, match="two towers of one network"):
        multimodal("3")


def test_without_embeddings_a_text_tower_is_asked_for(named):
    small.write_params(multimodal=SECTION | {"embeddings": None}, extract=EXTRACT, fit=FIT)
    with pytest.raises(ValueError, match="network with a text tower"):
        multimodal("3")


def test_without_a_test_set_there_is_no_curve(named):
    manifest.write(paths.manifest("test"), manifest.samples([]))
    extract("test")
    with pytest.raises(ValueError, match=r"batches\.test must hold"):
        multimodal("3")


def test_two_towers_do_it_from_images_to_the_curve(workplace):
    pytest.importorskip("open_clip", reason="the extra clip is not installed")
    from tests.vision.test_clip import TINY

    (workplace / "tiny-two.json").write_text(json.dumps(TINY), encoding="utf-8")
    network = EXTRACT | {"backbone": f"open_clip:{workplace}/tiny-two.json", "batch_size": 64}
    small.write_params(multimodal=SECTION | {"embeddings": None, "per_round": 0.3}, extract=network, fit=FIT)
    small.write_ledger(core=("digits", digits.options(0, 80)), test=("digits", digits.options(100, 60)))
    for batch in ("core", "test"):
        download(batch)
        extract(batch)
    fit()
    multimodal("3")
    assert pl.read_csv(paths.multimodal_plot("3"))["added"].to_list() == [0, 3, 6, 9, 10]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": ["a photo"]}, "multimodal.prompts"),
        ({"shots": [0]}, "multimodal.shots"),
        ({"per_round": 0}, "per_round"),
    ],
)
def test_a_wrong_setting_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        validate(SECTION | change, Multimodal, "multimodal")
