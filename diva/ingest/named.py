"""Data sets by name: the paper's eight, and torchvision's."""

import hashlib
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from diva.ingest.images import Listed
from diva.ingest.readers import ImageSource
from diva.store.manifest import Delivery
from diva.text.labels import normalized


class TorchvisionOptions(BaseModel):
    """Which part of a torchvision data set; ``root``: where its files lie or shall stay (None: nowhere)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str = "train"
    root: str | None = None


class DataSetOptions(BaseModel):
    """Which part of a data set of the paper; ``root``: where it lies, or shall lie once it is fetched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["train", "test"] = "train"
    root: str = "downloads"


class DataSetSource:
    """A data set of the paper, its images in place below its root.

    Args:
        name: in `diva.ingest.catalog`.
        options: which part of it, and where it lies.
        workers: threads that read files.
        max_pixels: images with more are set aside.
    """

    def __init__(self, name: str, options: DataSetOptions, workers: int, max_pixels: int) -> None:
        from diva.ingest import catalog

        self.name, self.options, self.workers, self.max_pixels = catalog.get(name).name, options, workers, max_pixels

    def checksum(self) -> str:
        """Of name and part alone; archives are checked when they are unpacked, where their authors give a checksum."""
        return "sha256:" + hashlib.sha256(f"dataset:{self.name}:{self.options.split}".encode()).hexdigest()

    def read(self, folder: Path) -> Delivery:
        """Fetch it where it is absent; ``folder`` takes images that lie in no files of their own."""
        from diva.ingest import catalog

        labelled = catalog.listing(self.name, self.options.split, Path(self.options.root), folder)
        listed = [Listed(path, f"{number:06d}-{path.name}", label) for number, (path, label) in enumerate(labelled)]
        return ImageSource(listed, self.workers, self.max_pixels).read(folder)


class TorchvisionSource:
    """A data set of torchvision, written out as PNG files.

    Args:
        name: the class in ``torchvision.datasets``.
        options: which part of it, and where its files lie.
        workers: threads that read the files back.
        max_pixels: images with more are set aside.
    """

    def __init__(self, name: str, options: TorchvisionOptions, workers: int, max_pixels: int) -> None:
        self.name, self.options, self.workers, self.max_pixels = name, options, workers, max_pixels

    def checksum(self) -> str:
        """Of name and part alone; the files' own checksums are torchvision's to verify when it downloads them."""
        return "sha256:" + hashlib.sha256(f"torchvision:{self.name}:{self.options.split}".encode()).hexdigest()

    def read(self, folder: Path) -> Delivery:
        """Download where needed, write the images into ``folder``, describe them."""
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder.parent) as temporary:
            listed = self._write(folder, self.options.root or temporary)
        return ImageSource(listed, self.workers, self.max_pixels).read(folder)

    def _write(self, folder: Path, root: str) -> list[Listed]:
        from diva.vision.datasets import torchvision_data_set  # the one branch that imports torchvision

        images_and_labels = torchvision_data_set(self.name, root, self.options.split, download=True)
        classes = getattr(images_and_labels, "classes", None)
        listed = []
        for number, (image, label) in enumerate(images_and_labels):
            path = folder / f"{number:06d}.png"
            image.save(path, format="PNG")
            listed.append(Listed(path, path.name, normalized(classes[label] if classes else label)))
        return listed
