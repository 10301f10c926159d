"""Embeddings of the classes' names: from a file of ready features, or by the text tower of the images' network."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diva.ingest import ready

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NameEmbeddings:
    """Embeddings (m, p) of class names, and whose name each is."""

    features: Any
    labels: list[str]


def read_embeddings(path: Path, classes: Sequence[str]) -> NameEmbeddings:
    """Those of a file, without those of other classes."""
    given = ready.open_ready(path)
    of_core = np.isin(given.labels, classes)
    if not of_core.any():
        raise ValueError(f"multimodal.embeddings must hold names of classes, got {', '.join(given.labels[:5])}, ….")
    if not of_core.all():
        logger.warning("%d of %d embeddings name no class of the core", int((~of_core).sum()), len(of_core))
    return NameEmbeddings(np.asarray(given.features[:])[of_core], given.labels[of_core].tolist())


def compute_embeddings(
    classes: Sequence[str], prompts: Sequence[str], backbone: str, weights: str, seed: int
) -> NameEmbeddings:
    """Those that the text tower gives, one a class."""
    from diva.vision import clip  # an optional extra

    if not backbone.startswith(clip.PREFIX):
        raise ValueError(
            "multimodal.embeddings must name a file of embeddings, or extract.backbone a network with a text tower "
            f"({clip.PREFIX}ARCHITECTURE), got neither: {backbone}."
        )
    words = [clip.spoken(label) for label in classes]
    return NameEmbeddings(clip.embed_names(backbone, weights, words, prompts, seed), list(classes))
