"""Backbones by name: of torchvision, timm, transformers, open_clip, the bundled one, functions of one's own."""

import difflib
import importlib
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from torch import nn

from diva.store.digests import sha256
from diva.vision import efficientnet_lite, hugging_face, timm_networks
from diva.vision.backbone import Backbone
from diva.vision.weights import State, misfit, read_state, renamed

Builder = Callable[..., nn.Module]


def load_backbone(
    name: str,
    weights: str | Path = "none",
    seed: int = 0,
    size: int = 224,
    checksum: str | None = None,
) -> Backbone:
    """A backbone on the CPU, in evaluation mode.

    Args:
        name: a classification network of torchvision; ``bundled:efficientnet_lite0``, whose ImageNet weights are
            installed with the project; ``timm:NAME``, ``hf:NAME_OR_FOLDER`` (of transformers) or
            ``open_clip:ARCHITECTURE[/TAG]``, each with its own transform; or ``package.module:function``, called
            without arguments.
        weights: ``DEFAULT`` (the library's, fetched if need be; for a function, what it brings itself),
            ``none`` (random, from ``seed``), or the path of a state dict.
        seed: of the initialisation; the global generator is left alone.
        size: side of the images, where no transform of the network's own decides.
        checksum: SHA-256 that the weights' file must have.

    Raises:
        ValueError: no such network, a file of another network or checksum, or a size it cannot take.
    """
    build = builder(name)
    if name.startswith("open_clip:"):
        from diva.vision import clip

        return _checked(clip.load_image_tower(name, str(weights), seed), name, seed, checksum)
    if name.startswith(hugging_face.PREFIX):
        return _checked(hugging_face.load(name, str(weights), seed), name, seed, checksum)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(seed)
        warnings.simplefilter("ignore")  # torchvision announces changes of its initialisation
        if str(weights) == "none":
            backbone = _cut(build(), name, size)
        elif str(weights) == "DEFAULT":
            backbone = _with_default(build, name, size)
        else:
            backbone = _with_file(build, name, Path(weights), size)
    return _checked(backbone, name, seed, checksum)


def _checked(backbone: Backbone, name: str, seed: int, checksum: str | None) -> Backbone:
    if checksum and backbone.trained and checksum != backbone.weights_sha256:
        raise ValueError(
            f"weights_sha256 must be {backbone.weights_sha256 or 'unknown'} of {backbone.weights}, got {checksum}. "
            "If the new file is the right one, put its checksum into params.yaml; else fetch the old one."
        )
    backbone.name, backbone.seed = name, seed
    return backbone


def builder(name: str) -> Builder:
    """The function that makes a network; ValueError with near names where there is none."""
    if name.startswith("open_clip:"):
        from diva.vision import clip

        return partial(clip.create, name)
    if name.startswith(timm_networks.PREFIX):
        return timm_networks.builder(name)
    if name.startswith(hugging_face.PREFIX):
        hugging_face.folder_of(name)  # refuses what is not there
        return partial(hugging_face.load, name, "none", 0)
    if name == efficientnet_lite.NAME:
        return efficientnet_lite.EfficientNetLite0
    if ":" in name:
        module, _, function = name.partition(":")
        try:
            build = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"backbone must be an importable package.module:function, got {name}: {error}.") from None
        return build  # type: ignore[no-any-return]
    import torchvision  # seconds that other networks need not wait

    from diva.vision import clip

    networks = torchvision.models.list_models(module=torchvision.models)
    if name not in networks:
        similar = difflib.get_close_matches(name.lower(), networks, cutoff=0.5)
        raise ValueError(
            f"backbone must be a classification network of torchvision, {timm_networks.PREFIX}NAME, "
            f"{hugging_face.PREFIX}NAME_OR_FOLDER, {clip.PREFIX}ARCHITECTURE or package.module:function, got {name}; "
            f"near: {', '.join(similar) or 'none'}."
        )
    return torchvision.models.get_model_builder(name)  # type: ignore[no-any-return]


def _cut(network: nn.Module, name: str, size: int) -> Backbone:
    try:
        if name.startswith(timm_networks.PREFIX):
            return timm_networks.cut(network)
        return Backbone(network, size)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ValueError(f"crop must be a size that {name} takes, got {size}: {error}") from error


def _with_default(build: Builder, name: str, size: int) -> Backbone:
    if name == efficientnet_lite.NAME:
        bundled, checksum = efficientnet_lite.trained()
        backbone = _cut(bundled, name, size)
        backbone.weights, backbone.weights_sha256 = "DEFAULT", checksum
        return backbone
    if name.startswith(timm_networks.PREFIX):
        network, file = timm_networks.trained(name, build)
        backbone = _cut(network, name, size)
        backbone.weights, backbone.weights_sha256 = "DEFAULT", sha256(file)
        return backbone
    if ":" in name:
        backbone = _cut(build(), name, size)
        backbone.weights = "DEFAULT"
        return backbone
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        network = build(weights=weights)
    except (URLError, OSError) as error:
        raise ValueError(
            f"weights DEFAULT of {name} must be fetched once from {weights.url}, got: {error}. "
            "Fetch that file elsewhere and give its path as weights, or set weights: none."
        ) from None
    preset = weights.transforms()
    backbone = _cut(network, name, int(preset.crop_size[0]))
    backbone.preset, backbone.weights = preset, str(weights)
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    backbone.weights_sha256 = sha256(file) if file.is_file() else ""
    return backbone


def _with_file(build: Builder, name: str, path: Path, size: int) -> Backbone:
    state = read_state(path)
    backbone = _cut(build(), name, size)
    backbone = _as_many_classes(backbone, state, build, name)
    network = backbone.network
    state = renamed(state, network)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError:
        raise ValueError(misfit(state, network, name, path)) from None
    if hasattr(network, "transform_input"):
        network.transform_input = True  # type: ignore[assignment]  # torchvision's files of Inception and GoogLeNet are meant to be used so
    backbone.weights, backbone.weights_sha256 = str(path), sha256(path)
    return backbone


def _as_many_classes(backbone: Backbone, state: State, build: Builder, name: str) -> Backbone:
    """The network with as many classes as the file's: its classifier is cut off anyway."""
    have = backbone.network.state_dict().get(f"{backbone.head}.weight")
    want = state.get(f"{backbone.head}.weight")
    if (
        (":" in name and not name.startswith(timm_networks.PREFIX))
        or have is None
        or want is None
        or have.shape[0] == want.shape[0]
        or have.shape[1:] != want.shape[1:]
    ):
        return backbone
    return _cut(build(num_classes=want.shape[0]), name, backbone.size)
