"""Variants of an image: a transform of torchvision.transforms.v2 by its name, before the backbone's own.

What is random about a transform is drawn from the seed and the image's pixels, so a variant depends neither on the
order of the images nor on batches or workers.
"""

import dataclasses
import difflib
import inspect
import threading
import zlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from diva.vision.transforms import Transform, describe

ONE_AT_A_TIME = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Variant:
    """A transform of images, then that of the backbone.

    Attributes:
        name: of a class in torchvision.transforms.v2, such as RandomHorizontalFlip.
        arguments: of that class.
        then: from the image to the backbone's tensor.
        seed: of what is random.

    Raises:
        ValueError: v2 has no such transform, or it does not take these arguments or an image.
    """

    name: str
    arguments: Mapping[str, Any]
    then: Transform
    seed: int = 0

    def __post_init__(self) -> None:
        try:
            self.vary(Image.new("RGB", (64, 64)))
        except Exception as error:  # constructors and transforms raise anything
            said = " ".join(str(error).split())
            raise ValueError(
                f"arguments of {self.name} must suit torchvision.transforms.v2.{self.name} and leave an image, got "
                f"{dict(self.arguments)}: {said}"
            ) from None

    @cached_property
    def transform(self) -> Any:
        """The v2 transform."""
        return find(self.name)(**self.arguments)

    def vary(self, image: Image.Image) -> Image.Image:
        """The variant of an RGB image."""
        with ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):  # the generator is the process's
            torch.manual_seed(zlib.crc32(image.tobytes(), self.seed))
            varied = self.transform(v2.functional.to_image(image))
        pixels = v2.functional.to_dtype(varied.as_subclass(Tensor), torch.uint8, scale=True)
        result: Image.Image = v2.functional.to_pil_image(pixels).convert("RGB")
        return result

    def __call__(self, image: Image.Image) -> Tensor:
        """RGB image to (3, h, w)."""
        return self.then(self.vary(image))

    def described(self) -> dict[str, Any]:
        """What it does, as plain values for JSON."""
        return {"variant": self.name, "arguments": dict(self.arguments), "seed": self.seed, **describe(self.then)}


def find(name: str) -> type[v2.Transform]:
    """The transform of this name; ValueError with near names where there is none."""
    transforms = {key for key, kind in vars(v2).items() if inspect.isclass(kind) and issubclass(kind, v2.Transform)}
    if name not in transforms:
        similar = difflib.get_close_matches(name, sorted(transforms), cutoff=0.4)
        raise ValueError(
            f"name must be a transform of torchvision.transforms.v2, got {name}; near: {', '.join(similar)}."
        )
    transform: type[v2.Transform] = getattr(v2, name)
    return transform
