"""The two towers of CLIP by open_clip: images and texts to one space, where a caption lies near its image.

A network is named ``open_clip:ARCHITECTURE``, with ``/TAG`` behind it where weights are to be fetched; the architecture
is one that open_clip knows, or the path of a JSON file in its format. Needs ``pip install 'diva-curation[clip]'``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, normalize, resize, to_tensor

from diva.store.digests import sha256
from diva.text.words import installing
from diva.vision.backbone import Backbone
from diva.vision.weights import read_state

PREFIX = "open_clip:"
PROMPTS = ("a photo of a {}.",)


@dataclass(frozen=True)
class ClipTransform:
    """The transform that a tower was trained with: the shorter side (or, squashed, both sides) to ``size``."""

    size: int
    mean: Sequence[float]
    std: Sequence[float]
    interpolation: str
    squash: bool

    def __call__(self, image: Image.Image) -> Tensor:
        """RGB image to (3, size, size)."""
        sides = [self.size, self.size] if self.squash else [self.size]
        image = center_crop(resize(image, sides, InterpolationMode(self.interpolation)), [self.size])
        tensor: Tensor = normalize(to_tensor(image), list(self.mean), list(self.std))
        return tensor


def create(name: str, tag: str | None = None) -> nn.Module:
    """Both towers, with random weights, or with those of open_clip's ``tag``.

    Raises:
        ValueError: open_clip is not installed, or does not know the architecture.
    """
    try:
        import open_clip
    except ImportError:
        raise ValueError(f"backbone {name} needs open_clip: {installing('clip')}.") from None
    path = name.removeprefix(PREFIX)
    if path.endswith(".json"):
        if not Path(path).is_file():
            raise ValueError(f"backbone must name an existing JSON file after {PREFIX}, got {path}.")
        open_clip.add_model_config(path)
    architecture, _ = split(name)
    if architecture not in open_clip.list_models():
        architectures = ", ".join(open_clip.list_models())
        raise ValueError(
            f"backbone must name an architecture of open_clip after {PREFIX}, got {name}; known: {architectures}."
        )
    model: nn.Module = open_clip.create_model(architecture, pretrained=tag, load_weights=tag is not None)
    return model.eval().requires_grad_(False)


def split(name: str) -> tuple[str, str]:
    """Architecture, as open_clip knows it, and tag (empty where there is none) of ``open_clip:…``."""
    rest = name.removeprefix(PREFIX)
    if rest.endswith(".json"):
        return Path(rest).stem, ""
    architecture, _, tag = rest.partition("/")
    return architecture, tag


def load_towers(name: str, weights: str, seed: int = 0) -> nn.Module:
    """Both towers on the CPU.

    Args:
        name: ``open_clip:ARCHITECTURE[/TAG]``.
        weights: ``DEFAULT`` (those of TAG, fetched if need be), ``none`` (random), or the path of a state dict of both
            towers (.safetensors, or written by torch.save).
        seed: of random weights.

    Raises:
        ValueError: no such architecture, or weights that are absent or of another network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if weights == "DEFAULT":
            return _fetched(name)
        towers = create(name)
    if weights == "none":
        return towers
    state = read_state(Path(weights))
    try:
        towers.load_state_dict(state, strict=True)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:300]
        raise ValueError(f"weights must be of both towers of {name}, got {weights}: {said}") from None
    return towers


def _fetched(name: str) -> nn.Module:
    _, tag = split(name)
    if not tag:
        raise ValueError(f"backbone must name the weights to fetch as {PREFIX}ARCHITECTURE/TAG, got {name}.")
    try:
        return create(name, tag)
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"weights DEFAULT of {name} must be fetched once from {_where(name, tag)}, got: "
            f"{' '.join(str(error).split())[:200]} Fetch that file elsewhere and give its path as weights."
        ) from None


def _where(name: str, tag: str) -> str:
    import open_clip

    config = open_clip.get_pretrained_cfg(split(name)[0], tag) or {}
    return str(config.get("hf_hub") or config.get("url") or f"nowhere that open_clip knows for {tag}")


def load_image_tower(name: str, weights: str, seed: int = 0) -> Backbone:
    """The image tower as a backbone: its features are the embeddings, its transform the one it was trained with."""
    visual: Any = load_towers(name, weights, seed).visual
    side = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
    backbone = Backbone(visual, side, cut=False)
    config = visual.preprocess_cfg
    squash = config["resize_mode"] == "squash"
    backbone.preset = ClipTransform(side, config["mean"], config["std"], config["interpolation"], squash)  # type: ignore[assignment]
    backbone.weights = weights
    backbone.weights_sha256 = sha256(Path(weights)) if weights not in ("none", "DEFAULT") else ""
    return backbone


def embed_names(
    name: str, weights: str, names: Sequence[str], prompts: Sequence[str] = PROMPTS, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Embeddings (k, p) of class names by the text tower: unit norm, the mean over the prompts.

    Args:
        name: as in `load_towers`.
        weights: as there.
        names: of the classes; `spoken` makes words of labels.
        prompts: with ``{}`` where the name goes.
        seed: of random weights.

    Raises:
        ValueError: a prompt without ``{}``.
    """
    lacking = [prompt for prompt in prompts if "{}" not in prompt]
    if lacking or not prompts:
        raise ValueError(f"prompts must hold {{}} where the name goes, got {lacking or 'none'}.")
    import open_clip

    towers: Any = load_towers(name, weights, seed)
    tokenize = open_clip.get_tokenizer(split(name)[0])  # known since the towers were made
    rows = []
    with torch.inference_mode():
        for label in names:
            embedded = towers.encode_text(tokenize([prompt.replace("{}", label) for prompt in prompts]))
            rows.append(nn.functional.normalize(nn.functional.normalize(embedded, dim=1).mean(0), dim=0))
    embeddings: npt.NDArray[np.float32] = torch.stack(rows).float().numpy()
    return embeddings


def spoken(label: str) -> str:
    """A label as one would say it: ``001.ak-47`` is ak 47, ``wild_rose`` is wild rose."""
    words = re.sub(r"[_\-/]+", " ", re.sub(r"^\d+[._\- ]+", "", label)).strip()
    return words or label
