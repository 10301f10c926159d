"""JPEG files decoded by the GPU: bytes travel to it, and only the square that the network reads is kept.

A GPU's decoder rounds, and widens colour channels, in its own way: features differ from those of pixels decoded on the
CPU by about as much as half precision changes them. What it does not take (other formats, CMYK, turned cameras, damaged
files) the CPU decodes.
"""

import io
import logging
from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import ExifTags, Image
from torch import Tensor

from diva.vision.decoding import own_limit, require_pixels
from diva.vision.transforms import Steps

logger = logging.getLogger(__name__)


class Encoded(NamedTuple):
    """A JPEG file as it lies on disk: its bytes, as a tensor (b,) of bytes."""

    data: Tensor


def available() -> bool:
    """Whether this torchvision still has a decoder; it announces that it will part with it."""
    import torchvision  # seconds that the CPU need not wait

    return hasattr(torchvision.io, "decode_jpeg")


def encoded(data: bytes, max_pixels: int | None = None) -> Encoded | None:
    """A file's bytes, if its header promises an upright RGB or grey JPEG of at most ``max_pixels``; else None."""
    if not data.startswith(b"\xff\xd8"):
        return None
    with own_limit(), Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        require_pixels(image, max_pixels)
        if image.mode not in ("RGB", "L") or not _is_upright(image):
            return None
    return Encoded(torch.frombuffer(bytearray(data), dtype=torch.uint8))


def _is_upright(image: Image.Image) -> bool:
    try:
        return bool(image.getexif().get(ExifTags.Base.Orientation, 1) == 1)
    except Exception:  # its reader fails in any way on a damaged block, which the CPU passes over
        return False


def decoded(files: Sequence[Encoded], steps: Steps, device: torch.device) -> list[Tensor | None]:
    """(3, crop, crop) bytes each, on the device; None for those that its decoder refuses."""
    import torchvision

    try:
        colour = torchvision.io.ImageReadMode.RGB
        images = torchvision.io.decode_jpeg([file.data for file in files], colour, device=device)
    except RuntimeError as error:
        if len(files) == 1:
            logger.debug("Left to the CPU: %s", error)
            return [None]
        return [image for file in files for image in decoded([file], steps, device)]
    return [_square(image, steps) for image in images]


def _square(image: Tensor, steps: Steps) -> Tensor:
    from torchvision.transforms.functional import center_crop, resize

    side: Tensor = center_crop(resize(image, [steps.resize], steps.interpolation, antialias=True), [steps.crop])
    return side
