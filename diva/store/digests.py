"""Digests of files."""

import hashlib
from pathlib import Path

from diva.text.progress import track

PIECE = 1 << 20  # bytes that are hashed at once


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    return digest(path, "sha256")


def digest(path: Path, kind: str) -> str:
    """Hexadecimal digest of a file's bytes, as many as its size says: files of the kernel have none, and some no end.

    md5 and sha1 are for what others published or DVC wrote; they guard against a broken transfer, not against anybody.
    """
    value, size = hashlib.new(kind, usedforsecurity=False), path.stat().st_size
    with path.open("rb") as file:
        for piece in track(iter(lambda: file.read(min(PIECE, size - file.tell())), b""), size, "bytes", len):
            value.update(piece)
    return value.hexdigest()
