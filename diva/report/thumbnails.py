"""Small images as data URIs; whatever cannot be shown as an image is None, and the page says its path instead."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from diva.store.images import FORMATS, size_limit

MAX_PIXELS = 89_478_485  # Pillow's own bound


def thumbnail(path: str, side: int) -> str | None:
    """The image at ``path``, at most ``side`` pixels wide and high; None where it is no readable image."""
    file = Path(path)
    try:
        if not file.is_file():
            return None
        with size_limit(MAX_PIXELS), Image.open(file, formats=FORMATS) as image:
            image.draft("RGB", (2 * side, 2 * side))  # JPEG: decodes at a fraction of the size
            return _encoded(_rgb(ImageOps.exif_transpose(image)), side)
    except Exception:  # a decoder fails in any way on a damaged file, and a thumbnail is not worth a failed report
        return None


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: high bit depths stretched to eight, transparency on white."""
    if image.mode == "F" or image.mode.startswith("I"):
        pixels = np.nan_to_num(np.asarray(image, dtype=np.float64))
        spread = float(np.ptp(pixels)) or 1.0
        image = Image.fromarray(((pixels - pixels.min()) * (255 / spread)).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _encoded(image: Image.Image, side: int) -> str:
    """Small images as they are (PNG), larger ones scaled down (JPEG)."""
    small = max(image.size) <= side
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, **({"format": "PNG"} if small else {"format": "JPEG", "quality": 82}))
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
