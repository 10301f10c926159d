"""A release, or samples to label, for CVAT: annotations.xml (CVAT for images 1.1) with tags, labels.json for the task.

What the release says of a sample stands in its tag's attributes, as text. labels.json goes into the task's *Raw* labels
before the annotations are uploaded.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent  # nosec B405

from diva.versions.writers.pictures import PlacedImage, about, labels_of, write_json

UNWRITABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML lacks


def write(
    pictures: Sequence[PlacedImage], folder: Path, classes: Iterable[str] | None = None, source: str = "manual"
) -> None:
    """Both files; images lie in ``images``.

    Args:
        pictures: with their labels; None where one has none yet.
        folder: for both files.
        classes: labels that a task may give; None for those of the pictures.
        source: who labelled, ``manual`` or ``auto``.
    """
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    said = [{key: value for key, value in about(picture.row).items() if key != "label"} for picture in pictures]
    for number, ((name, width, height, row), rest) in enumerate(zip(pictures, said, strict=True)):
        image = SubElement(root, "image", id=str(number), name=name, width=str(width), height=str(height))
        for label in labels_of(row["label"]):
            tag = SubElement(image, "tag", label=_written(label), source=source)
            for key, value in rest.items():
                SubElement(tag, "attribute", name=_written(key)).text = _written(value)
    indent(root)
    ElementTree(root).write(folder / "annotations.xml", encoding="utf-8", xml_declaration=True)
    names = dict.fromkeys(_written(key) for rest in said for key in rest)
    fields = [{"name": name, "input_type": "text", "mutable": False, "values": [""]} for name in names]
    labels = [picture.row["label"] for picture in pictures] if classes is None else classes
    classes = sorted({_written(label) for text in labels for label in labels_of(text)})
    write_json(folder / "labels.json", [{"name": name, "type": "tag", "attributes": fields} for name in classes])


def _written(value: Any) -> str:
    return UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", str(value))
