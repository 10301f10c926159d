import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from diva.store.features import Failure
from diva.vision.datasets import ImageFiles, collate, torchvision_data_set
from diva.vision.transforms import ResizeCrop


@pytest.fixture
def files(tmp_path):
    """Good, absent, empty, text, truncated, damaged, another good."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("0.jpg", "4.jpg", "6.jpg"):
        Image.fromarray(noise).save(tmp_path / name)
    (tmp_path / "2.jpg").touch()
    (tmp_path / "3.jpg").write_text("no picture")
    (tmp_path / "4.jpg").write_bytes((tmp_path / "4.jpg").read_bytes()[:800])
    Image.fromarray(noise).save(tmp_path / "5.png")
    data = bytearray((tmp_path / "5.png").read_bytes())
    data[200] ^= 255
    (tmp_path / "5.png").write_bytes(data)
    return [str(tmp_path / name) for name in ("0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.png", "6.jpg")]


def test_broken_files_are_values_with_reason_and_remedy(files):
    entries = list(ImageFiles(files, ResizeCrop(32, 32)))
    broken = {entry.row: entry for entry in entries if isinstance(entry, Failure)}
    assert sorted(broken) == [1, 2, 3, 4, 5]
    reasons = [broken[row].reason.split(":")[0] for row in range(1, 6)]
    assert reasons == ["missing file", "zero bytes", "not an image", "damaged image", "damaged image"]
    assert all(failure.remedy.endswith(".") for failure in broken.values())
    assert entries[0].shape == (3, 32, 32)


def test_a_batch_holds_the_good_and_names_the_broken(files):
    entries = list(ImageFiles(files, ResizeCrop(32, 32)))
    images, failures = collate(entries)
    assert images.shape == (2, 3, 32, 32)
    assert torch.equal(images[1], entries[6])
    assert [failure.row for failure in failures] == [1, 2, 3, 4, 5]
    assert collate(entries[1:6]).images.numel() == 0


def test_a_changed_file_and_a_large_one_are_failures(files):
    good = hashlib.sha256(Path(files[0]).read_bytes()).hexdigest()[:32]
    data = ImageFiles([files[0]] * 2, ResizeCrop(32, 32), [good, "0" * 32])
    assert isinstance(data[0], torch.Tensor)
    assert data[1].reason.startswith("changed file: ")
    assert ImageFiles([files[0]], ResizeCrop(32, 32), max_pixels=100)[0].reason.startswith("too many pixels: ")


def test_torchvisions_data_sets_by_name(tmp_path, monkeypatch):
    seen = {}

    class Parts(torchvision.datasets.FakeData):
        def __init__(self, root, split="train", download=False):
            seen.update(root=root, split=split, download=download)
            super().__init__(size=3)

    monkeypatch.setattr(torchvision.datasets, "FakeData", Parts)
    images = torchvision_data_set("FakeData", tmp_path, "test")
    assert len(images) == 3
    assert seen == {"root": str(tmp_path), "split": "test", "download": False}


def test_train_is_asked_for_by_flag_where_a_data_set_has_one(tmp_path):
    with pytest.raises(RuntimeError, match="not found"):  # absent, and not fetched unasked
        torchvision_data_set("CIFAR10", tmp_path, "test")
    with pytest.raises(ValueError, match=r"near: .*CIFAR10"):
        torchvision_data_set("Cifar10", tmp_path)
