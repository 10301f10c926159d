"""What every format gives: the files it is made of, and its samples."""

import re
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from diva.ingest import archives
from diva.ingest.images import MAX_PIXELS, Fault, Listed
from diva.store import parts

CLIMBS = Fault("path outside of the delivery", "Put the image into the folder, and name it by a path from there.")
LABELS = ("label", "labels", "class", "class_name", "category", "target", "cls", "label_name", "fine_label", "y")


class FormatOptions(BaseModel):
    """How a delivery is read: its format, what its columns path and label are called, which split it is.

    ``max_bytes``: what the images that do not lie in files of their own may take up; None as of archives.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    columns: dict[Literal["path", "label"], str] = {}
    split: str | None = None
    max_bytes: int | None = Field(None, ge=1)


class Listing(NamedTuple):
    """The samples of a delivery, and what it says of each beside label and group, a row each."""

    listed: list[Listed]
    further: pl.DataFrame


class Layout(Protocol):
    """A delivery in a format.

    Attributes:
        title: of the format, for people.
    """

    title: str

    def files(self) -> list[Path]:
        """What it is made of, for its checksum; images that lie in files of their own are counted by themselves."""
        ...

    def listing(self, folder: Path | None, max_pixels: int = MAX_PIXELS) -> Listing:
        """Its samples.

        Args:
            folder: takes images that lie in no readable file; None: they are not wanted, only named.
            max_pixels: images with more are not decoded.
        """
        ...


class Shard:
    """Images as one uncompressed tar below a folder, which names each by the bytes where it lies.

    Args:
        folder: None where images are not wanted, only named.
        origin: the files that they come from, which limit how large it may become.
        max_bytes: how large it may become otherwise.
    """

    def __init__(self, folder: Path | None, origin: Sequence[Path], max_bytes: int | None = None) -> None:
        self.path = folder / "images.tar" if folder else None
        if folder:
            size = sum(file.stat().st_size for file in origin if file.is_file())
            self.most = archives.most_bytes(size, max_bytes, shutil.disk_usage(folder).free)
        self._file = tarfile.TarFile.open(self.path, "w", format=tarfile.USTAR_FORMAT) if self.path else None

    def add(self, content: bytes, name: str) -> Path:
        """Where the image lies now."""
        import io

        if self._file is None or self.path is None:
            return Path(name)
        if self._file.offset + len(content) > self.most:
            raise ValueError(
                f"{self.path} must take up at most {self.most} bytes, got more: the delivery may be a bomb. If it is "
                "not, give the batch the option max_bytes."
            )
        member = tarfile.TarInfo(f"{self._file.offset // tarfile.BLOCKSIZE:012d}")
        member.size = len(content)
        self._file.addfile(member, io.BytesIO(content))
        end = self._file.offset
        start = end - -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return parts.path_of(self.path, start, len(content), name)

    def close(self) -> None:
        """Write its end."""
        if self._file is not None:
            self._file.close()


def inside(folder: Path, name: str) -> Path | None:
    """The file of this name below a folder; None where it leads elsewhere, also by a link."""
    path = folder / name.replace("\\", "/")
    return path if path.resolve().is_relative_to(folder.resolve()) else None


def braces(name: str) -> list[str]:
    """``{000..012}`` as the numbers it stands for; any other name alone."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", name)
    if match is None:
        return [name]
    width, (first, last) = len(match[1]), (int(match[1]), int(match[2]))
    numbers = range(first, last + 1) if last - first < 1_000_000 else ()
    ends = (f"{name[: match.start()]}{number:0{width}d}{name[match.end() :]}" for number in numbers)
    return [whole for end in ends for whole in braces(end)]


def only(names: Sequence[str], what: str, where: str, flag: str) -> str:
    """The one name there is; ValueError that says how to choose among several."""
    if len(names) != 1:
        got = ", ".join(names) or "none"
        raise ValueError(f"{where} must have one {what}, got {got}; choose by {flag}.")
    return names[0]


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says in single values."""
    return {key: value for key, value in record.items() if isinstance(value, str | int | float | bool)}


def frame_of(records: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Records, a row each, as a table; a value that has several types is text."""
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {}
    for name in names:
        values = [record.get(name) for record in records]
        kinds = {type(value) for value in values if value is not None}
        mixed = len(kinds) > 1 and not kinds <= {int, float}
        columns[name] = pl.Series(
            [None if value is None else str(value) for value in values] if mixed else values, strict=False
        )
    return pl.DataFrame(columns) if columns else pl.DataFrame([{}] * len(records))
