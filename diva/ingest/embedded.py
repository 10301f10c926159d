"""The embedded default: scikit-learn's digits (1797 images of 8 by 8 pixels), with wrong labels planted on purpose.

One fixed permutation of all images is cut into slices, so batches with different offsets never share an image.
"""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from diva.ingest.images import digest, pixels
from diva.store import manifest

ORDER_SEED = 0
COUNT = 1797
CLASSES = 10


class DigitsOptions(BaseModel):
    """Which slice of the permuted digits, and how many of its labels are made wrong.

    Attributes:
        offset: where the slice begins.
        size: images in the slice.
        wrong: share of labels planted wrong.
        seed: which labels are planted wrong, and what they become.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    offset: int = Field(0, ge=0, lt=COUNT)
    size: int = Field(COUNT, ge=0)
    wrong: float = Field(0.0, ge=0.0, le=1.0)
    seed: int = Field(0, ge=0)


def plant(labels: np.ndarray, wrong: float, seed: int) -> np.ndarray:
    """``labels`` (n,) with a share ``wrong`` of them (to the nearest row) changed, uniformly over the other classes."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(labels))[: round(wrong * len(labels))]
    planted = labels.copy()
    planted[rows] = (labels[rows] + rng.integers(1, CLASSES, len(rows))) % CLASSES
    return planted


class Digits:
    """A slice of the digits as a source: written as PNG files, labels "0" to "9".

    Args:
        options: the slice.
    """

    def __init__(self, options: DigitsOptions) -> None:
        if options.offset + options.size > COUNT:
            raise ValueError(f"options.size must be at most {COUNT - options.offset} from there, got {options.size}.")
        self.options = options

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images (n, 8, 8) uint8, given labels (n,), true labels (n,)."""
        from sklearn.datasets import load_digits  # a second of imports that only this source needs

        digits = load_digits()
        rows = np.random.default_rng(ORDER_SEED).permutation(COUNT)
        rows = rows[self.options.offset : self.options.offset + self.options.size]
        images = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)  # grey levels 0 to 16
        true = digits.target[rows].astype(np.int64)
        return images, plant(true, self.options.wrong, self.options.seed), true

    def checksum(self) -> str:
        """Checksum of the images and of the labels as given."""
        images, labels, _ = self._arrays
        return "sha256:" + hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()

    def read(self, folder: Path) -> manifest.Delivery:
        """Write the images into ``folder`` and describe them."""
        images, labels, true = self._arrays
        names = [folder / f"{number:05d}.png" for number in range(len(images))]
        for name, image in zip(names, images, strict=True):
            # stored, not deflated: the same bytes, hence the same ids, whichever zlib is installed
            Image.fromarray(image).save(name, format="PNG", compress_level=0)
        ids = [(digest(name) or "")[: manifest.ID_LENGTH] for name in names]
        rows = [
            manifest.Sample(sample_id, name.as_posix(), str(label), image.shape[1], image.shape[0], pixels=pixels(name))
            for sample_id, name, label, image in zip(ids, names, labels, images, strict=True)
        ]
        truth = pl.DataFrame({"sample_id": ids, "true_label": [str(label) for label in true]}, dict(manifest.TRUTH))
        return manifest.Delivery(manifest.samples(rows), manifest.refusals([]), truth)
