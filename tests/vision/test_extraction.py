import copy
import csv
import logging
import re
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from diva.text import progress
from diva.vision import forward as forward_pass
from diva.vision.backbone import Backbone
from diva.vision.backbones import load_backbone
from diva.vision.datasets import ImageFiles
from diva.vision.extraction import attributes, extract, measure
from diva.vision.forward import Forward, on_devices
from diva.vision.transforms import ResizeCrop, steps

TRANSFORM = ResizeCrop(32, 32)
TRANSFORM_STEPS, CPU = steps(TRANSFORM), torch.device("cpu")


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("shufflenet_v2_x0_5", seed=0, size=32)


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    names = [tmp_path / f"{number}.png" for number in range(11)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(name)
    names[4].write_bytes(b"")
    names[5].unlink()
    return [str(name) for name in names]


def run(backbone, paths, **options):
    blocks = list(extract(backbone, ImageFiles(paths, TRANSFORM), device="cpu", **options))
    rows = np.concatenate([block.rows for block in blocks])
    failures = [failure for block in blocks for failure in block.failures]
    return rows, np.concatenate([block.features for block in blocks]), failures


def test_batch_size_and_workers_change_nothing_beyond_rounding(backbone, paths):
    rows, features, failures = run(backbone, paths, batch_size=64)
    assert rows.tolist() == [0, 1, 2, 3, 6, 7, 8, 9, 10]
    assert features.shape == (9, backbone.width)
    assert features.dtype == np.float32
    assert [failure.row for failure in failures] == [4, 5]
    for options in ({"batch_size": 1}, {"batch_size": 2}, {"batch_size": 3, "workers": 2}):
        again = run(backbone, paths, **options)
        assert np.array_equal(again[0], rows)
        assert again[2] == failures
        np.testing.assert_allclose(again[1], features, rtol=1e-4, atol=1e-5)


def test_a_later_start_gives_the_later_rows(backbone, paths):
    rows, features, failures = run(backbone, paths, batch_size=4, start=5)
    assert rows.tolist() == [6, 7, 8, 9, 10]
    assert [failure.row for failure in failures] == [5]
    np.testing.assert_allclose(features, run(backbone, paths)[1][4:], rtol=1e-4, atol=1e-5)
    assert list(extract(backbone, ImageFiles(paths, TRANSFORM), start=11)) == []


def test_two_runs_are_equal_to_the_bit(backbone, paths):
    assert np.array_equal(run(backbone, paths, batch_size=4)[1], run(backbone, paths, batch_size=4, workers=1)[1])


@pytest.mark.parametrize("workers", [2, 5])
def test_the_number_of_threads_changes_no_bit(backbone, paths, workers):
    expected = run(backbone, paths, batch_size=4, workers=1)
    got = run(backbone, paths, batch_size=4, workers=workers)
    assert np.array_equal(got[1], expected[1])
    assert got[2] == expected[2]


@pytest.mark.parametrize("alone", [False, True])
def test_networks_that_take_batches_in_turn_give_the_features_of_one(backbone, paths, alone):
    """Two on the CPU, as there is one for each card."""
    networks = [copy.deepcopy(backbone) for _ in range(3)]
    for network in networks:
        network.one_at_a_time = alone
    expected, calls = run([Forward(networks[0], CPU, TRANSFORM_STEPS)], paths, batch_size=2), [0, 0]
    two = [Forward(network, CPU, TRANSFORM_STEPS) for network in networks[1:]]
    for number, forward in enumerate(two):
        forward.network = counting(forward.network, calls, number)
    got = run(two, paths, batch_size=2, workers=3)
    assert calls == [2, 3]  # six batches, of which the third has no image
    assert np.array_equal(got[0], expected[0])
    assert np.array_equal(got[1], expected[1])
    assert got[2] == expected[2]


def counting(network, calls, number):
    """The same, which counts its calls."""

    def counted(images):
        calls[number] += 1
        return network(images)

    return counted


def test_a_network_is_moved_to_one_device_and_copied_for_others(backbone, monkeypatch):
    assert [forward.backbone for forward in on_devices(backbone, "cpu")] == [backbone]
    monkeypatch.setattr(forward_pass, "expand", lambda _: ["cpu", "cpu"])
    first, second = on_devices(backbone, "auto")
    assert first.backbone is backbone
    assert second.backbone is not backbone
    for mine, theirs in zip(first.backbone.parameters(), second.backbone.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.data_ptr() != theirs.data_ptr()


class Alone(nn.Module):
    """Takes note of the threads that are in it at once."""

    def __init__(self):
        super().__init__()
        self.within, self.most = 0, 0

    def forward(self, images):
        self.within += 1
        self.most = max(self.most, self.within)
        time.sleep(0.01)
        self.within -= 1
        return images.mean((2, 3))


def test_a_network_that_must_run_alone_does(paths):
    for alone in (True, False):
        network = Backbone(Alone(), 8)
        network.one_at_a_time = alone
        run(network, paths, batch_size=1, workers=4)
        assert (network.network.most == 1) == alone


def test_a_pass_that_ends_early_leaves_no_thread_behind(backbone, paths):
    before, cores = threading.active_count(), torch.get_num_threads()
    blocks = extract(backbone, ImageFiles(paths, TRANSFORM), batch_size=1, workers=2, device="cpu")
    next(blocks)
    blocks.close()
    assert (threading.active_count(), torch.get_num_threads()) == (before, cores)


class Small(nn.Module):
    """A network for which memory suffices up to two images."""

    def forward(self, images):
        if len(images) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return images.mean((2, 3))


@pytest.mark.parametrize("workers", [1, 3])
def test_an_extraction_goes_on_where_memory_runs_out(paths, caplog, workers):
    rows, features, failures = run(Backbone(Small(), 8), paths, workers=workers)
    expected = [ImageFiles(paths, TRANSFORM)[row].mean((1, 2)) for row in rows]
    np.testing.assert_allclose(features, torch.stack(expected), rtol=1e-5, atol=1e-6)
    assert [failure.row for failure in failures] == [4, 5]
    assert "Memory does not suffice for 3 images at once; going on with 1." in caplog.text


def test_the_log_tells_the_speed_where_no_terminal_is(backbone, paths, caplog, capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET", -1.0)
    monkeypatch.setattr(progress, "DRAWN", 0.01)
    files = ImageFiles(paths, TRANSFORM)
    with caplog.at_level(logging.INFO), progress.shown("extract", patience=0.0):
        for number, _ in enumerate(extract(backbone, files, batch_size=4, start=1, device="cpu")):
            while number == 1 and "extract: 4 of 10 images" not in caplog.text:
                time.sleep(0.01)
    assert re.search(r"4 of 10 images, .*, \d+ s left", caplog.text)
    assert re.search(r"10 images in [\d.]+ s \(\d+ images/s\)\.", caplog.text)
    assert capsys.readouterr().err == ""


def test_no_progress_is_shown_where_none_is_wanted(backbone, paths, caplog):
    with caplog.at_level(logging.INFO):
        list(extract(backbone, ImageFiles(paths, TRANSFORM), device="cpu", progress=False))
    assert "images" not in caplog.text


def test_measure_counts_images_per_second(backbone, paths):
    speed = measure(backbone, TRANSFORM, paths[:4], batch_size=2, device="cpu")
    assert speed.images >= 2
    assert 0 < speed.images_per_second < 1e6
    with pytest.raises(ValueError, match="at least one image"):
        measure(backbone, TRANSFORM, [])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_gpu_agrees_with_the_cpu(backbone, paths):
    expected = run(load_backbone("shufflenet_v2_x0_5", seed=0, size=32), paths)[1]
    files = ImageFiles(paths, TRANSFORM)
    on_gpu = load_backbone("shufflenet_v2_x0_5", seed=0, size=32)
    got = np.concatenate([block.features for block in extract(on_gpu, files, device="cuda", batch_size=4)])
    assert np.linalg.norm(got - expected) < 1e-2 * np.linalg.norm(expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_photographs_decoded_on_the_card_give_nearly_the_same_features(shared_data):
    names = sorted(str(path) for path in (shared_data / "flowers102" / "train").rglob("*.jpg"))[:16]
    weights = shared_data / "weights" / "mobilenet_v2_imagenet_features.pth"
    expected, got = (
        np.concatenate([b.features for b in extract(load_backbone("mobilenet_v2", weights), files, device=device)])
        for files, device in ((ImageFiles(names, ResizeCrop()), "cpu"), (ImageFiles(names, ResizeCrop()), "cuda"))
    )
    assert np.linalg.norm(got - expected) < 5e-2 * np.linalg.norm(expected)


def test_attributes_are_plain_and_repeat(backbone):
    made = attributes(backbone, TRANSFORM)
    assert made == attributes(load_backbone("shufflenet_v2_x0_5", seed=0, size=32), TRANSFORM)
    assert "revision" not in made  # the first
    assert set(made) == {"backbone", "weights", "weights_sha256", "seed", "transform", "versions"}


def test_real_photographs_give_the_features_of_the_pack(shared_data):
    with (shared_data / "flowers102" / "index.csv").open(newline="", encoding="utf-8") as file:
        names = [line["file"] for line in csv.DictReader(file)][::97][:20]
    pack = np.load(shared_data / "features" / "flowers102_mobilenetv2.npz", allow_pickle=False)
    known = {}
    for part in ("train", "test"):
        known |= dict(zip(pack[f"id_{part}"].tolist(), pack[f"x_{part}"].astype(np.float32), strict=True))
    expected = np.stack([known[int(name[-9:-4])] for name in names])
    network = load_backbone("mobilenet_v2", shared_data / "weights" / "mobilenet_v2_imagenet_features.pth")
    files = ImageFiles([str(shared_data / "flowers102" / name) for name in names], ResizeCrop())
    got = np.concatenate([block.features for block in extract(network, files, batch_size=8, device="cpu")])
    error = np.linalg.norm(got - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert len(error) == 20
    assert error.max() < 1e-2
