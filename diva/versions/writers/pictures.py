"""Samples with the bytes of their images, and these in pieces of a bounded size."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

PIECE = 1 << 28  # bytes of images in a file
ROWS = 10_000  # samples in a file


class ExportedImage(NamedTuple):
    """A sample: the name of its file, its bytes, and what the release says of it."""

    name: str
    content: bytes
    row: dict[str, Any]


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
