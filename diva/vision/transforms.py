"""From an image file to the tensor a network reads: decoding to RGB, resizing, cropping, normalising."""

import dataclasses
import hashlib
import io
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, normalize, resize, to_tensor

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # decoders without interpreters behind them
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
Transform = Callable[[Image.Image], Tensor]


@dataclasses.dataclass(frozen=True)
class ResizeCrop:
    """The shorter side to ``resize``, the central ``crop`` × ``crop``, then (x − mean) / std per channel of [0, 1]."""

    resize: int = 256
    crop: int = 224
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize:
            raise ValueError(f"crop must be between 1 and resize ({self.resize}), got {self.crop}.")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"mean and std must be three numbers each, std > 0, got {self.mean} and {self.std}.")

    def __call__(self, image: Image.Image) -> Tensor:
        """RGB image to (3, crop, crop)."""
        image = center_crop(resize(image, [self.resize], InterpolationMode.BILINEAR), [self.crop])
        tensor: Tensor = normalize(to_tensor(image), list(self.mean), list(self.std))
        return tensor


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
    if not stat.S_ISREG(Path(path).stat().st_mode):  # a named pipe would wait for ever
        raise NotAFileError("a folder, a named pipe or a device")
    data = Path(path).read_bytes()
    if checksum is not None and not hashlib.sha256(data).hexdigest().startswith(checksum):
        raise ChangedFileError("the file's bytes are not those its manifest was made from")
    with size_limit(max_pixels), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        image.load()
        return to_rgb(ImageOps.exif_transpose(image))


@contextmanager
def size_limit(max_pixels: int | None) -> Iterator[None]:
    """More pixels than this are an error while the block lasts, where PIL by itself only remarks on it."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels or before
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # remarks on metadata do not concern the pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except Image.DecompressionBombWarning as error:
        raise Image.DecompressionBombError(str(error)) from None
    finally:
        Image.MAX_IMAGE_PIXELS = before


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: 16 and 32 bits are scaled, not clipped; what is transparent shows white."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image), image.mode)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(pixels: Any, mode: str) -> Any:
    """Integer modes hold 16 bits (PNG, TIFF); floats hold [0, 1], or [0, 255] where they exceed 1."""
    scale = 1 / 257 if mode != "F" else (255.0 if np.nanmax(pixels) <= 1 else 1.0)
    return np.clip(np.nan_to_num(pixels.astype(np.float64) * scale).round(), 0, 255).astype(np.uint8)
