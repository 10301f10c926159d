"""YOLO: images, and beside each a text with a box a line, the number of its class first.

    data.yaml   names of classes, and for each split a folder of images, several, or a .txt that lists them
    classes.txt or obj.names, where there is no data.yaml: names of classes, one a line, for the folder's images

    images/train/1.jpg  →  labels/train/1.txt, or 1.txt beside it:   class x y width height, or class and an outline

Numbers are parts of the image's width and height; x and y are the middle. Folders of classes, as YOLO classifies, are
folders of classes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from diva.ingest.folders import images_below
from diva.ingest.formats.boxes import AnnotatedImage, Box, Boxes, around
from diva.ingest.formats.listing import FormatOptions, inside
from diva.ingest.images import Fault
from diva.text.labels import normalized

NAME = "yolo"
PARTS = ("train", "val", "test")
NAMES = ("classes.txt", "obj.names")
LARGEST = 1 << 20  # bytes of a description
NAMELESS = "Name it where the classes are named, or correct the first number of the line."
LINE = Fault("line that is no box", "Write the number of a class, then x, y, width and height, each at most 1.")


def recognises(source: str) -> bool:
    """Whether a source is such a description, or a folder that holds one."""
    return _described(source)[0] is not None


def splits(source: str) -> list[str]:
    """The splits that a source holds; none where it is not divided."""
    content = _described(source)[1]
    return [part for part in PARTS if content.get(part)]


def _described(source: str) -> tuple[Path | None, dict[str, Any]]:
    """The file that names the classes, and what it says."""
    path = Path(source)
    root = path.parent if path.is_file() else path
    files = [path] if path.is_file() else sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    described = [(file, content) for file in files if (content := _content(file)).get("names")]
    described = [entry for entry in described if any(entry[1].get(part) for part in PARTS)]
    plain = [root / name for name in NAMES if (root / name).is_file() and path.is_dir()]
    described += [(file, {"names": file.read_text("utf-8").splitlines()}) for file in plain]
    with_boxes = described and any(_text(image, root).is_file() for image in images_below(root))
    return described[0] if with_boxes else (None, {})


def _content(file: Path) -> dict[str, Any]:
    if file.suffix.lower() not in (".yaml", ".yml") or file.stat().st_size > LARGEST:
        return {}
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _text(image: Path, root: Path) -> Path:
    """Where the boxes of an image below ``root`` stand: in ``labels`` for ``images``, or beside it."""
    steps = image.relative_to(root).parts
    for number in reversed(range(len(steps) - 1)):
        text = root.joinpath(*steps[:number], "labels", *steps[number + 1 :]).with_suffix(".txt")
        if steps[number] == "images" and text.is_file():
            return text
    return image.with_suffix(".txt")


class Yolo(Boxes):
    """Boxes as YOLO detects them.

    Args:
        source: data.yaml, or the folder that holds it.
        options: ``split``, and ``max_bytes``: what the cuts may take up.
    """

    title = "YOLO boxes"

    def __init__(self, source: str, options: FormatOptions) -> None:
        file, content = _described(source)
        super().__init__(source, options, file)
        several = splits(source)
        if several and options.split not in several:
            raise ValueError(f"{source} holds the splits {', '.join(several)}: choose one by --split.")
        names = content["names"]
        numbered = names.items() if isinstance(names, dict) else enumerate(names)
        self.names = {int(code): normalized(name) for code, name in numbered}
        self.root = inside(self.file.parent, str(content.get("path") or "")) or self.file.parent
        self.parts = content[options.split or ""] if several else str(self.file.parent)

    def texts(self) -> list[Path]:
        """The description, and the boxes of each image."""
        texts = (_text(image, self.file.parent) for _, image in self._images() if image)
        return [self.file, *(text for text in texts if text.is_file())]

    def drawn(self) -> Iterator[AnnotatedImage]:
        """The images of the split."""
        for name, image in self._images():
            text = _text(image, self.file.parent) if image else None
            lines = text.read_text("utf-8", "refolder").splitlines() if text and text.is_file() else []
            boxes = [self._box(number, line) for number, line in enumerate(lines, 1) if line.strip()]
            yield AnnotatedImage(name, image, boxes if image and image.is_file() else [Box("", None)])

    def _images(self) -> Iterator[tuple[str, Path | None]]:
        """Names and folders, each once."""
        return iter(dict.fromkeys(self._of_parts()))

    def _of_parts(self) -> Iterator[tuple[str, Path | None]]:
        for part in self.parts if isinstance(self.parts, list) else [self.parts]:
            folder = self._inside(str(part))
            if folder is None:
                yield str(part), None
            elif folder.is_dir():
                for file in images_below(folder):
                    name = file.relative_to(self.file.parent).as_posix()
                    yield name, inside(self.file.parent, name)
            else:
                lines = folder.read_text("utf-8", "refolder").splitlines() if folder.suffix.lower() == ".txt" else []
                for line in filter(None, map(str.strip, lines)):
                    image = self._inside(line)
                    yield (image.relative_to(self.file.parent).as_posix() if image else line), image

    def _inside(self, name: str) -> Path | None:
        """What a description names, from its ``path`` or its own folder; ../train/images as it is often written."""
        names = (name, name.removeprefix("../"))
        paths = [path for other in names for root in (self.root, self.file.parent) if (path := inside(root, other))]
        path = next((path for path in paths if path.exists()), paths[0] if paths else None)
        return path if path and path.resolve().is_relative_to(self.file.parent.resolve()) else None

    def _box(self, number: int, line: str) -> Box:
        try:
            code, *sides = map(float, line.split())
            label = self.names.get(int(code))
        except (ValueError, OverflowError):
            return Box(str(number), None, (), fault=LINE)
        if label is None or code != int(code):
            return Box(str(number), None, (), fault=Fault(f"class without a name: {line.split()[0]}", NAMELESS))
        if len(sides) >= 6 and len(sides) % 2 == 0:  # an outline
            return Box(str(number), label, around(zip(sides[::2], sides[1::2], strict=True)), relative=True)
        if len(sides) not in (4, 5):  # the fifth: how sure a network is
            return Box(str(number), label, (), fault=LINE)
        x, y, width, height = sides[:4]
        return Box(str(number), label, (x - width / 2, y - height / 2, width, height), relative=True)
