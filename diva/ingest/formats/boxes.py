"""Images with labels, and boxes in them, as drawing tools write them: each label is a sample, and so is each box.

A labelled image stays where it lies. What is within a box is written as PNG into one tar in the batch's folder; samples
of one image are a group: they are left out together. Where a file has no box at all, images without a label are samples
without one.
"""

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from PIL import Image

from diva.ingest.folders import images_below
from diva.ingest.formats.listing import CLIMBS, FormatOptions, Listing, Shard, frame_of, inside
from diva.ingest.images import MAX_PIXELS, Fault, Listed, too_large
from diva.store.columns import further
from diva.store.remote import FetchError
from diva.vision.decoding import read_image

MOST_SHARE = 2  # of the image, that the side of a box may be
SMALLEST = 2  # pixels of a side
SMALL = Fault("box too small: less than 2 pixels within the image", "Draw it anew, or take it out.")
TURNED = Fault("turned box: its sides are not those of the image", "Draw it upright.")
UNLISTED = Fault("not listed in the export", "Export it, or take it away; --format plain reads folders of classes.")


class Box(NamedTuple):
    """A box, or the whole image.

    Attributes:
        name: within its image; "" for the image itself.
        label: of what is in it, None where there is none.
        sides: left, top, width and height; None for the whole image.
        rest: what else is said of it.
        relative: whether its sides are parts of the image's instead of pixels.
        fault: why it is set aside.
    """

    name: str
    label: str | None
    sides: tuple[Any, ...] | None = None
    rest: Mapping[str, Any] = MappingProxyType({})
    relative: bool = False
    fault: Fault | None = None


class AnnotatedImage(NamedTuple):
    """An image and what is drawn in it.

    Attributes:
        name: as the file calls it.
        path: where it lies; None where its name leads out of the delivery.
        boxes: none where nobody labelled it.
        fault: why all of it is set aside.
        group: what is left out together with it; None for the image with what is in its boxes.
    """

    name: str
    path: Path | None
    boxes: list[Box]
    fault: Fault | None = None
    group: str | None = None


class Boxes(ABC):
    """A delivery of images with boxes; a format says what it is called, and what is ``drawn``.

    Args:
        source: a file that describes it, or the folder that holds one.
        options: ``max_bytes``: what the cuts may take up.
        file: that file, None where there is none.

    Attributes:
        title: of the format, for people.
        names_all: whether it is meant to name all images of its folder.
    """

    title = "boxes"
    names_all = False

    def __init__(self, source: str, options: FormatOptions, file: Path | None) -> None:
        if file is None:
            raise ValueError(f"source must be {self.title} or their folder, got {source}.")
        self.file, self.options = file, options
        self.folder = Path(source) if self.names_all and Path(source).is_dir() else None

    def texts(self) -> list[Path]:
        """The files that describe it."""
        return [self.file]

    @abstractmethod
    def drawn(self) -> Iterator[AnnotatedImage]:
        """Its images."""

    def files(self) -> list[Path]:
        """What describes it, and the images."""
        paths = dict.fromkeys(image.path for image in self.drawn() if image.path)
        return [*self.texts(), *(path for path in paths if path.is_file())]

    def listing(self, folder: Path | None, max_pixels: int = MAX_PIXELS) -> Listing:
        """A sample each label and each box."""
        images = [
            *self.drawn(),
            *(AnnotatedImage(path.name, path, [Box("", None)], UNLISTED) for path in self.unlisted()),
        ]
        wrong = _unit_fault(box for image in images for box in image.boxes if box.sides is not None)
        images = [image._replace(fault=image.fault or wrong) for image in images]
        in_place = all(box.sides is None for image in images for box in image.boxes)
        shard = Shard(None if in_place else folder, self.files(), self.options.max_bytes)
        try:
            rows = [row for image in images for row in _samples(image, shard, max_pixels if folder else None, in_place)]
        finally:
            shard.close()
        return Listing([listed for listed, _ in rows], further(frame_of([dict(rest) for _, rest in rows])))

    def unlisted(self) -> list[Path]:
        """Images that it does not name, though it names those of their folder."""
        named = {os.path.normpath(image.path) for image in self.drawn() if image.path} if self.folder else set()
        return [image for image in images_below(self.folder) if str(image) not in named] if self.folder else []

    def is_whole(self) -> bool:
        """Whether those that it does not name lie among those that it names, and in no folders of classes."""
        return all(image.parent in (self.folder, Path(self.folder or "", "images")) for image in self.unlisted())


