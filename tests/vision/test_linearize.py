import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from diva.vision import extraction
from diva.vision.backbones import load_backbone
from diva.vision.datasets import ImageFiles
from diva.vision.linearize import Linearized, last_block, linearized
from diva.vision.transforms import ResizeCrop

BLOCKS = {  # whose last convolution runs last before the classifier
    "mobilenet_v3_small": "classifier",
    "shufflenet_v2_x0_5": "conv5",
    "resnet18": "layer4.1",
    "resnet34": "layer4.2",
    "resnet50": "layer4.2",
    "densenet121": "features.denseblock4.denselayer16",
}


def small() -> nn.Module:
    """Two convolutions and a classifier."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 5, 3), nn.Tanh()),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2),
    )  # fmt: skip


@pytest.fixture
def backbone():
    return load_backbone("tests.vision.test_linearize:small", size=10)


@pytest.fixture
def images():
    return torch.randn(5, 3, 10, 10, generator=torch.Generator().manual_seed(0))


def pulled_back(backbone, block, outputs, image):
    """∂⟨u_i, z⟩/∂θ (r, |θ|) of one image, by autograd, for the rows u_i of ``outputs`` (r, d)."""
    head = f"network.{backbone.head}."
    named = backbone.get_submodule(f"network.{block}").named_parameters(f"network.{block}")
    weights = [weight.requires_grad_(True) for name, weight in named if not name.startswith(head)]
    try:
        z = backbone(image[None])[0]
        rows = [torch.autograd.grad(output @ z, weights, retain_graph=True) for output in outputs]
    finally:
        for weight in weights:
            weight.requires_grad_(False)
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def same_rows(network, backbone, images):
    """Whether features are z and the projection of what autograd pulls back, both of unit norm."""
    projection = torch.zeros(network.projection, network.outputs.shape[0] * network.entries)
    projection[network.columns.flatten(), torch.arange(projection.shape[1])] = network.signs.flatten()
    parts = []
    for image in images:
        phi = projection @ pulled_back(backbone, network.block, network.outputs, image).flatten()
        parts.append([nn.functional.normalize(part, dim=0) for part in (backbone(image[None])[0], phi)])
    return torch.allclose(network(images), torch.stack([torch.cat(part) for part in parts]), atol=1e-5)


def test_rows_are_the_projected_jacobian_of_autograd(backbone, images):
    network = Linearized(backbone, 16, directions=3)
    assert (network.block, network.entries, network.width) == ("2", 4 * 5 * 9 + 5, 5 + 16)
    assert same_rows(network, backbone, images)


def test_inner_products_survive_the_projection(backbone, images):
    network = Linearized(backbone, 4096, directions=2)
    rows = torch.stack([pulled_back(backbone, "2", network.outputs, image).flatten() for image in images])
    exact = nn.functional.normalize(rows, dim=1) @ nn.functional.normalize(rows, dim=1).T
    phi = network(images)[:, 5:]
    assert (phi @ phi.T - exact).abs().max() < 0.1


def test_chunks_and_batches_change_nothing(backbone, images, monkeypatch):
    network = Linearized(backbone, 32)
    whole = network(images)
    monkeypatch.setattr("diva.vision.linearize.ENTRIES", 1)
    assert torch.allclose(network(images), whole, atol=1e-6)
    assert torch.allclose(torch.cat([network(images[:2]), network(images[2:])]), whole, atol=1e-6)


def test_the_seed_decides_the_projection(images):
    one, two, three = (
        Linearized(load_backbone("tests.vision.test_linearize:small", seed=seed, size=10), 8) for seed in (0, 0, 1)
    )
    assert torch.equal(one(images), two(images))
    assert not torch.equal(one.columns, three.columns)


def test_it_extracts_like_any_backbone(backbone, tmp_path):
    for number in range(3):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(
            tmp_path / f"{number}.png"
        )
    files = ImageFiles([str(tmp_path / f"{number}.png") for number in range(3)], ResizeCrop(10, 10))
    network = linearized(backbone, "last_block", 8)
    (block,) = extraction.extract(network, files, device="cpu", progress=False)
    assert block.features.shape == (3, 13)
    assert np.allclose(np.linalg.norm(block.features, axis=1), 2**0.5, atol=1e-5)
    made = extraction.attributes(network, ResizeCrop(10, 10))
    assert made["backbone"] == "tests.vision.test_linearize:small with last block to 8"
    assert json.loads(str(made["transform"]))["crop"] == 10


@pytest.mark.parametrize("name", BLOCKS)
def test_the_last_block_of_torchvisions_networks(name):
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    backbone = load_backbone(name, size=64)
    network = Linearized(backbone, 8, directions=1)
    assert network.block == BLOCKS[name]
    assert same_rows(network, backbone, images)


def test_the_last_layer_is_the_backbone_itself(backbone):
    assert linearized(backbone, "last_layer", 8) is backbone


@pytest.mark.parametrize(
    ("how", "projection", "message"),
    [("first_layer", 8, "linearize must be last_layer or last_block"), ("last_block", 0, "projection")],
)
def test_bad_settings_are_named(backbone, how, projection, message):
    with pytest.raises(ValueError, match=message):
        linearized(backbone, how, projection)


def test_a_network_without_classifier_has_no_block_before_it():
    with pytest.raises(ValueError, match="network without a classifier"):
        last_block(load_backbone("tests.vision.test_backbones:headless", size=64))
