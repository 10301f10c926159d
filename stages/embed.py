"""Stage ``embed``, on request: where the core lies on a map that keeps neighbours together; the report draws it."""

import logging

import numpy as np
import polars as pl

from diva.curation import embedding
from diva.store import index, paths, tables
from diva.store.streams import FeatureRows
from stages.command import run
from stages.params import section
from stages.params.embed import Embed

logger = logging.getLogger(__name__)


def embed(method: str) -> None:
    """data/scores/<method>.parquet: the places of landmarks, which are rows of the core, all where there are few."""
    settings, core = section.read("embed", Embed), index.read(paths.CORE)
    drawn = np.random.default_rng(settings.seed).permutation(len(core))[: settings.landmarks]
    landmarks = core[np.sort(drawn)]
    chunks = FeatureRows(landmarks["features"].to_list(), landmarks["row"].to_list(), [0] * len(landmarks))
    placed = embedding.umap(chunks, settings.neighbours, settings.min_dist, settings.seed)
    table = landmarks.select("sample_id", x=pl.Series(placed[:, 0]), y=pl.Series(placed[:, 1]))
    tables.write(paths.scores(method), table, embedding.PLACES)
    logger.info("%s: %d of %d samples of the core placed", method, len(landmarks), len(core))


if __name__ == "__main__":
    run(embed, "method")