def _samples(
    image: AnnotatedImage, shard: Shard, most: int | None, in_place: bool
) -> Iterable[tuple[Listed, Mapping[str, Any]]]:
    """Of an image, which is read once where there are boxes; ``most``: pixels of it, None to read none."""
    fault = image.fault or (None if image.path else CLIMBS)
    path, picture = image.path or Path(image.name or "?"), None
    boxes = image.boxes or [Box("", None)] * in_place
    if most and not fault and any(box.sides is not None for box in boxes):
        picture, fault = _picture(path, most)
    labels = {box.label for box in boxes if box.sides is None}
    if len(labels) > 1:
        said = ", ".join(sorted(map(str, labels)))
        two = Fault(f"two labels: {said}", "Keep the one that is right.")
        boxes = [Box("", None, fault=two), *(box for box in boxes if box.sides is not None)]
    whole = [box for box in boxes if box.sides is None][:1]
    group = image.group or (None if in_place else image.name)
    for box in whole:
        yield Listed(path, image.name, box.label, fault or box.fault, group), box.rest
    for box in boxes:
        if box.sides is None:
            continue
        called, wrong = f"{image.name}#{box.name}.png", fault or box.fault
        content = None if wrong or picture is None else _cut(picture, box)
        if picture is not None and content is None:
            wrong = wrong or SMALL
        yield Listed(shard.add(content, called) if content else path, called, box.label, wrong, group), box.rest


def _unit_fault(boxes: Iterable[Box]) -> Fault | None:
    """What is wrong where most sides are in pixels instead of shares of the image, or all the other way round."""
    largest: dict[bool, list[float]] = {True: [], False: []}
    for box in boxes:
        with suppress(TypeError, ValueError):
            largest[box.relative].append(max(abs(float(value)) for value in box.sides or ()))
    shares, pixels = largest[True], largest[False]
    if 2 * sum(MOST_SHARE < side < float("inf") for side in shares) > len(shares):
        return Fault("box in pixels, where shares of the image belong", "Divide it by the image's width and height.")
    if pixels and max(pixels) <= 1:
        return Fault("box in shares of the image, where pixels belong", "Multiply it by the image's width and height.")
    return None


def _picture(path: Path, most: int) -> tuple[Any, Fault | None]:
    """The pixels of an image, or what is wrong with it."""
    try:
        return read_image(path, max_pixels=most), None
    except Image.DecompressionBombError:
        return None, too_large(most)
    except FetchError:
        raise
    except FileNotFoundError:
        return None, Fault("missing file", "Put the file there, or take it out of the delivery.")
    except Exception as error:  # decoders raise anything
        return None, Fault(f"damaged image: {' '.join(str(error).split())[:200]}", "Copy the file again.")


def _cut(picture: Any, box: Box) -> bytes | None:
    """The pixels within a box as PNG; None where none are within the image."""
    try:
        x, y, width, height = (float(value) for value in box.sides or ())
        across, down = (picture.width, picture.height) if box.relative else (1, 1)
        x0, y0 = max(0, round(x * across)), max(0, round(y * down))
        x1 = min(picture.width, round((x + width) * across))
        y1 = min(picture.height, round((y + height) * down))
    except (TypeError, ValueError, OverflowError):
        return None
    if x1 - x0 < SMALLEST or y1 - y0 < SMALLEST:
        return None
    stream = io.BytesIO()
    # stored, not deflated: the same bytes whichever zlib is installed
    picture.crop((x0, y0, x1, y1)).save(stream, format="PNG", compress_level=0)
    return stream.getvalue()


def described(source: str, ending: str, fits: Callable[[Path], bool], *folders: str) -> Path | None:
    """The first file of this ending that fits, a source itself or in its folder, or in one of these below it."""
    path = Path(source)
    inner = (file for name in ("", *folders) for file in sorted((path / name).glob(f"*{ending}")))
    files = [path] if path.is_file() else list(inner)
    return next((file for file in files if file.suffix.lower() == ending and fits(file)), None)


def around(points: Iterable[tuple[float, float]]) -> tuple[float, float, float, float]:
    """The sides of the box around some points."""
    across, down = zip(*points, strict=True)
    return min(across), min(down), max(across) - min(across), max(down) - min(down)


def located(name: str, *folders: Path) -> Path | None:
    """The image of this name below the first folder that has it; None where its name leads out of all of them."""
    paths = [path for folder in folders if folder.is_dir() and (path := inside(folder, name))]
    return next((path for path in paths if path.is_file()), paths[0] if paths else None)
