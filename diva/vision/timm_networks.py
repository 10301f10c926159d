"""Networks of timm by name, ``timm:NAME``, each with the transform that its own configuration gives.

Weights are safetensors files or state dicts, never pickled code. Needs ``pip install 'diva-curation[timm]'``.
"""

import difflib
import importlib
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from diva.text.words import installing
from diva.vision.backbone import Backbone

PREFIX = "timm:"
FILE = "model.safetensors"


def builder(name: str) -> Callable[..., nn.Module]:
    """The function that makes a network; ValueError with near names where there is none."""
    try:
        import timm
    except ImportError:
        raise ValueError(f"backbone {name} needs timm: {installing('timm')}.") from None
    plain = name.removeprefix(PREFIX)
    if not timm.is_model(plain):
        similar = ", ".join(difflib.get_close_matches(plain.lower(), timm.list_models())) or "none"
        raise ValueError(f"backbone must name a network of timm after {PREFIX}, got {name}; near: {similar}.")
    return partial(timm.create_model, plain)


def trained(name: str, build: Callable[..., nn.Module]) -> tuple[nn.Module, Path]:
    """The network with the weights that timm names for it, fetched if need be, and their file."""
    from huggingface_hub import hf_hub_download

    with_nothing: Any = build()
    where = with_nothing.pretrained_cfg.get("hf_hub_id")
    if not where:
        raise ValueError(f"weights DEFAULT of {name} must be named by timm, got none: give the path of a state dict.")
    try:
        file = hf_hub_download(where, FILE)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"weights DEFAULT of {name} must be fetched once from https://huggingface.co/{where} ({FILE}), got: "
            f"{' '.join(str(error).split())[:200]} Fetch that file elsewhere and give its path as weights."
        ) from None
    return build(pretrained=True, pretrained_cfg_overlay={"file": str(file)}), Path(file)


def cut(network: Any) -> Backbone:
    """The network without its classifier, where it has one, and with its transform."""
    size, preset = transform_of(network)
    backbone = Backbone(network, size, cut=network.num_classes > 0)
    backbone.preset = preset
    return backbone


def transform_of(network: nn.Module) -> tuple[int, Any]:
    """Side and making of what the network sees: in torchvision's form where timm cuts the centre of a square."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    data: Any = importlib.import_module("timm.data")
    config = data.resolve_model_data_config(network)
    _, height, width = config["input_size"]
    if config["crop_mode"] != "center" or height != width:
        return height, data.create_transform(**config, is_training=False)
    side = math.floor(height / config["crop_pct"])
    interpolation = InterpolationMode(config["interpolation"])
    values = {"mean": config["mean"], "std": config["std"], "interpolation": interpolation}
    return height, ImageClassification(crop_size=height, resize_size=side, **values)
