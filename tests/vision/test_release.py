"""A release as a torch data set."""

import io
import multiprocessing
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms.functional import to_tensor

from diva.store import parts
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


@pytest.fixture
def sharded(tmp_path):
    """Twelve images in two shards, each told by its shade; rows of both in turn."""
    paths: list[Path] = []
    for number in range(2):
        file, content = tmp_path / f"{number}.tar", b""
        for shade in range(6 * number, 6 * number + 6):
            picture = io.BytesIO()
            Image.new("RGB", (4, 3), (20 * shade,) * 3).save(picture, "PNG")
            paths.append(parts.path_of(file, len(content), picture.tell(), f"{shade}.png"))
            content += picture.getvalue()
        file.write_bytes(content)
    order = [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]
    return {"path": [paths[i] for i in order], "label": [f"{i:02d}" for i in order], "weight": [1.0] * 12}


def shades(stream) -> list[int]:
    read = [(round(image.mean().item() * 255 / 20), target) for image, target in stream]
    assert all(shade == target for shade, target in read), "an image comes with the label of another"
    return [shade for shade, _ in read]


def test_processes_and_workers_share_a_pass_over_shards(sharded):
    images = Release(sharded, to_tensor)
    of_rank = [images.stream(piece=2, rank=rank, ranks=2) for rank in range(2)]
    context = multiprocessing.get_context("forkserver")  # a fork of the tests' process has all that they left in it
    context.set_forkserver_preload(["diva.vision.release", "torchvision.transforms.functional"])
    options = {"batch_size": None, "num_workers": 2, "multiprocessing_context": context}
    passes = [shades(DataLoader(stream, **options)) for stream in of_rank]
    assert sorted(passes[0] + passes[1]) == list(range(12))
    assert all(passes), "both have some"
    assert sorted(shades(of_rank[0])) == sorted(passes[0])


def test_a_stream_reads_as_samples_lie_and_each_epoch_in_another_order(sharded):
    images = Release(sharded, to_tensor)
    stream = images.stream(piece=6, buffer=1, seed=3)
    first = shades(stream)
    assert {*first[:5]} <= {*range(6)} or {*first[:5]} <= {*range(6, 12)}, "one shard after the other"
    assert shades(stream) == first
    stream.set_epoch(1)
    assert shades(stream) != first


def test_a_stream_yields_samples_as_often_as_they_weigh(sharded):
    sharded["weight"] = [0.0, 2.5] + [1.0] * 10
    stream, seen = Release(sharded, to_tensor).stream(), []
    for epoch in range(400):
        stream.set_epoch(epoch)
        seen += shades(stream)
    counts = torch.bincount(torch.tensor(seen), minlength=12) / 400
    mean = 12.5 / 12
    assert counts[0] == 0
    assert counts[6].item() == pytest.approx(2.5 / mean, abs=0.1)
    assert counts[1].item() == pytest.approx(1 / mean, abs=0.05)


def test_settings_of_a_stream_are_checked(sharded):
    images = Release(sharded)
    with pytest.raises(ValueError, match="piece and buffer must be at least 1, got 0 and 1000"):
        images.stream(piece=0)
    with pytest.raises(ValueError, match=r"rank must be one of 0\.\.1, got 2"):
        images.stream(rank=2, ranks=2)
    with pytest.raises(ValueError, match="weights must be positive"):
        Release(sharded | {"weight": [0.0] * 12}).stream()
