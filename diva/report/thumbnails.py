"""Small images of samples, as bytes; only of files that still hold the very content the sample is named after.

A sample's id is the hash of its content, so whatever a path in a list points to, the page can show nothing else.
Those of the last page on this machine are taken as they were made: scaling and encoding is most of a page's work.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from zipfile import BadZipFile

import numpy as np
import PIL
import polars as pl
from PIL import Image

from diva.ingest.images import in_threads, size_limit
from diva.store import atomic, parts, results
from diva.store import paths as places
from diva.store.manifest import ID_LENGTH
from diva.text.progress import track
from diva.vision.formats import FORMATS, upright

MAX_PIXELS = 89_478_485  # Pillow's own bound
MAX_BYTES = 1 << 28  # of a file
BLOCK = 256  # thumbnails made before it is asked whether there is room for more
WORKERS = 2
FEW = 32  # pixels of a side of which each counts


def pack(frame: pl.DataFrame, order: Sequence[int], side: int, room: int) -> dict[int, bytes]:
    """Thumbnails of rows of ``frame`` (sample_id, path), in this order, while base64 of them fits in ``room`` bytes.

    A file that several samples name is one of ready features: it is not opened.
    """
    basis = results.digest(results.loaded(), PIL.__version__, side)
    before, ids = last(basis), frame["sample_id"].to_list()
    packed = _packed(frame, order, side, room, before)
    if made := {ids[row]: content for row, content in packed.items()}:
        if made != before:
            keep(basis, made)
    else:
        places.THUMBNAILS.unlink(missing_ok=True)
    return packed


def last(basis: str) -> dict[str, bytes]:
    """Thumbnails of the last page, by the hash of their content; none where they were made otherwise."""
    try:
        with np.load(places.THUMBNAILS, allow_pickle=False) as stored:
            if stored["basis"] != basis:
                return {}
            ids, ends, content = (
                stored["ids"].astype("U").tolist(),
                stored["ends"].tolist(),
                stored["content"].tobytes(),
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return {}
    return {name: content[start:end] for name, start, end in zip(ids, [0, *ends], ends, strict=False)}


def keep(basis: str, thumbnails: Mapping[str, bytes]) -> None:
    """Put the thumbnails of this page where the next one looks, and no others."""
    sizes, content = [len(image) for image in thumbnails.values()], b"".join(thumbnails.values())
    arrays = {
        "basis": basis,
        "ids": np.array(list(thumbnails), "S"),
        "ends": np.cumsum(sizes),
        "content": np.frombuffer(content, "u1"),
    }
    with atomic.replacing(places.THUMBNAILS) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **{name: np.asarray(value) for name, value in arrays.items()})


def _packed(
    frame: pl.DataFrame, order: Sequence[int], side: int, room: int, before: Mapping[str, bytes]
) -> dict[int, bytes]:
    paths, ids = frame["path"].to_list(), frame["sample_id"].to_list()
    files = frame.select("path", "sample_id").unique()["path"]
    several = set(files.filter(files.is_duplicated()))
    order = [row for row in order if paths[row] not in several]
    packed: dict[int, bytes] = {}
    blocks = [list(order[start : start + BLOCK]) for start in range(0, len(order), BLOCK)]
    for rows in track(blocks, len(order), "thumbnails", len):
        with size_limit(MAX_PIXELS):  # around all threads: it is a setting of the whole process
            made = in_threads(
                lambda row: thumbnail(paths[row], side, ids[row], before.get(ids[row])), rows, WORKERS, "thumbnails"
            )
        for row, content in zip(rows, made, strict=True):
            if content is None:
                continue
            room -= 4 * -(-len(content) // 3)
            if room < 0:
                return packed
            packed[row] = content
    return packed


def thumbnail(path: str, side: int, sample_id: str | None = None, made: bytes | None = None) -> bytes | None:
    """The image at ``path``, at most ``side`` pixels wide and high; None where it is no readable image, or another.

    Args:
        path: of the image.
        side: pixels.
        sample_id: hash of the content that it must have; None for any.
        made: of that content, by an earlier page; None where it is to be made.
    """
    try:
        part = parts.part_of(path)
        if not parts.is_there(path) or (part.size if part else parts.file_of(path).stat().st_size) > MAX_BYTES:
            return None
        content = parts.read(path)
        if sample_id is not None and hashlib.sha256(content).hexdigest()[:ID_LENGTH] != sample_id:
            return None
        if made is not None:
            return made
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.draft("RGB", (2 * side, 2 * side))  # JPEG: decodes at a fraction of the size
            upright(image)
            return _encoded(_rgb(image), side)
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


def _encoded(image: Image.Image, side: int) -> bytes:
    """Images of few pixels as they are (PNG), larger ones scaled down to ``side`` (WebP)."""
    small = max(image.size) <= min(side, FEW)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, **({"format": "PNG"} if small else {"format": "WEBP", "quality": 72}))
    return buffer.getvalue()
