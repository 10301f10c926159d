"""CVAT: annotations.xml (CVAT for images 1.1) beside the images; a tag is the label of an image, a box a box in it.

Of polygons the box around them is cut out. Attributes stay as columns of text. Images are looked for beside the XML
file and in ``images`` there.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element  # nosec B405

from diva.ingest import annotations
from diva.ingest.formats.boxes import TURNED, AnnotatedImage, Box, Boxes, around, described, located
from diva.ingest.formats.listing import FormatOptions
from diva.text.labels import normalized

NAME = "cvat"
SHAPES = ("polygon", "polyline", "points")
SIDES = ("xtl", "ytl", "xbr", "ybr")


def recognises(source: str) -> bool:
    """Whether a source is such a file, or a folder that holds one."""
    described_here = described(source, ".xml", _looks_so) is not None
    return described_here and Cvat(source, FormatOptions(format=NAME, max_bytes=None)).is_whole()


def _looks_so(file: Path) -> bool:
    try:
        return any(True for _ in annotations.cvat_images(file))
    except (ValueError, OSError):
        return False


class Cvat(Boxes):
    """What people said of images in CVAT.

    Args:
        source: the XML file, or the folder that holds it.
        options: ``max_bytes``: what the cuts may take up.
    """

    names_all = True
    title = "an export of CVAT"

    def __init__(self, source: str, options: FormatOptions) -> None:
        super().__init__(source, options, described(source, ".xml", _looks_so))

    def drawn(self) -> Iterator[AnnotatedImage]:
        """The images and what is drawn in them."""
        here = self.file.parent
        for image in annotations.cvat_images(self.file):
            name = image.get("name", "")
            boxes = [box for number, shape in enumerate(image) if (box := _box(number, shape))]
            yield AnnotatedImage(name, located(name, here, here / "images"), boxes)


def _box(number: int, shape: Element) -> Box | None:
    label = normalized(shape.get("label"))
    rest = {str(each.get("name")): each.text for each in shape.iter("attribute") if each.get("name")}
    if shape.tag == "tag":
        return Box("", label, rest=rest)
    try:
        if shape.tag == "box":
            x0, y0, x1, y1 = (float(shape.get(side, "")) for side in SIDES)
        elif shape.tag in SHAPES:
            points = [point.partition(",") for point in shape.get("points", "").split(";")]
            x0, y0, width, height = around((float(x), float(y)) for x, _, y in points)
            x1, y1 = x0 + width, y0 + height
        else:
            return None
    except ValueError:
        return Box(str(number), label, (), rest)
    turned = float(shape.get("rotation") or 0) != 0
    return Box(str(number), label, (x0, y0, x1 - x0, y1 - y0), rest, fault=TURNED if turned else None)
