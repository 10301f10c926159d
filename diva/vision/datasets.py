"""Images as a torch data set whose broken files are values, not exceptions; and torchvision's own data sets by name."""

import difflib
import errno
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from diva.store.features import Failure
from diva.store.remote import FetchError
from diva.vision import jpeg
from diva.vision.decoding import ChangedFileError, NotAFileError, decode, read_bytes
from diva.vision.transforms import Transform, steps

T = TypeVar("T")

SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # the machine's fault, not the file's, which stays in the batch
LESS = "Lower extract.batch_size or extract.workers, or free what others hold; the next run goes on where this stopped."


class ImageBatch(NamedTuple):
    """Consecutive files: (m, 3, h, w) tensor of those that could be read, and the failures among them."""

    images: Tensor
    failures: list[Failure]


class ImageFiles(Dataset[Tensor | Failure]):
    """Image files, transformed.

    Args:
        paths: of the files.
        transform: from an RGB image to a tensor (3, h, w).
        checksums: leading digits of the SHA-256 of each file's bytes, checked where given.
        max_pixels: an image with more is a failure; PIL's own limit where not given.
    """

    def __init__(
        self,
        paths: Sequence[str],
        transform: Transform,
        checksums: Sequence[str] | None = None,
        max_pixels: int | None = None,
    ) -> None:
        self.paths, self.transform, self.checksums, self.max_pixels = paths, transform, checksums, max_pixels
        self.steps = steps(transform)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor | Failure:
        image = self.pixels(row)
        return self.steps.normalize(image[None])[0] if self.steps and isinstance(image, Tensor) else image

    def pixels(self, row: int) -> Tensor | Failure:
        """(3, h, w): bytes where ``steps`` normalizes them, else what the transform gives."""
        return self._entry(row, self._decoded)

    def encoded(self, row: int) -> jpeg.Encoded | Tensor | Failure:
        """The bytes of a JPEG file that a GPU can decode; of any other file ``pixels``."""
        return self._entry(row, lambda data: jpeg.encoded(data, self.max_pixels) or self._decoded(data))

    def _decoded(self, data: bytes) -> Tensor:
        image = decode(data, self.max_pixels)
        return self.steps.pixels(image) if self.steps else self.transform(image)

    def _entry(self, row: int, make: Callable[[bytes], T]) -> T | Failure:
        try:
            return make(read_bytes(self.paths[row], self.checksums[row] if self.checksums else None))
        except MemoryError:
            raise MemoryError(f"{self.paths[row]} must fit into memory beside all else. {LESS}") from None
        except FetchError:
            raise
        except Exception as error:  # decoders raise anything, and one bad file must not stop the run
            if isinstance(error, OSError) and error.errno in SHORT:
                raise OSError(error.errno, f"{error.strerror}. {LESS}", self.paths[row]) from None
            return failure(row, self.paths[row], error)


def failure(row: int, path: str | Path, error: Exception) -> Failure:
    """What to say of a file that could not be read."""
    if isinstance(error, FileNotFoundError):
        return Failure(row, "missing file", "Put the file back, or take it out of the delivery.")
    if isinstance(error, ChangedFileError):
        return Failure(row, f"changed file: {error}", "Put the old file back, or run download again.")
    if isinstance(error, NotAFileError):
        return Failure(row, f"not a file: {error}", "Put the image itself there, or take it out of the delivery.")
    if isinstance(error, Image.DecompressionBombError):
        return Failure(row, f"too many pixels: {error}", "Scale the image down.")
    if isinstance(error, UnidentifiedImageError):
        return Failure(
            row,
            "zero bytes" if _is_empty(path) else "not an image",
            "Copy the file again, or take it out of the delivery.",
        )
    if isinstance(error, OSError) and error.errno:  # the system's, not a decoder's
        remedy = "Give read permission, or put the file there again."
        return Failure(row, f"not readable: {(error.strerror or '').lower()}", remedy)
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return Failure(row, f"damaged image: {said}", "Copy the file again, or take it out of the delivery.")


def _is_empty(path: str | Path) -> bool:
    try:
        return Path(path).stat().st_size == 0
    except OSError:  # gone meanwhile
        return False


def collate(entries: Sequence[Tensor | Failure]) -> ImageBatch:
    """Entries of ``ImageFiles`` as one batch."""
    # channels last in memory, as decoders give them and networks want them
    images = [entry.permute(1, 2, 0) for entry in entries if isinstance(entry, Tensor)]
    failures = [entry for entry in entries if isinstance(entry, Failure)]
    return ImageBatch(torch.stack(images).permute(0, 3, 1, 2) if images else torch.empty(0), failures)


def torchvision_data_set(name: str, root: str | Path, split: str = "train", download: bool = False) -> Any:
    """A torchvision data set by the name of its class: entries are (image, label).

    Args:
        name: for instance "CIFAR10".
        root: folder of its files.
        split: "train", "test", or what the data set itself calls its parts; ignored where it has none.
        download: fetch the files where they are absent.

    Raises:
        ValueError: torchvision has no data set of that name.
    """
    import torchvision  # seconds that other images need not wait

    if name not in torchvision.datasets.__all__:
        folded = {data_set.lower(): data_set for data_set in torchvision.datasets.__all__}
        similar = [folded[word] for word in difflib.get_close_matches(name.lower(), folded)]
        raise ValueError(f"name must be a data set of torchvision, got {name}; near: {', '.join(similar) or 'none'}.")
    factory = getattr(torchvision.datasets, name)
    wanted = {"root": str(root), "train": split == "train", "split": split, "download": download}
    accepted = inspect.signature(factory).parameters
    return factory(**{key: value for key, value in wanted.items() if key in accepted})
