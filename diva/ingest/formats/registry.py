"""Formats by name, and which of them lies at a source; each is imported only where it is asked for."""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from diva.ingest import images
from diva.ingest.formats.listing import FormatOptions, Layout, Listing
from diva.ingest.images import Listed
from diva.ingest.readers import ImageSource
from diva.store import parts
from diva.store.manifest import Delivery

LAYOUTS = {
    "webdataset": "WebDataset",
    "huggingface": "HuggingFace",
    "coco": "Coco",
    "yolo": "Yolo",
    "labelstudio": "LabelStudio",
    "cvat": "Cvat",
}  # by module
SPLIT = ("huggingface", "yolo")  # formats whose sources may hold several


def recognised(source: str) -> str | None:
    """The format of what lies at a source; None where it is none of these."""
    for name in LAYOUTS:
        with _reading(source, name):
            if _module(name).recognises(source):
                return name
    return None


def opened(source: str, options: FormatOptions) -> Layout:
    """A delivery in the format that its options name; ValueError where there is none of that name."""
    if options.format not in LAYOUTS:
        raise ValueError(f"format must be one of {', '.join(LAYOUTS)}, got {options.format}.")
    with _reading(source, options.format):
        layout: Layout = getattr(_module(options.format), LAYOUTS[options.format])(source, options)
    return layout


@contextmanager
def _reading(source: str, name: str) -> Iterator[None]:
    """Whatever a description of another shape than its format has makes its reader raise names it, as ValueError."""
    try:
        yield
    except (
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        RecursionError,
        UnicodeDecodeError,
        JSONDecodeError,
    ) as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ValueError(f"{source} must be whole, as {name} lays it out, got {said}; write it again.") from None


def _module(name: str) -> Any:
    return importlib.import_module(f"diva.ingest.formats.{name}")


class FormatSource:
    """A delivery in one of the formats.

    Args:
        layout: what lies there.
        workers: threads that read files.
        max_pixels: images with more are set aside.
        unlabelled: whether images without a label are samples that wait for theirs.
    """

    def __init__(self, layout: Layout, workers: int, max_pixels: int, unlabelled: bool = False) -> None:
        self.layout, self.workers, self.max_pixels, self.unlabelled = layout, workers, max_pixels, unlabelled

    def checksum(self) -> str:
        """Over names and contents of its files."""
        return images.checksum((path.name, images.digest(path)) for path in self.layout.files())

    def read(self, folder: Path) -> Delivery:
        """One row per readable image, each content once; ``folder`` takes images that lie in no readable file."""
        listed, further = self._listing(folder)
        return ImageSource(listed, self.workers, self.max_pixels, None, self.unlabelled, further).read(folder)

    def listed(self) -> list[Listed]:
        """Its samples, whose images may lie nowhere yet."""
        return self._listing(None).listed

    def _listing(self, folder: Path | None) -> Listing:
        with _reading(str(self.layout.files()[0]), self.layout.title):
            return self.layout.listing(folder, self.max_pixels)


def options_of(source: str, split: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a source that is recognised: its format, and of several splits the one of this name."""
    name = given.get("format") or recognised(source)
    if name is None:
        return {}
    with _reading(source, name):
        splits = _module(name).splits(source) if name in SPLIT else []
    wanted = given.get("split") or (split if split in splits else None)
    rest = {key: value for key, value in given.items() if key == "columns" and value}
    return {"format": name, **rest, **({"split": wanted} if wanted else {})}


def files_of(listed: list[Listed]) -> tuple[str, ...]:
    """Paths of images that are there already."""
    return tuple(parts.named(entry.path) for entry in listed if parts.is_there(entry.path))
