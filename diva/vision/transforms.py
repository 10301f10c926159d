"""From an image file to the tensor a network reads: decoding to RGB, resizing, cropping, normalising."""

import dataclasses
import hashlib
import io
import stat
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.functional import center_crop, resize

from diva.vision.formats import FORMATS, upright

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
LIMIT = Image.MAX_IMAGE_PIXELS  # PIL's own
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
    def interpolation(self) -> InterpolationMode:
        """How ``resize`` computes pixels."""
        return InterpolationMode.BILINEAR

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
        self.interpolation: InterpolationMode = preset.interpolation

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
    return Preset(transform) if isinstance(transform, ImageClassification) else None


def _square(image: Image.Image, side: int, crop: int, interpolation: InterpolationMode) -> Tensor:
    """Bytes of the central square, the shorter side resized."""
    square = center_crop(resize(image, [side], interpolation), [crop])
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
    if isinstance(value, InterpolationMode):
        return value.value
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


class ChangedFileError(ValueError):
    """The bytes of a file are not those its manifest was made from."""


class NotAFileError(ValueError):
    """What lies at a path is no regular file."""


def read_image(path: str | Path, checksum: str | None = None, max_pixels: int | None = None) -> Image.Image:
    """Decode a file to RGB, upright.

    Args:
        path: of the image.
        checksum: leading hexadecimal digits of the SHA-256 of the file's bytes, checked where given.
        max_pixels: an image with more is an error; PIL's own limit where not given.

    Raises:
        NotAFileError: a folder, a named pipe or a device.
        ChangedFileError: the bytes are not those of ``checksum``.
        Image.DecompressionBombError: too many pixels.
        OSError: the file is absent, no image, or cut short; decoders raise other errors, too.
    """
    return decode(read_bytes(path, checksum), max_pixels)


def read_bytes(path: str | Path, checksum: str | None = None) -> bytes:
    """A file's bytes; errors as of ``read_image``."""
    if not stat.S_ISREG(Path(path).stat().st_mode):  # a named pipe would wait for ever
        raise NotAFileError("a folder, a named pipe or a device")
    data = Path(path).read_bytes()
    if checksum is not None and not hashlib.sha256(data).hexdigest().startswith(checksum):
        raise ChangedFileError("the file's bytes are not those its manifest was made from")
    return data


def decode(data: bytes, max_pixels: int | None = None) -> Image.Image:
    """The bytes of a file to RGB, upright; errors as of ``read_image``."""
    with own_limit(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        require_pixels(image, max_pixels)
        image.load()
        upright(image)
        return to_rgb(image)


def require_pixels(image: Image.Image, max_pixels: int | None = None) -> None:
    """Refuse an image that is too large, before it is unpacked."""
    pixels, most = image.width * image.height, max_pixels or LIMIT
    if most and pixels > most:
        raise Image.DecompressionBombError(f"the image has {pixels} pixels, more than {most}")


_LOCK = threading.Lock()
_within: list[ExitStack] = []


@contextmanager
def own_limit() -> Iterator[None]:
    """While any thread is within, PIL's limit, one for the whole process, is off; ``require_pixels`` stands in for it.

    Its remarks on metadata, which do not concern the pixels, are silent meanwhile.
    """
    with _LOCK:
        _within.append(_without_limit() if not _within else ExitStack())
    try:
        yield
    finally:
        with _LOCK:
            # the first to enter holds the way back; whoever leaves last goes it
            _within.pop(0 if len(_within) == 1 else 1).close()


def _without_limit() -> ExitStack:
    way_back = ExitStack()
    way_back.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore", UserWarning)
    way_back.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.MAX_IMAGE_PIXELS = None
    return way_back


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: 16 and 32 bits are scaled, not clipped; what is transparent shows white."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image), image.mode)).convert("RGB")
    if image.mode == "RGB" and not image.has_transparency_data:
        return image  # as it is: a copy costs as much as half the decoding
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(pixels: Any, mode: str) -> Any:
    """Integer modes hold 16 bits (PNG, TIFF); floats hold [0, 1], or [0, 255] where they exceed 1."""
    scale = 1 / 257 if mode != "F" else (255.0 if np.nanmax(pixels) <= 1 else 1.0)
    return np.clip(np.nan_to_num(pixels.astype(np.float64) * scale).round(), 0, 255).astype(np.uint8)
