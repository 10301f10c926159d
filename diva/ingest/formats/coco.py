"""COCO: a JSON file of images, annotations and categories; each box is a sample, cut out of its image.

Boxes of one image are a group: they are left out together. The cuts are written as PNG into one tar in the batch's
folder. Images are looked for beside the JSON file, in a folder ``images`` there or next to it, and in the folders next
to it that the file is named after (``instances_val2017.json``: ``val2017``).
"""

import io
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from diva.ingest.formats.listing import CLIMBS, FormatOptions, Listing, Shard, frame_of, inside, plain
from diva.ingest.images import MAX_PIXELS, Fault, Listed, too_large
from diva.store.columns import further
from diva.text.labels import normalized
from diva.vision.decoding import read_image

NAME = "coco"
SMALLEST = 2  # pixels of a side
USED = ("id", "image_id", "category_id", "bbox", "segmentation", "iscrowd")
SMALL = Fault("box too small: less than 2 pixels within the image", "Draw it anew, or take it out.")
CROWD = Fault("crowd: one box around many", "Draw single boxes, or nothing to do.")


def recognises(source: str) -> bool:
    """Whether a source is such a file, or a folder that holds one."""
    return _record(source) is not None


def _record(source: str) -> Path | None:
    path = Path(source)
    files = [path] if path.is_file() else sorted([*path.glob("*.json"), *path.glob("annotations/*.json")])
    return next((file for file in files if file.suffix.lower() == ".json" and _looks_so(file)), None)


def _looks_so(file: Path) -> bool:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(content, dict) and all(
        isinstance(content.get(k), list) for k in ("images", "annotations", "categories")
    )


class Coco:
    """Boxes of a COCO file.

    Args:
        source: the JSON file, or the folder that holds it.
        options: ``max_bytes``: what the cuts may take up.
    """

    title = "COCO boxes"

    def __init__(self, source: str, options: FormatOptions) -> None:
        self.options = options
        file = _record(source)
        if file is None:
            raise ValueError(f"source must be a JSON file with images, annotations and categories, got {source}.")
        self.file, content = file, json.loads(file.read_bytes())
        self.images = {entry.get("id"): str(entry.get("file_name") or "") for entry in content["images"]}
        self.categories = {entry.get("id"): str(entry.get("name") or "") for entry in content["categories"]}
        self.boxes: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for entry in content["annotations"]:
            self.boxes[entry.get("image_id")].append(entry)

    def files(self) -> list[Path]:
        """The JSON file and the images."""
        images = (self._image(name) for name in self.images.values())
        return [self.file, *(path for path in images if path and path.is_file())]

    def _image(self, name: str) -> Path | None:
        """Where an image lies; None where its name leads out of the folder."""
        here, above = self.file.parent, self.file.parent.parent
        beside = [above / part for part in self.file.stem.split("_")[1:]]
        for folder in (here, here / "images", above / "images", *beside):
            path = inside(folder, name) if folder.is_dir() else None
            if path and path.is_file():
                return path
        return inside(here, name)

    def listing(self, folder: Path | None, max_pixels: int = MAX_PIXELS) -> Listing:
        """A sample each box."""
        shard = Shard(folder, self.files(), self.options.max_bytes)
        most = max_pixels if folder else None
        try:
            rows = [row for image in self.boxes for row in self._of_image(image, shard, most)]
        finally:
            shard.close()
        return Listing([listed for listed, _ in rows], further(frame_of([record for _, record in rows])))

    def _of_image(self, image: Any, shard: Shard, most: int | None) -> Iterator[tuple[Listed, dict[str, Any]]]:
        """The boxes of an image, which is read once, where it has no more pixels than ``most``; None: not at all."""
        name = self.images.get(image, "")
        path = self._image(name) if name else None
        picture, fault = None, None if path else CLIMBS if name else Fault(f"no image: of id {image}", "Name it.")
        if most and path and not fault:
            try:
                picture = read_image(path, max_pixels=most)
            except Image.DecompressionBombError:
                fault = too_large(most)
            except Exception as error:  # decoders raise anything
                fault = Fault(f"damaged image: {' '.join(str(error).split())[:200]}", "Copy the file again.")
        for number, box in enumerate(self.boxes[image]):
            label = normalized(self.categories.get(box.get("category_id")))
            called = f"{name}#{box.get('id', number)}.png"
            wrong = fault or (CROWD if box.get("iscrowd") else None)
            content = None if wrong or picture is None else _cut(picture, box.get("bbox"))
            if picture is not None and not wrong and content is None:
                wrong = SMALL
            where = shard.add(content, called) if content else path or self.file
            rest = {key: value for key, value in plain(box).items() if key not in USED}
            yield Listed(where, called, label, wrong, name), rest


def _cut(picture: Any, box: Any) -> bytes | None:
    """The pixels of a box (x, y, width, height) as PNG; None where none are within the image."""
    try:
        x, y, width, height = (float(value) for value in box)
        x0, y0 = max(0, round(x)), max(0, round(y))
        x1, y1 = min(picture.width, round(x + width)), min(picture.height, round(y + height))
    except (TypeError, ValueError, OverflowError):
        return None
    if x1 - x0 < SMALLEST or y1 - y0 < SMALLEST:
        return None
    stream = io.BytesIO()
    # stored, not deflated: the same bytes whichever zlib is installed
    picture.crop((x0, y0, x1, y1)).save(stream, format="PNG", compress_level=0)
    return stream.getvalue()
