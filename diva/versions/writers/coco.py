"""A release as COCO: ``annotations/instances_default.json``; each image has one box, the whole of it, with its label.

What the release says of a sample stands in its annotation. ``pycocotools`` and CVAT read it, and so does
`diva.ingest.formats.coco`, for which ``whole_image`` says that the box is no cut.
"""

from collections.abc import Sequence
from pathlib import Path

from diva.store.columns import free_name
from diva.versions.writers.pictures import PlacedImage, about, write_json


def write(pictures: Sequence[PlacedImage], folder: Path) -> None:
    """The file; images lie in ``images``."""
    classes = sorted({picture.row["label"] for picture in pictures})
    codes = {name: code for code, name in enumerate(classes, 1)}
    images, annotations = [], []
    for number, (name, width, height, row) in enumerate(pictures, 1):
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        own = {
            "id": number, "image_id": number, "category_id": codes[row["label"]], "bbox": [0, 0, width, height],
            "area": width * height, "segmentation": [], "iscrowd": 0, "whole_image": True,
        }  # fmt: skip
        rest = {free_name(key, own): value for key, value in about(row).items() if key != "label"}
        annotations.append({**own, **rest})
    categories = [{"id": code, "name": name, "supercategory": ""} for name, code in codes.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(folder / "annotations" / "instances_default.json", content)
