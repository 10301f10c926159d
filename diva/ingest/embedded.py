"""Sources that the package brings, with wrong labels planted on purpose: drawn textures and scikit-learn's digits.

A slice of a fixed order is a delivery, so batches with different offsets never share an image.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from diva.ingest.images import digest, pixels
from diva.store import manifest

ORDER_SEED = 0
DIGITS = 1797
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class SliceOptions(BaseModel):
    """Which slice, and how many of its labels are made wrong.

    Attributes:
        offset: where the slice begins.
        size: images in the slice.
        wrong: share of labels planted wrong, uniformly over the other classes.
        seed: which labels are planted wrong, and what they become.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    offset: int = Field(0, ge=0)
    size: int = Field(DIGITS, ge=0)
    wrong: Share = 0.0
    seed: int = Field(0, ge=0)


class TextureOptions(SliceOptions):
    """The same for textures, whose classes may be taken for each other.

    Attributes:
        mistaken: by class, the share of its images whose label is the next class's, in alphabetical order.
    """

    size: int = Field(1000, ge=0)
    mistaken: Mapping[str, Share] = Field(default_factory=dict)


def plant(labels: np.ndarray, wrong: float, seed: int, classes: int = 10) -> np.ndarray:
    """``labels`` (n,) with a share ``wrong`` of them (to the nearest row) changed, uniformly over the other classes."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(labels))[: round(wrong * len(labels))]
    planted = labels.copy()
    planted[rows] = (labels[rows] + rng.integers(1, classes, len(rows))) % classes
    return planted


@dataclass(frozen=True)
class Slice:
    """A slice of images that the package brings, as a source: written as PNG files.

    Attributes:
        classes: k names.
        true: codes (n,) of the true classes.
        labels: codes (n,) of the classes as given.
        draw: gives image i, (height, width) or (height, width, 3) uint8.
        content: what tells this delivery from others.
    """

    classes: tuple[str, ...]
    true: np.ndarray
    labels: np.ndarray
    draw: Callable[[int], np.ndarray]
    content: bytes

    def checksum(self) -> str:
        """Checksum of the images and of the labels as given."""
        return "sha256:" + hashlib.sha256(self.content).hexdigest()

    def read(self, folder: Path) -> manifest.Delivery:
        """Write the images into ``folder`` and describe them."""
        rows, true = [], [self.classes[code] for code in self.true]
        for number, code in enumerate(self.labels):
            image, path = self.draw(number), folder / f"{number:05d}.png"
            # stored, not deflated: the same bytes, hence the same ids, whichever zlib is installed
            Image.fromarray(image).save(path, format="PNG", compress_level=0)
            sample_id = (digest(path) or "")[: manifest.ID_LENGTH]
            height, width = image.shape[:2]
            rows.append(
                manifest.Sample(sample_id, path.as_posix(), self.classes[code], width, height, pixels=pixels(path))
            )
        ids = [row.sample_id for row in rows]
        truth = pl.DataFrame({"sample_id": ids, "true_label": true}, dict(manifest.TRUTH))
        return manifest.Delivery(manifest.samples(rows), manifest.refusals([]), truth)


def digits(options: SliceOptions) -> Slice:
    """Handwritten digits, 8 by 8 pixels, labels "0" to "9"; 1797 in a permuted order."""
    from sklearn.datasets import load_digits  # a second of imports that only this source needs

    end = options.offset + options.size
    if end > DIGITS:
        raise ValueError(f"options.size must be at most {DIGITS - options.offset} from there, got {options.size}.")
    bunch = load_digits()
    rows = np.random.default_rng(ORDER_SEED).permutation(DIGITS)[options.offset : end]
    images = np.rint(bunch.images[rows] * (255 / 16)).astype(np.uint8)  # grey levels 0 to 16
    true = bunch.target[rows].astype(np.int64)
    labels = plant(true, options.wrong, options.seed)
    content = images.tobytes() + labels.astype("<i8").tobytes()
    return Slice(tuple(map(str, range(10))), true, labels, images.__getitem__, content)


def textures(options: TextureOptions) -> Slice:
    """Pictures of ten materials, 96 by 96 pixels, without end; see `diva.ingest.textures`.

    The checksum is of what they are drawn from: a sine's last bit may differ between machines.
    """
    from diva.ingest.textures import MATERIALS, REVISION, draw  # scipy's trees, which only this source needs

    classes = tuple(MATERIALS)
    if unknown := sorted(set(options.mistaken) - set(classes)):
        raise ValueError(f"options.mistaken must name classes of {', '.join(classes)}, got {unknown[0]!r}.")
    numbers = np.arange(options.offset, options.offset + options.size)
    true = numbers % len(classes)
    labels = plant(true, options.wrong, options.seed, len(classes))
    rng = np.random.default_rng([options.seed, 1])
    for name, share in sorted(options.mistaken.items()):
        code = classes.index(name)
        rows = rng.permutation(np.flatnonzero(labels == code))
        labels[rows[: round(share * len(rows))]] = (code + 1) % len(classes)
    content = np.array([REVISION, options.offset, options.size, *labels], "<i8").tobytes()
    return Slice(classes, true, labels, lambda row: draw(classes[true[row]], int(numbers[row])), content)
