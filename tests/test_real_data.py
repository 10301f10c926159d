"""What the method must show on real photographs' features (a part of `benchmarks/accuracy.py`, with fewer splits)."""

import pytest

from benchmarks import accuracy


@pytest.fixture(scope="module")
def pack(shared_data) -> accuracy.Pack:
    return accuracy.load(shared_data / "features" / "flowers102_mobilenetv2.npz")


def test_reweight_on_clean_labels_gives_the_published_figures(pack):
    paper = accuracy.reweight_gains(pack, "hard_margin", 0.0, 1)
    ours = accuracy.reweight_gains(pack, "calibrated", 0.0, 1)
    assert paper["before"] == pytest.approx(12.40, abs=0.3)
    assert paper["after"] == pytest.approx(11.86, abs=0.3)
    assert ours["after"] == pytest.approx(11.91, abs=0.3)
    assert ours["gain"] >= 0.4


def test_reweight_gains_under_noise(pack):
    three, auto = (accuracy.reweight_gains(pack, "calibrated", 0.2, 2, steps)["gain"] for steps in (3, "auto"))
    assert three >= 2.0  # 2.4 over ten draws, with a spread of 0.7 between them
    assert auto >= 2.5  # 2.9 over ten draws


def test_the_loss_over_all_samples_makes_clean_data_worse(pack):
    assert accuracy.reweight_gains(pack, "all", 0.0, 1)["gain"] < 0


@pytest.mark.parametrize(
    ("loss", "share", "splits", "least"),
    [("hard_margin", 0.0, 4, 1.0), ("calibrated", 0.0, 2, 2.0), ("calibrated", 0.3, 2, 3.0)],
)
def test_extend_gains_over_a_uniform_choice_of_the_same_size(pack, loss, share, splits, least):
    assert accuracy.extend_gains(pack, loss, share, splits)["gain"] >= least


def test_wrong_labels_are_found_and_right_ones_left(pack):
    noisy, clean = accuracy.detection(pack, 0.2, 2), accuracy.detection(pack, 0.0, 1)
    assert noisy["auroc"] >= 0.985
    assert noisy["f1"] >= 0.88
    assert clean["flagged"] <= 0.01
