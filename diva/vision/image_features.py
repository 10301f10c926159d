"""The features of a manifest's images: a network with its transform, and the file of features that it fills."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from diva.store.features import FeatureWriter
from diva.vision import backbones, datasets, extraction, transforms
from diva.vision import linearize as linearization
from diva.vision.backbone import Backbone
from diva.vision.forward import Forward, on_devices
from diva.vision.transforms import Transform

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NetworkSettings:
    """A network, its transform and how it runs; see section ``extract`` of params.yaml."""

    backbone: str
    weights: str
    weights_sha256: str | None
    seed: int
    linearize: str
    projection: int
    resize: int
    crop: int
    mean: Sequence[float]
    std: Sequence[float]
    batch_size: int
    workers: int
    device: str


@dataclass(frozen=True)
class Extractor:
    """How images become features.

    Attributes:
        network: cut, perhaps linearised.
        transform: from the image to the network's tensor.
        batch_size: images that travel together.
        workers: threads; 0 is one per core.
        device: "auto", "cpu" or "cuda".
    """

    network: Any
    transform: Transform
    batch_size: int
    workers: int
    device: str

    @cached_property
    def forwards(self) -> list[Forward]:
        """The network on its device, or on each of several cards."""
        return on_devices(self.network, self.device, transforms.steps(self.transform))

    def attributes(self) -> dict[str, str | int]:
        """What a file of features says of its making."""
        return extraction.attributes(self.forwards[0], self.transform)

    def fill(self, writer: FeatureWriter, samples: pl.DataFrame, transform: Transform | None = None) -> FeatureWriter:
        """The writer after the features of those images of a manifest that it does not hold yet."""
        largest: Any = (samples["width"] * samples["height"].cast(pl.Int64)).max()  # download admitted them
        transform = transform or self.transform
        files = datasets.ImageFiles(samples["path"].to_list(), transform, samples["sample_id"].to_list(), largest)
        options: dict[str, Any] = {"batch_size": self.batch_size, "workers": self.workers}
        for block in extraction.extract(self.forwards, files, start=writer.done, **options):
            writer.append(block.features, block.failures)
        return writer


def load_network(settings: NetworkSettings) -> tuple[Backbone, Transform]:
    """The network as it is, and its own transform where it brings one."""
    s = settings
    loaded = backbones.load_backbone(s.backbone, s.weights, s.seed, s.crop, s.weights_sha256)
    return loaded, loaded.preset or transforms.ResizeCrop(s.resize, s.crop, s.mean, s.std)


def load_extractor(settings: NetworkSettings) -> Extractor:
    """The network, linearised where that is wanted, with its own transform where it brings one."""
    s = settings
    loaded, transform = load_network(s)
    if not loaded.trained:
        logger.warning("%s is untrained (weights: none, seed %d): random features.", loaded.name, loaded.seed)
    network = linearization.linearized(loaded, s.linearize, s.projection)
    return Extractor(network, transform, s.batch_size, s.workers, s.device)
