"""From an RGB image to the tensor a network reads: resizing, cropping, normalising; imports no torchvision."""

import dataclasses
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
Transform = Callable[[Image.Image], Tensor]


@dataclasses.dataclass(frozen=True)
class ResizeCrop:
    """The shorter side to ``resize``, the central ``crop`` × ``crop``, then (x − mean) / std per channel of [0, 1].

    In two parts, so that bytes travel, four times fewer, and a whole batch is normalised where the network runs.
    """

    resize: int = 256
    crop: int = 224
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize:
            raise ValueError(f"crop must be between 1 and resize ({self.resize}), got {self.crop}.")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"mean and std must be three numbers each, std > 0, got {self.mean} and {self.std}.")

    @property
    def interpolation(self) -> Resampling:
        """How ``resize`` computes pixels."""
        return Resampling.BILINEAR

    def __call__(self, image: Image.Image) -> Tensor:
        """RGB image to (3, crop, crop) float32."""
        return self.normalize(self.pixels(image)[None])[0]

    def pixels(self, image: Image.Image) -> Tensor:
        """RGB image to (3, crop, crop) bytes."""
        return _square(image, self.resize, self.crop, self.interpolation)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Bytes (m, 3, crop, crop) to float32."""
        return _normalized(pixels, self.mean, self.std)


class Preset:
    """The transform that torchvision's weights of a classification network bring, in the same two parts."""

    def __init__(self, preset: Any) -> None:
        self.preset = preset
        self.resize, self.crop = int(preset.resize_size[0]), int(preset.crop_size[0])
        self.interpolation = Resampling[preset.interpolation.name]

    def pixels(self, image: Image.Image) -> Tensor:
        """As of ``ResizeCrop``."""
        return _square(image, self.resize, self.crop, self.interpolation)

    def normalize(self, pixels: Tensor) -> Tensor:
        """As of ``ResizeCrop``."""
        return _normalized(pixels, self.preset.mean, self.preset.std)


Steps = ResizeCrop | Preset


def steps(transform: Any) -> Steps | None:
    """The two parts of a transform; None where it is one that only works as a whole."""
    if isinstance(transform, ResizeCrop):
        return transform
    return Preset(transform) if type(transform).__name__ == "ImageClassification" else None  # torchvision's


def _square(image: Image.Image, side: int, crop: int, interpolation: Resampling) -> Tensor:
    """Bytes of the central square, the shorter side resized: to the bit torchvision's."""
    short = min(image.size)
    sizes = [int(side * length / short) for length in image.size]
    x, y = (round((size - crop) / 2) for size in sizes)
    square = image.resize((sizes[0], sizes[1]), interpolation).crop((x, y, x + crop, y + crop))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def _normalized(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x / 255 − mean) / std, step by step as torchvision does, so that the bits are the same."""
    shift, scale = (torch.tensor(list(values), device=pixels.device)[:, None, None] for values in (mean, std))
    return pixels.to(torch.float32).div_(255).sub_(shift).div_(scale)


def describe(transform: Any) -> dict[str, Any]:
    """What a transform does, as plain values for JSON: ours, or the one that torchvision's weights bring."""
    if dataclasses.is_dataclass(transform) and not isinstance(transform, type):
        return {key: _plain(value) for key, value in dataclasses.asdict(transform).items()}
    return {key: _plain(value) for key, value in sorted(vars(transform).items()) if not key.startswith("_")}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
