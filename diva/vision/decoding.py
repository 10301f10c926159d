"""From an image file to upright RGB pixels, and the hash of these; imports no torch."""

import hashlib
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diva.store import parts
from diva.store.parts import NotAFileError as NotAFileError
from diva.vision.formats import FORMATS, upright

LIMIT = Image.MAX_IMAGE_PIXELS  # PIL's own


class ChangedFileError(ValueError):
    """The bytes of a file are not those its manifest was made from."""


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
    data = parts.read(path)
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


OVERSHOT = 1.5  # up to which floats are shares of white

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
    """Integer modes hold 16 bits (PNG, TIFF); floats hold [0, 1], which filters leave a little, or else [0, 255]."""
    low, high = np.nanmin(pixels), np.nanmax(pixels)
    scale, least, most = (1 / 257, 0, 65535) if mode != "F" else (255.0 if high <= OVERSHOT else 1.0, 1 - OVERSHOT, 256)
    if low < least or high > most:
        span = "0..65535" if mode != "F" else "0..1 or 0..255"
        raise ValueError(f"its pixels must be {span}, got {low:g}..{high:g}; save it with 8 or 16 bits")
    return np.clip(np.nan_to_num(pixels.astype(np.float64) * scale).round(), 0, 255).astype(np.uint8)


def pixel_digest(image: Image.Image) -> str:
    """Hexadecimal sha256 of size and pixels, upright and in RGB: equal pictures are equal in whatever file."""
    image.load()
    upright(image)
    rgb = to_rgb(image)
    return hashlib.sha256(f"{rgb.width} {rgb.height}\n".encode() + rgb.tobytes()).hexdigest()
