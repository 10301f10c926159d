"""COCO: a JSON file of images, annotations and categories; each box is a sample, cut out of its image.

An annotation with ``"whole_image": true`` is the label of its image, as `diva export` writes it; so is each one where
none of the file has a box or an outline. Images are looked for
beside the JSON file, in a folder ``images`` there or next to it, and in the folders next to it that the file is named
after (``instances_val2017.json``: ``val2017``).
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diva.ingest.formats.boxes import AnnotatedImage, Box, Boxes, around, described, located
from diva.ingest.formats.listing import FormatOptions, plain
from diva.ingest.images import Fault
from diva.text.labels import normalized

NAME = "coco"
USED = ("id", "image_id", "category_id", "bbox", "segmentation", "iscrowd")
WHOLE = "whole_image"
CROWD = Fault("crowd: one box around many", "Draw single boxes, or nothing to do.")


def recognises(source: str) -> bool:
    """Whether a source is such a file, or a folder that holds one."""
    return described(source, ".json", _looks_so, "annotations") is not None


def _looks_so(file: Path) -> bool:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(content, dict) and all(
        isinstance(content.get(k), list) for k in ("images", "annotations", "categories")
    )


def _has_place(entry: dict[str, Any]) -> bool:
    """Whether an annotation says where in its image something is."""
    sides = entry.get("bbox")
    return bool(entry.get("segmentation")) or any(sides if isinstance(sides, list) else [sides])


class Coco(Boxes):
    """Boxes of a COCO file.

    Args:
        source: the JSON file, or the folder that holds it.
        options: ``max_bytes``: what the cuts may take up.
    """

    title = "COCO boxes"

    def __init__(self, source: str, options: FormatOptions) -> None:
        super().__init__(source, options, described(source, ".json", _looks_so, "annotations"))
        content = json.loads(self.file.read_bytes())
        self.images = {entry.get("id"): str(entry.get("file_name") or "") for entry in content["images"]}
        self.categories = {entry.get("id"): str(entry.get("name") or "") for entry in content["categories"]}
        self.boxes: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for entry in content["annotations"]:
            self.boxes[entry.get("image_id")].append(entry)
        self.whole = not any(map(_has_place, content["annotations"]))

    def drawn(self) -> Iterator[AnnotatedImage]:
        """Images with annotations, in their order, then the others."""
        here, above = self.file.parent, self.file.parent.parent
        folders = (here, here / "images", above / "images", *(above / part for part in self.file.stem.split("_")[1:]))
        for image in dict.fromkeys([*self.boxes, *self.images]):
            name = self.images.get(image, "")
            fault = None if name else Fault(f"no image: of id {image}", "Name it.")
            boxes = [self._box(number, entry) for number, entry in enumerate(self.boxes.get(image, []))]
            yield AnnotatedImage(name, located(name, *folders) if name else self.file, boxes, fault)

    def _box(self, number: int, entry: dict[str, Any]) -> Box:
        label = normalized(self.categories.get(entry.get("category_id")))
        rest = {key: value for key, value in plain(entry).items() if key not in USED}
        if rest.pop(WHOLE, False) is True or self.whole:
            rest.pop("area", None)
            return Box("", label, rest=rest)
        sides, outlines = entry.get("bbox"), entry.get("segmentation")
        if not sides and isinstance(outlines, list):
            corners = [corner for outline in outlines for corner in zip(outline[::2], outline[1::2], strict=False)]
            sides = list(around(corners)) if corners else []
        sides = tuple(sides) if isinstance(sides, list) else ()
        fault = CROWD if entry.get("iscrowd") else None
        if not fault and entry.get("category_id") is not None and entry["category_id"] not in self.categories:
            fault = Fault(f"category without a name: {entry['category_id']}", "Name it in the file's categories.")
        return Box(str(entry.get("id", number)), label, sides, rest, fault=fault)
