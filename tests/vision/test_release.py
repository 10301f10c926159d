"""A release as a torch data set."""

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms.functional import to_tensor

from diva.vision.release import Release


@pytest.fixture
def rows(tmp_path):
    paths = [tmp_path / f"{shade}.png" for shade in (0, 100, 200)]
    for path, shade in zip(paths, (0, 100, 200), strict=True):
        Image.new("L", (4, 3), shade).save(path)
    return {"path": paths, "label": ["b", "a", "b"], "weight": [1.0, 0.0, 3.0]}


def test_images_come_with_the_codes_of_their_labels(rows):
    images = Release(rows, to_tensor)
    assert images.classes == ["a", "b"]
    assert [images[row][1] for row in range(len(images))] == [1, 0, 1]
    assert images[2][0].shape == (3, 3, 4)
    assert images[2][0].unique().item() == pytest.approx(200 / 255)
    assert Release(rows)[1][0].mode == "RGB"


def test_samples_are_drawn_by_their_weights(rows):
    images = Release(rows, to_tensor)
    sampler = images.sampler(40_000, torch.Generator().manual_seed(0))
    share = torch.bincount(torch.tensor(list(sampler)), minlength=3) / 40_000
    assert share.tolist() == pytest.approx([0.25, 0, 0.75], abs=0.01)
    assert len(images.sampler()) == 3
    batch, labels = next(iter(DataLoader(images, batch_size=3, sampler=images.sampler())))
    assert batch.shape == (3, 3, 3, 4)
    assert labels.tolist() == [1, 1, 1], "the only sample of class a weighs nothing"


def test_what_cannot_be_is_told(rows):
    with pytest.raises(ValueError, match="rows must have the columns path, label and weight"):
        Release({"path": [], "label": []})
    with pytest.raises(ValueError, match="classes must hold every label, got a, without 'b'"):
        Release(rows, classes=["a"])
    with pytest.raises(ValueError, match="weights must be positive for some samples"):
        Release(rows | {"weight": [0.0] * 3}).sampler()
