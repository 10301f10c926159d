"""Runs a backbone over image files: threads decode and compute, blocks of features come out, broken files go aside.

A row's features depend neither on the number of threads nor, but for rounding, on the batch size. Several cards take
batches in turn, each with a copy of the network; features are those of one card as long as the cards are alike. Memory
that does not suffice halves what is computed at once, and the run goes on.
"""

import functools
import itertools
import json
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import PIL
import torch
from torch import Tensor

from diva.numerics import cores
from diva.numerics.device import onto
from diva.store.features import Failure
from diva.store.streams import ahead
from diva.text.progress import shown, track
from diva.vision import jpeg, revision
from diva.vision.backbone import Backbone
from diva.vision.datasets import ImageFiles, collate
from diva.vision.forward import Forward, on_devices
from diva.vision.transforms import Transform, describe

logger = logging.getLogger(__name__)
Entry = jpeg.Encoded | Tensor | Failure


class Block(NamedTuple):
    """Consecutive rows: which have features, these features (m, p) float32, and the failures among them."""

    rows: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]
    failures: list[Failure]


class Speed(NamedTuple):
    """A measurement: images per second once running, and how many images it took."""

    images_per_second: float
    images: int


def extract(
    network: Backbone | list[Forward],
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
        network: cut; moved to the device, unless it is on one, or on several, which take batches in turn.
        files: paths and transform.
        start: rows before it are done already.
        batch_size: images per block; on CUDA also per forward pass.
        workers: threads that decode and, on the CPU, run the network; 0: as many as torch computes with.
        device: "auto", "cpu" or "cuda", for a network that is on none yet; "cuda" is every card, "cuda:1" that one.
        progress: show how far it is (see ``diva.text.progress``), and log the speed at the end.
    """
    begun, images = time.monotonic(), 0
    forwards = network if isinstance(network, list) else on_devices(network, device, files.steps)
    runs = [Run(forward, files, forwards[0].device) for forward in forwards]
    firsts = range(start, len(files), batch_size)
    batches = (range(first, min(first + batch_size, len(files))) for first in firsts)
    with (
        threads(forwards, workers) as (decoders, runners),
        shown("extract") if progress else nullcontext(),
    ):
        read = ahead(batches, lambda rows: (rows, [decoders.submit(runs[0].read, row) for row in rows]), len(runs))
        turns = zip(itertools.cycle(zip(runs, runners, strict=True)), read)
        running = ahead(turns, lambda turn: turn[0][0].start(turn[0][1], *turn[1]), len(runs))
        for parts in track(running, len(files) - start, "images", _images_of) if progress else running:
            images += _images_of(parts)
            yield joined([part.result() for part in parts])
    if progress and images:
        seconds = max(time.monotonic() - begun, 1e-9)
        logger.info("%d images in %.1f s (%.0f images/s).", images, seconds, images / seconds)


def _images_of(parts: list[Future[Block]]) -> int:
    """How many images a batch had, those included that went aside."""
    return sum(len(block.rows) + len(block.failures) for block in (part.result() for part in parts))


class Run:
    """One extraction, by one network: what its threads do.

    Args:
        network: on its device.
        files: paths and transform.
        decoder: the card that decodes, of several the same for all: torchvision has a single decoder, and would make it
            anew whenever another card asks.
    """

    def __init__(self, network: Forward, files: ImageFiles, decoder: torch.device) -> None:
        self.network, self.files, self.decoder = network, files, decoder
        on_card = network.device.type == "cuda" and files.steps is not None and jpeg.available()
        self.read = files.encoded if on_card else files.pixels

    def start(self, runners: Executor, rows: range, reading: list[Future[Entry]]) -> list[Future[Block]]:
        """Put a batch before the network as soon as it is read, in parts."""
        size = len(rows) if self.network.device.type == "cuda" else self.network.part
        entries = [entry.result() for entry in reading]
        parts = range(0, len(rows), size)
        return [runners.submit(self.block, rows[part : part + size], entries[part : part + size]) for part in parts]

    def block(self, rows: range, entries: list[Entry]) -> Block:
        """Features of some rows."""
        images, failures = collate(self._decoded(rows, entries))
        gone = {failure.row for failure in failures}
        usable = np.array([row for row in rows if row not in gone], dtype=np.int64)
        width = self.network.backbone.width
        return Block(usable, self.network(images) if len(usable) else np.empty((0, width), np.float32), failures)

    def _decoded(self, rows: range, entries: list[Entry]) -> list[Tensor | Failure]:
        """What is still encoded is decoded on a card, or here where that refuses it; all go to the network's."""
        encoded = {index: entry for index, entry in enumerate(entries) if isinstance(entry, jpeg.Encoded)}
        decoded = {index: entry for index, entry in enumerate(entries) if not isinstance(entry, jpeg.Encoded)}
        if not encoded or not self.files.steps:
            return list(decoded.values())
        images = jpeg.decoded(list(encoded.values()), self.files.steps, self.decoder)
        for index, image in zip(encoded, images, strict=True):
            decoded[index] = self.files.pixels(rows[index]) if image is None else image
        ordered = [decoded[index] for index in range(len(entries))]
        return [onto(entry, self.network.device) if isinstance(entry, Tensor) else entry for entry in ordered]


@contextmanager
def threads(networks: Sequence[Forward], workers: int) -> Iterator[tuple[Executor, list[Executor]]]:
    """Threads that decode and, for each network, threads that run it: on the CPU the same ones, each on one core.

    So features do not depend on how many there are, and no core waits for another. A network that must run
    ``one_at_a_time`` has one thread, with all cores.
    """
    before = torch.get_num_threads()
    usable = max(before, cores.reserved())
    on_one_core = functools.partial(torch.set_num_threads, 1)  # holds for the thread that says it, and for new ones
    every = functools.partial(torch.set_num_threads, usable)
    with ThreadPoolExecutor(workers or usable, "decode", on_one_core) as decoders, ExitStack() as more:
        runners = list[Executor]()
        for network in networks:
            single = getattr(network.backbone, "one_at_a_time", False)
            count = 1 if single else 2  # while one fetches its features, the other's batch is on the card
            own = single or network.device.type == "cuda"
            runners.append(more.enter_context(ThreadPoolExecutor(count, "network", every)) if own else decoders)
        try:
            yield decoders, runners
        finally:
            for pool in (decoders, *runners):
                pool.shutdown(wait=False, cancel_futures=True)
            torch.set_num_threads(before)


def joined(parts: Sequence[Block]) -> Block:
    """Consecutive blocks as one."""
    rows, features, failures = zip(*parts, strict=True)
    return Block(np.concatenate(rows), np.concatenate(features), list(itertools.chain(*failures)))


def attributes(network: Backbone | Forward, transform: Transform) -> dict[str, str | int]:
    """What a file of features says of its making; equal settings and versions give equal text."""
    backbone = network.backbone if isinstance(network, Forward) else network
    versions = {"numpy": np.__version__, "pillow": PIL.__version__, "torch": torch.__version__}
    versions["torchvision"] = metadata.version("torchvision")
    library = {"timm": "timm", "hf": "transformers"}.get(backbone.name.partition(":")[0])
    versions |= {library: metadata.version(library)} if library else {}
    versions |= network.versions if isinstance(network, Forward) else {}
    later = {"revision": revision.FEATURES} if revision.FEATURES > 1 else {}
    return {
        "backbone": backbone.name,
        "weights": backbone.weights,
        "weights_sha256": backbone.weights_sha256,
        "seed": backbone.seed,
        "transform": json.dumps(describe(transform), sort_keys=True),
        "versions": json.dumps(versions, sort_keys=True),
        **later,
    }


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
