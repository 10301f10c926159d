"""Images that are no files of their own: a stretch of bytes within a file, as a path.

    shards/000.tar#1536+20480/cat/0001.jpg     20,480 bytes of shards/000.tar from byte 1536, called cat/0001.jpg there

So a shard is never unpacked, any of its images is read by itself, and a run goes on within it.
"""

import io
import os
import re
import stat
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from diva.store import remote

PART = re.compile(r"(.+?\.(?i:tar))#(\d{1,15})\+(\d{1,10})/")
LARGEST = 1 << 28  # bytes of an image


class NotAFileError(ValueError):
    """What lies at a path is no regular file."""


class Part(NamedTuple):
    """Where bytes lie: in which file, from which byte, how many."""

    file: Path
    start: int
    size: int


def path_of(file: Path, start: int, size: int, name: str) -> Path:
    """The path of a part; of ``name`` only what cannot lead anywhere stays."""
    steps = [step for step in PurePosixPath(name.replace("\\", "/")).parts if step not in ("/", "..", ".")]
    return Path(f"{file.as_posix()}#{start}+{size}") / "/".join(steps or ["image"])


def part_of(path: str | Path) -> Part | None:
    """The part that a path names; None where it is that of a whole file."""
    match = PART.match(Path(path).as_posix())
    return Part(Path(match[1]), int(match[2]), int(match[3])) if match else None


def file_of(path: str | Path) -> Path:
    """The file in which an image lies; of one elsewhere, its place among the names that are here."""
    part = part_of(path)
    return remote.in_tree(part.file if part else path)


def named(path: Path) -> str:
    """A path as manifests have it: of a file elsewhere, its URL."""
    part = part_of(path)
    file = part.file if part else path
    url = remote.url_of(file)
    return path.as_posix() if url is None else url + path.as_posix()[len(file.as_posix()) :]


def is_there(path: str | Path) -> bool:
    """Whether the file of an image is a regular file that reaches as far as the image does."""
    part = part_of(path)
    try:
        file = file_of(path)
        seen = (file if file.exists() else remote.local(file)).stat()
    except (OSError, remote.FetchError):
        return False
    return stat.S_ISREG(seen.st_mode) and (part is None or seen.st_size >= part.start + part.size)


def read(path: str | Path) -> bytes:
    """The bytes of an image.

    Raises:
        NotAFileError: a folder, a named pipe or a device.
        OSError: nothing lies there, it is too short, or it may not be read.
    """
    part = part_of(path)
    file = part.file if part else Path(path)
    if remote.url_of(file) is None and not stat.S_ISREG(file.stat().st_mode):  # a named pipe would wait for ever
        raise NotAFileError("a folder, a named pipe or a device")
    if part is None:
        with remote.stream(file) as stream:
            return stream.read()
    if part.size > LARGEST:
        raise OSError(f"{part.size} bytes, more than {LARGEST}")
    with remote.stream(file) as stream:
        stream.seek(part.start, os.SEEK_SET)
        content = stream.read(part.size)
    if len(content) < part.size:
        raise OSError(f"{file.name} is cut short")
    return content


def opened(path: str | Path) -> str | Path | io.BytesIO:
    """What PIL opens: the path of a file, or the bytes of a part, or of a file elsewhere."""
    return io.BytesIO(read(path)) if part_of(path) or remote.url_of(path) else path
