"""Image files as they lie on disk: which of them are images at all, how large, and the hash of their content.

What cannot be decoded though its header is sound, such as a truncated file, is set aside by ``extract``.
"""

import hashlib
import logging
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image, UnidentifiedImageError

from diva.store import digests, parts, remote
from diva.store.manifest import ID_LENGTH, Refused, Sample
from diva.text.progress import track
from diva.vision.decoding import pixel_digest
from diva.vision.formats import FORMATS, unread_kind

logger = logging.getLogger(__name__)
POINTER = b"version https:"  # how files begin that git LFS leaves in the place of images
PNG = b"\x89PNG\r\n\x1a\n"  # how such files begin
NARROW = 200  # how often the shorter side may go into the longer: scaling the shorter one up makes the rest huge
MAX_PIXELS = 1 << 26  # of an image, unless asked otherwise
T = TypeVar("T")
R = TypeVar("R")


class Fault(NamedTuple):
    """Why a file is set aside, and what to do about it."""

    reason: str
    remedy: str


class Listed(NamedTuple):
    """A file that a delivery names.

    Attributes:
        path: where it lies.
        name: its name within the delivery, for the checksum and for people.
        label: as given, None where there is none.
        fault: what is wrong with it already, before it is opened.
        group: what is left out together with it, None where there is none.
    """

    path: Path
    name: str
    label: str | None
    fault: Fault | None = None
    group: str | None = None


UNNAMED = Fault("no label", "Give it a label in the list, or take its line out.")


def in_threads(function: Callable[[T], R], items: Sequence[T], workers: int, unit: str) -> list[R]:
    """``function`` of each item, in order."""
    with ThreadPoolExecutor(workers) as pool:
        return list(track(pool.map(function, items), len(items), unit))


def digest(path: Path) -> str | None:
    """Hexadecimal sha256 of a regular file; None where it cannot be read."""
    try:
        if parts.part_of(path):
            return hashlib.sha256(parts.read(path)).hexdigest()
        if remote.url_of(path):
            return remote.digest(path) if parts.is_there(path) else None
        return digests.sha256(path) if path.is_file() else None  # a named pipe would wait for ever
    except remote.FetchError:
        raise
    except (OSError, ValueError):
        return None


def checksum(lines: Iterable[tuple[str, str | None]]) -> str:
    """Checksum of many files: sha256 over sorted lines of relative name and content's sha256."""
    text = "".join(f"{name}\t{content or 'none'}\n" for name, content in sorted(lines, key=lambda line: line[0]))
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


@contextmanager
def size_limit(max_pixels: int) -> Iterator[None]:
    """Images with more pixels than this are an error while the block lasts (a small file can unpack to gigabytes)."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # remarks on metadata, which do not concern the pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def header(path: Path) -> tuple[int, int] | Fault:
    """Width and height as the file's header gives them, or what is wrong with the file."""
    try:
        seen = parts.file_of(path).stat()
        if not stat.S_ISREG(seen.st_mode):
            return Fault("not a file: a folder, a named pipe or a device", "Put the image itself there.")
        if seen.st_size == 0 or ((part := parts.part_of(path)) and not part.size):
            return Fault("zero bytes", "Copy the file again.")
        with Image.open(parts.opened(path), formats=FORMATS) as image:
            size = image.size
            image.verify()
    except remote.FetchError:
        raise
    except FileNotFoundError:
        return Fault("missing file", "Put the file there, or take it out of the delivery.")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return too_large(Image.MAX_IMAGE_PIXELS)
    except UnidentifiedImageError:
        start = parts.read(path)[:16]
        if start.startswith(PNG):
            return Fault("damaged image: a chunk of the PNG is broken", "Open it in a viewer, and save it again.")
        if start.startswith(POINTER):
            return Fault("pointer of git LFS, not the image", "Fetch the images: git lfs pull.")
        kind = unread_kind(path.name, start)
        reason = f"format that is not read: {kind}" if kind else "not an image"
        return Fault(reason, f"Save it as one of {', '.join(FORMATS)}, or take it away.")
    except Exception as error:  # a decoder fails in any way on a damaged file
        if isinstance(error, OSError) and error.errno:  # the system's, not a decoder's
            return Fault(
                f"not readable: {(error.strerror or '').lower()}", "Give read permission, or put it there again."
            )
        return Fault(f"damaged image: {_one_line(error)}", "Copy the file again.")
    return _shape(*size) or size


def too_large(most: int | None) -> Fault:
    """What is wrong with an image of more pixels than this."""
    return Fault(f"more than {most} pixels", "Scale it down, or raise download.max_pixels.")


def _shape(width: int, height: int) -> Fault | None:
    if min(width, height) < 1:
        return Fault("damaged image: no pixels", "Copy the file again.")
    if max(width, height) > NARROW * min(width, height):
        remedy = f"Crop it: its longer side may be at most {NARROW} times as long as the shorter."
        return Fault(f"too narrow: {width} × {height} pixels", remedy)
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def inspect(listed: Listed, content: str | None, unlabelled: bool = False) -> Sample | Refused:
    """A listed file as a row of the manifest or of the quarantine; ``content`` is its sha256.

    ``unlabelled``: it may wait for its label.
    """
    path, label = _printable(parts.named(listed.path)), listed.label and _printable(listed.label)
    sample_id = content[:ID_LENGTH] if content else None
    seen = listed.fault or header(listed.path)
    if isinstance(seen, Fault):
        return Refused(sample_id, path, label, *seen)
    if not label and not unlabelled:
        return Refused(sample_id, path, None, *UNNAMED)
    if label and "\0" in label:
        return Refused(sample_id, path, label, "label with NUL bytes", "Write the name of its class alone.")
    if sample_id is None:
        return Refused(None, path, label, "not readable", "Copy the file again, and give read permission.")
    group = listed.group and _printable(listed.group)
    return Sample(sample_id, path, label or None, *seen, group=group, pixels=pixels(listed.path))


def pixels(path: Path) -> str | None:
    """Hash of the decoded image; None where it cannot be decoded, which ``extract`` says with the reason."""
    try:
        with Image.open(parts.opened(path), formats=FORMATS) as image:
            return pixel_digest(image)[:ID_LENGTH]
    except Exception:  # a decoder fails in any way on a damaged file
        return None


def _printable(name: str) -> str:
    """``name`` with bytes that are no UTF-8 spelt out."""
    return name.encode("utf-8", "backslashreplace").decode()
