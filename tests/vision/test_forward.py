import json
import logging
from importlib import metadata

import numpy as np
import pytest
import torch
from torch import nn

from diva.vision import onnx_runtime
from diva.vision.backbone import Backbone
from diva.vision.backbones import load_backbone
from diva.vision.extraction import attributes
from diva.vision.forward import EQUAL, Forward, compiled
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


@pytest.fixture(params=["ONNX Runtime", "torch, as one graph"])
def way(request, monkeypatch):
    """How networks are compiled: as where ONNX Runtime is installed, and as where it is not."""
    if request.param == "ONNX Runtime":
        pytest.importorskip("onnxruntime")
    else:
        monkeypatch.setattr(onnx_runtime, "find_spec", lambda _: None)
    return request.param


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v2", "densenet121", "bundled:efficientnet_lite0"])
def test_a_compiled_network_gives_the_same_features_for_any_number_and_size_of_images(name, way, caplog):
    backbone = load_backbone(name, "DEFAULT" if ":" in name else "none", seed=1, size=32)
    with caplog.at_level(logging.INFO):
        graph = compiled(backbone)
    assert caplog.messages == [f"{name} is run by {way}."]
    for count, size in ((1, 32), (5, 32), (2, 41)):
        images = torch.randn(count, 3, size, size)
        wanted = backbone(images)
        assert float((graph(images) - wanted).norm()) < EQUAL * float(wanted.norm())


def test_features_name_the_version_of_onnx_runtime_where_it_made_them(way):
    forward = Forward(load_backbone("mobilenet_v2", size=32), torch.device("cpu"))
    made = json.loads(attributes(forward, ResizeCrop(32, 32))["versions"])
    assert made.get("onnxruntime") == (metadata.version("onnxruntime") if way == "ONNX Runtime" else None)
    without = dict(made)
    without.pop("onnxruntime", None)
    assert without == json.loads(attributes(forward.backbone, ResizeCrop(32, 32))["versions"])


def test_a_network_that_cannot_be_exported_is_run_by_torch(caplog, capsys):
    pytest.importorskip("onnxruntime")
    attention = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True).eval()  # its fast path has no counterpart
    backbone = Backbone(nn.Sequential(nn.Flatten(2), nn.Linear(64, 8), attention, nn.Flatten()), 8)
    backbone.name = "attention"
    with caplog.at_level(logging.INFO):
        compiled(backbone)
    assert caplog.messages == ["attention is run by torch, as one graph."]
    assert capsys.readouterr().out == ""


class Undecided(nn.Module):
    """What it does depends on the images, which a graph would not know."""

    def forward(self, images):
        return images.mean((2, 3)) if images.mean() > 0 else images.amax((2, 3))


def test_a_network_of_ones_own_runs_as_it_is(way):
    backbone = Backbone(Undecided(), 8)
    backbone.name = "package.module:function"
    assert compiled(backbone) is backbone


def test_a_graph_that_differs_is_not_used(way):
    odd = Backbone(nn.Dropout(), 8)  # never twice the same
    odd.name, odd.network.training = "dropout", True
    assert compiled(odd) is odd


def test_bytes_are_normalized_before_the_network():
    steps = ResizeCrop(8, 8)
    pixels = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    forward = Forward(Backbone(nn.AvgPool2d(8), 8), torch.device("cpu"), steps)
    np.testing.assert_allclose(forward(pixels), steps.normalize(pixels).mean((2, 3)), rtol=1e-5, atol=1e-6)
