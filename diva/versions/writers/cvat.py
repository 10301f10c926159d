"""A release for CVAT: annotations.xml (CVAT for images 1.1) with a tag each image, and labels.json for the task.

What the release says of a sample stands in its tag's attributes, as text. labels.json goes into the task's *Raw* labels
before the annotations are uploaded.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent  # nosec B405

from diva.versions.writers.pictures import PlacedImage, about, write_json

UNWRITABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML lacks


def write(pictures: Sequence[PlacedImage], folder: Path) -> None:
    """Both files; images lie in ``images``."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    said = [{key: value for key, value in about(picture.row).items() if key != "label"} for picture in pictures]
    for number, ((name, width, height, row), rest) in enumerate(zip(pictures, said, strict=True)):
        image = SubElement(root, "image", id=str(number), name=name, width=str(width), height=str(height))
        tag = SubElement(image, "tag", label=_written(row["label"]), source="manual")
        for key, value in rest.items():
            SubElement(tag, "attribute", name=_written(key)).text = _written(value)
    indent(root)
    ElementTree(root).write(folder / "annotations.xml", encoding="utf-8", xml_declaration=True)
    names = dict.fromkeys(_written(key) for rest in said for key in rest)
    fields = [{"name": name, "input_type": "text", "mutable": False, "values": [""]} for name in names]
    classes = sorted({_written(picture.row["label"]) for picture in pictures})
    write_json(folder / "labels.json", [{"name": name, "type": "tag", "attributes": fields} for name in classes])


def _written(value: Any) -> str:
    return UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", str(value))
