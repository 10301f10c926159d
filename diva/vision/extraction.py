"""Runs a backbone over image files: batches from worker processes, blocks of features out, broken files set aside.

A row's features depend on neither the batch size nor the number of workers, but for rounding. On CUDA a trained
network runs in mixed precision; memory that does not suffice halves the batch, and the run goes on.
"""

import itertools
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import PIL
import torch
import torchvision
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from diva.store.features import Failure
from diva.vision.backbones import Backbone
from diva.vision.datasets import LESS, ImageFiles, collate
from diva.vision.transforms import Transform, describe

logger = logging.getLogger(__name__)
QUIET = 30.0  # seconds between lines of progress where no terminal shows a bar


class Block(NamedTuple):
    """Consecutive rows: which have features, these features (m, p) float32, and the failures among them."""

    rows: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]
    failures: list[Failure]


class Speed(NamedTuple):
    """A measurement: images per second once running, and how many images it took."""

    images_per_second: float
    images: int


def pick_device(device: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU; ValueError where the device asked for is absent."""
    if device not in ("auto", "cpu") and not device.startswith("cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {device}.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("device must be present, got cuda without a usable GPU; set device to auto or cpu.")
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


def extract(
    backbone: Backbone,
    files: ImageFiles,
    *,
    start: int = 0,
    batch_size: int = 64,
    workers: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> Iterator[Block]:
    """Features of the files from row ``start`` on, in order, a block per batch.

    Args:
        backbone: cut network; moved to the device.
        files: paths and transform.
        start: rows before it are done already.
        batch_size: images per forward pass.
        workers: processes that decode; 0 decodes in this one.
        device: "auto", "cpu" or "cuda".
        progress: show a bar (a terminal) or a line now and then (a log).
    """
    place = pick_device(device)
    network = Forward(backbone, place)
    done = start
    with Progress(start, len(files), progress) as shown:
        for images, failures in batches(files, start, batch_size, workers, pin=place.type == "cuda"):
            count = len(images) + len(failures)
            gone = [failure.row for failure in failures]
            rows = np.setdiff1d(np.arange(done, done + count), np.array(gone, dtype=np.int64), assume_unique=True)
            done += count
            shown.update(count)
            yield Block(rows, network(images) if len(images) else np.empty((0, backbone.width), np.float32), failures)


def batches(files: ImageFiles, start: int, batch_size: int, workers: int, pin: bool = False) -> Any:
    """A loader of the rows from ``start`` on."""
    rest = Subset(files, range(start, len(files)))
    processes = min(workers, -(-len(rest) // batch_size))
    return DataLoader(
        rest,
        batch_size,
        num_workers=processes,
        # a fork would copy whatever threads and exit handlers the caller has; a fresh interpreter has none
        multiprocessing_context="spawn" if processes else None,
        collate_fn=collate,
        pin_memory=pin,
    )


class Forward:
    """The forward pass on a device, in batches as large as its memory takes."""

    def __init__(self, backbone: Backbone, device: torch.device) -> None:
        self.backbone = backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        # activations of untrained networks may shrink below half precision from layer to layer
        self.mixed = device.type == "cuda" and backbone.trained
        self.limit: int | None = None

    def __call__(self, images: Tensor) -> npt.NDArray[np.float32]:
        """(m, 3, h, w) to (m, p) float32."""
        size = min(self.limit or len(images), len(images))
        try:
            parts = [self._forward(part) for part in torch.split(images, size)]
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if size == 1:
                raise MemoryError(f"{self.device} must have memory for one image at least: {error}. {LESS}") from None
            self.limit = size // 2
        else:
            return torch.cat(parts).numpy()
        # outside the handler: the traceback would hold the memory that is needed
        logger.warning("Memory does not suffice for %d images at once; going on with %d.", size, self.limit)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return self(images)

    def _forward(self, images: Tensor) -> Tensor:
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        features = self._run(images, mixed=self.mixed)
        if self.mixed and not bool(features.isfinite().all()):  # beyond half precision, perhaps not beyond single
            features = self._run(images, mixed=False)
        return features.cpu()

    @torch.inference_mode()
    def _run(self, images: Tensor, mixed: bool) -> Tensor:
        with torch.autocast(self.device.type, torch.float16, enabled=mixed):
            features: Tensor = self.backbone(images)
        return features.float()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU (a plain RuntimeError there)."""
    signs = ("allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)


def attributes(backbone: Backbone, transform: Transform) -> dict[str, str | int]:
    """What a file of features says of its making; equal settings and versions give equal text."""
    versions = {"numpy": np.__version__, "pillow": PIL.__version__, "torch": torch.__version__}
    versions["torchvision"] = torchvision.__version__
    return {
        "backbone": backbone.name,
        "weights": backbone.weights,
        "weights_sha256": backbone.weights_sha256,
        "seed": backbone.seed,
        "transform": json.dumps(describe(transform), sort_keys=True),
        "versions": json.dumps(versions, sort_keys=True),
    }


class Progress:
    """A bar with images per second and time left; where stderr is no terminal, a line in the log each half minute."""

    def __init__(self, done: int, total: int, shown: bool = True) -> None:
        self.done, self.total, self.first = done, total, done
        terminal = shown and sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=done, unit=" images", desc="extract", disable=not terminal)
        self.lines = shown and not terminal
        self.begun = self.said = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        if self.lines and self.done > self.first:
            seconds = time.monotonic() - self.begun
            logger.info("%d images in %.1f s (%.0f images/s).", self.done - self.first, seconds, self._speed())

    def update(self, count: int) -> None:
        """``count`` more images are done."""
        self.done += count
        self.bar.update(count)
        now = time.monotonic()
        if self.lines and now - self.said > QUIET:
            self.said, speed = now, self._speed()
            left = (self.total - self.done) / speed
            logger.info("%d of %d images, %.0f images/s, %.0f s left.", self.done, self.total, speed, left)

    def _speed(self) -> float:
        return (self.done - self.first) / max(time.monotonic() - self.begun, 1e-9)


def measure(
    backbone: Backbone,
    transform: Transform,
    paths: Sequence[str],
    *,
    batch_size: int = 64,
    workers: int = 0,
    device: str = "auto",
    seconds: float = 3.0,
) -> Speed:
    """Images per second on these files (a sample will do), decoding included; the first batch only warms up.

    Reads the files again where they are few; stops after ``seconds``.
    """
    if not paths:
        raise ValueError("paths must name at least one image, got none.")
    batch_size = min(batch_size, len(paths))
    files = ImageFiles(list(itertools.islice(itertools.cycle(paths), max(2 * batch_size, len(paths)))), transform)
    options: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "device": device, "progress": False}
    images, begun, spent = 0, 0.0, 0.0
    for block in extract(backbone, files, **options):
        if not begun:
            begun = time.monotonic()
            continue
        images, spent = images + len(block.rows) + len(block.failures), time.monotonic() - begun
        if spent > seconds:
            break
    return Speed(images / max(spent, 1e-9), images)
