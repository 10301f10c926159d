import numpy as np
import pytest
import torch
from torch import nn

from diva.vision.backbone import Backbone
from diva.vision.backbones import load_backbone
from diva.vision.forward import EQUAL, Forward, frozen
from diva.vision.transforms import ResizeCrop


class Hungry(nn.Module):
    """Runs out of memory on more than three images."""

    def __init__(self, error):
        super().__init__()
        self.error, self.sizes = error, []

    def forward(self, images):
        self.sizes.append(len(images))
        if len(images) > 3:
            raise self.error
        return images.mean((2, 3))


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_halves_the_batch_and_goes_on(error, caplog):
    hungry = Hungry(error)
    forward = Forward(Backbone(hungry, 8), torch.device("cpu"))
    images = torch.randn(16, 3, 8, 8)
    np.testing.assert_allclose(forward(images), images.mean((2, 3)), rtol=1e-5, atol=1e-6)
    assert forward.limit == 2
    hungry.sizes.clear()
    forward(images)
    assert hungry.sizes == [2] * 8  # the smaller size is kept
    assert "going on with 2" in caplog.text


def test_other_errors_are_not_taken_for_want_of_memory():
    forward = Forward(Backbone(Hungry(RuntimeError("shapes differ")), 8), torch.device("cpu"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        forward(torch.zeros(4, 3, 8, 8))


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v2", "densenet121"])
def test_a_frozen_network_gives_the_same_features_for_any_number_of_images(name):
    backbone = load_backbone(name, seed=1, size=32)
    graph = frozen(backbone)
    assert graph is not backbone
    for count in (1, 5):
        images = torch.randn(count, 3, 32, 32)
        wanted = backbone(images)
        assert float((graph(images) - wanted).norm()) < EQUAL * float(wanted.norm())


class Undecided(nn.Module):
    """What it does depends on the images, which a graph would not know."""

    def forward(self, images):
        return images.mean((2, 3)) if images.mean() > 0 else images.amax((2, 3))


def test_a_network_of_ones_own_runs_as_it_is():
    backbone = Backbone(Undecided(), 8)
    backbone.name = "package.module:function"
    assert frozen(backbone) is backbone


def test_a_graph_that_differs_is_not_used():
    odd = Backbone(nn.Dropout(), 8)  # never twice the same
    odd.name, odd.network.training = "dropout", True
    assert frozen(odd) is odd


def test_bytes_are_normalized_before_the_network():
    steps = ResizeCrop(8, 8)
    pixels = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    forward = Forward(Backbone(nn.AvgPool2d(8), 8), torch.device("cpu"), steps)
    np.testing.assert_allclose(forward(pixels), steps.normalize(pixels).mean((2, 3)), rtol=1e-5, atol=1e-6)
