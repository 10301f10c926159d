"""Samples with the bytes of their images, these in pieces of a bounded size, and samples as files in a folder."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from diva.store import manifest
from diva.text.targets import label_names

PIECE = 1 << 28  # bytes of images in a file
ROWS = 10_000  # samples in a file


class ExportedImage(NamedTuple):
    """A sample: the name of its file, its bytes, and what the release says of it."""

    name: str
    content: bytes
    row: dict[str, Any]


class PlacedImage(NamedTuple):
    """A sample: its file in the folder ``images``, width and height of that, and what the release says of it."""

    name: str
    width: int
    height: int
    row: dict[str, Any]


def labels_of(text: str | None) -> list[str]:
    """The labels of a sample: several where samples have several; none where it has none yet."""
    if text is None:
        return []
    return label_names(text) if manifest.task() == "multilabel" else [text]


def about(row: dict[str, Any]) -> dict[str, Any]:
    """What the release says of a sample, as JSON has it: what has no value, and its path here, are not in it."""
    return {key: _value(value) for key, value in row.items() if key != "path" and value is not None and value == value}


def _value(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)


def write_json(path: Path, content: Any) -> None:
    """A JSON file that people can read."""
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def pieces(pictures: Iterable[ExportedImage]) -> Iterator[list[ExportedImage]]:
    """Consecutive samples, so many as a file holds."""
    piece: list[ExportedImage] = []
    size = 0
    for picture in pictures:
        if piece and (size + len(picture.content) > PIECE or len(piece) >= ROWS):
            yield piece
            piece, size = [], 0
        piece.append(picture)
        size += len(picture.content)
    if piece:
        yield piece
