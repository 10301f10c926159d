"""Every experiment of the paper runs by one command; what cannot run says what it lacks."""

import argparse
import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import accuracy, baselines, images, paper, paper_extend, paper_tables
from benchmarks.accuracy import from_arrays
from benchmarks.jobs import Workers
from diva.numerics.grid import choose_ridge


@pytest.fixture(scope="module")
def pack() -> paper.Arrays:
    """A tenth of the digits, with their flips."""
    _, arrays = paper.read(argparse.Namespace(data=None, features="digits"))
    return {key: x[: len(x) // 10] for key, x in arrays.items()}


@pytest.mark.parametrize("experiment", [name for name in paper.EXPERIMENTS if name != "table1"])
def test_an_experiment_gives_figures_and_lines_of_text(pack, experiment):
    found = paper.EXPERIMENTS[experiment](Workers(pack, 1), argparse.Namespace(seeds=2, splits=2))
    result = paper.about("digits", pack) | {experiment: found, "seconds": {experiment: 0.1}}
    text = "\n".join(paper_tables.told(experiment, json.loads(json.dumps(result))))
    assert text.strip().startswith(experiment)
    assert ("lacks" in text) == (experiment == "multimodal")


def test_table_1_holds_both_rules_and_both_baselines(pack, monkeypatch):
    monkeypatch.setattr("benchmarks.baselines.RATES", (3.0,))
    monkeypatch.setattr("benchmarks.baselines.EPOCHS", (2, 3))
    found = paper.table1(Workers(pack, 1), argparse.Namespace(seeds=2))
    for level in ("0% wrong", "20% wrong"):
        assert {"Reweight, hard_margin, 3 steps", "Reweight, calibrated, 3 steps"} < set(found[level])
        assert {"Active Bias (Chang et al.)", "learning to reweight (Ren et al.)"} < set(found[level])
    assert found["0% wrong"]["ridge regression"]["gain"] == 0
    assert found["20% wrong"]["ridge regression"]["error_spread"] > 0
    result = paper.about("flowers102", pack) | {"table1": found, "seconds": {"table1": 1}}
    assert "20.23" in "\n".join(paper_tables.told("table1", result))  # the paper's figure beside ours


def test_the_differences_to_the_papers_set_up_are_said(pack):
    result = paper.about("flowers102_mobilenetv2", pack)
    assert result["setup"]["ours"]["classes"] == 10
    assert result["setup"]["paper"]["classes"] == 102
    text = "\n".join(paper_tables.set_up(result))
    assert "mobilenetv2 (by the name of the pack); the paper: ResNet-34, ImageNet (differs)" in text
    assert "10; the paper: 102 (differs)" in text
    assert "does not use this data set" in "\n".join(paper_tables.set_up(paper.about("digits", pack)))


def test_two_processes_find_what_one_does(pack):
    options, two = argparse.Namespace(seeds=2), Workers(pack, 2)
    try:
        found = paper.detection(two, options)
    finally:
        two.close()
    assert found == paper.detection(Workers(pack, 1), options)


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_a_setting_is_tuned_by_what_training_at_it_gives(pack, name, monkeypatch):
    monkeypatch.setattr("benchmarks.baselines.EPOCHS", (2, 4))
    x, y = pack["x_train"], pack["y_train"]
    chosen = baselines.tune(x, y, 10, name)
    rest, held = baselines.halves(x, y, 10, 0)
    errors = {}
    for lr in baselines.RATES:
        for epochs in (2, 4):  # each anew, to its own number of epochs
            *_, head = baselines.BASELINES[name][0](rest, held, lr, epochs, 0)
            errors[lr, epochs] = baselines.Classifier(head, rest.features).error(held.features, held.labels)
    assert errors[chosen] == min(errors.values())


def test_extension_follows_the_error_of_the_head_that_the_rows_train(pack):
    (curves, _), data = paper_extend.one_split(pack, 0.0, 0), from_arrays(pack)
    core, pool = accuracy.split(data, 0)
    ridge = choose_ridge(data.rows(core, data.y[core]), 10, accuracy.RIDGES).ridge
    everything = np.r_[core, pool]
    for curve in curves.values():
        assert curve[0] == pytest.approx(data.error(data.rows(core, data.y[core]), ridge))
        assert curve[-1] == pytest.approx(data.error(data.rows(everything, data.y[everything]), ridge))


def test_both_flips_of_digits_lose_weight(pack):
    shares = paper.augmentation(Workers(pack, 1), argparse.Namespace())["hard_margin, untransformed validating"]
    assert shares["identity"]["probability"] > max(
        shares[f"{way}_flip"]["probability"] for way in ("horizontal", "vertical")
    )


def test_names_of_classes_are_added_where_a_pack_holds_them(pack):
    means = np.stack([pack["x_train"][pack["y_train"] == c].mean(0) for c in range(10)])
    named = pack | {"x_names": means, "y_names": np.arange(10)}
    found = paper.multimodal(Workers(named, 1), argparse.Namespace(seeds=2), shots=2)
    assert found["sizes"][0] == 0
    assert found["extend"][-1] < found["extend"][0]


def test_the_figures_are_drawn(pack, tmp_path):
    figures = pytest.importorskip("benchmarks.paper_figures", reason="matplotlib is not installed")
    found = paper.detection(Workers(pack, 1), argparse.Namespace(seeds=1))
    figures.draw(paper.about("digits", pack) | {"detection": found}, tmp_path / "digits.png")
    assert (tmp_path / "digits.png").stat().st_size > 10_000


def test_a_data_set_that_is_unknown_is_named():
    options = argparse.Namespace(data="dataset:cub20", test=None, network="resnet34", weights="none", features=None)
    with pytest.raises(ValueError, match="data set must be one of cub200"):
        paper.read(options)


def named(**changed):
    given = {"data": "dataset:flowers102", "test": None, "network": "resnet34", "weights": "DEFAULT"}
    return paper.cached(argparse.Namespace(**given | changed))


@pytest.mark.parametrize(
    "changed",
    [{"weights": "none"}, {"test": "elsewhere"}, {"data": "dataset:flowers102@root"}, {"network": "resnet18"}],
)
def test_features_are_reused_only_where_source_test_network_and_weights_are_the_same(changed):
    assert named() == named()
    assert named(**changed) != named()


def test_a_pack_lies_in_one_file_whatever_its_network_is_called():
    name = named(network="open_clip:ViT-B-32/laion2b_s34b_b79k")
    assert "/" not in name
    assert name.startswith("flowers102_open_clip-ViT-B-32-laion2b")


def test_the_folder_of_a_pack_is_made_before_anything_is_extracted(tmp_path, monkeypatch):
    def extracted(*_):
        assert (tmp_path / "new").is_dir()
        return {"x_train": np.zeros(1)}

    monkeypatch.setattr("benchmarks.images.read", lambda *_: ([], np.zeros(0)))
    monkeypatch.setattr("benchmarks.images.pack", extracted)
    images.write(tmp_path / "new" / "pack.npz", "train", "test", "resnet18", "none", [])
    assert (tmp_path / "new" / "pack.npz").is_file()


def test_test_images_of_classes_that_do_not_train_are_left_out_and_counted(tmp_path, caplog):
    for name in "abcd":
        Image.new("RGB", (40, 40), (20 * ord(name) % 256, 90, 10)).save(tmp_path / f"{name}.png")
    paths = {name: str(tmp_path / f"{name}.png") for name in "abcd"}
    parts = {
        "train": ([paths["a"], paths["c"]], np.array(["ant", "cat"])),
        "test": ([paths["b"], paths["d"]], np.array(["bee", "cat"])),
    }
    arrays = images.pack(parts, "tests.vision.test_linearize:small", "none", [], 32, None, 0)
    assert arrays["y_test"].tolist() == [1]
    assert arrays["x_test"].shape[0] == 1
    assert "1 images of test left out: no training image has their class (bee)" in caplog.text
