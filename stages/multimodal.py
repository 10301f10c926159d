"""Stage ``multimodal``, on request: what embeddings of the classes' names add to a few images of each class."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from diva.curation import rows
from diva.curation.multimodal import Curve, curve
from diva.ingest import ready
from diva.numerics.chunks import InMemory
from diva.numerics.grid import choose_ridge
from diva.numerics.normalize import Prepared
from diva.store import atomic, index, moments, paths, tables
from stages.command import run
from stages.params import section
from stages.params.extract import Extract
from stages.params.multimodal import Multimodal

logger = logging.getLogger(__name__)
ORDER: tables.Schema = {"label": pl.String, "place": pl.Int64, "willing": pl.Boolean}


@dataclass(frozen=True)
class Named:
    """Embeddings (m, p) of class names, and whose name each is."""

    features: Any
    labels: list[str]


def main(shots: str) -> None:
    """data/multimodal/<shots>.parquet: the order of the names; metrics and the curve of the test error."""
    settings, problem = section.read("multimodal", Multimodal), rows.read_problem()
    core = drawn(index.read(paths.CORE), int(shots), settings.seed)
    test = index.read_batch("test").filter(pl.col("label").is_in(problem.classes))
    if test.is_empty():
        raise ValueError("batches.test must hold images of the core's classes to draw a curve, got none.")
    names = embedded(problem.classes, settings, section.read("extract", Extract))
    chunks, classes = rows.prepared(core, problem), len(problem.classes)
    ridge = choose_ridge(chunks, classes, problem.ridges).ridge
    found = curve(
        chunks, prepared(names, problem), rows.prepared(test, problem), classes, ridge,
        loss=settings.loss, per_round=settings.per_round, draws=settings.draws, seed=settings.seed,
    )  # fmt: skip
    report(shots, core, names.labels, ridge, found)


def drawn(core: pl.DataFrame, shots: int, seed: int) -> pl.DataFrame:
    """``shots`` images of each class, in the order of the core."""
    order = pl.Series("order", np.random.default_rng(seed).permutation(len(core)))
    place = pl.col("order").rank("ordinal").over("label")
    return core.with_columns(order).filter(place <= shots).drop("order")


def embedded(classes: Sequence[str], settings: Multimodal, network: Extract) -> Named:
    """Embeddings from a file, without those of classes that the core lacks; or by the text tower."""
    if settings.embeddings is None:
        from diva.vision import clip  # an optional extra

        if not network.backbone.startswith(clip.PREFIX):
            raise ValueError(
                "multimodal.embeddings must name a file of embeddings, or extract.backbone a network with a text tower "
                f"({clip.PREFIX}ARCHITECTURE), got neither: {network.backbone}."
            )
        spoken = [clip.spoken(label) for label in classes]
        found = clip.embed_names(network.backbone, network.weights, spoken, settings.prompts, network.seed)
        return Named(found, list(classes))
    given = ready.open_ready(Path(settings.embeddings))
    known = np.isin(given.labels, classes)
    if not known.any():
        raise ValueError(f"multimodal.embeddings must hold names of classes, got {', '.join(given.labels[:5])}, ….")
    if not known.all():
        logger.warning("%d of %d embeddings name no class of the core", int((~known).sum()), len(known))
    return Named(np.asarray(given.features[:])[known], given.labels[known].tolist())


def prepared(names: Named, problem: rows.Problem) -> Prepared:
    """Embeddings as the closed forms want them, in the core's space."""
    width = moments.width()
    if names.features.shape[1] != width:
        raise ValueError(
            f"embeddings must have {width} columns, as the images' features, got {names.features.shape[1]}; images "
            "and names need the two towers of one network."
        )
    codes = rows.codes(pl.Series(names.labels, dtype=pl.String), problem.classes)
    return rows.preparation(problem)(InMemory(names.features, codes, problem.chunk_size))


def report(shots: str, core: pl.DataFrame, labels: list[str], ridge: float, found: Curve) -> None:
    """The order of the names, metrics, the table behind the plot, and a line for the log."""
    order = pl.DataFrame({"label": [labels[row] for row in found.index.tolist()]}).with_row_index("place", offset=1)
    willing = order.with_columns(willing=pl.col("place") <= found.willing)
    tables.write(paths.embeddings(shots), willing.select(list(ORDER)), ORDER)
    best = int(found.errors.argmin())
    metrics = {
        "images": len(core), "names": len(labels), "ridge": ridge, "willing": found.willing,
        "error": {"images_alone": float(found.errors[0]), "all_names": float(found.errors[-1]),
                  "best": float(found.errors[best]), "best_names": found.sizes[best]},
    }  # fmt: skip
    tables.write_json(paths.metrics(f"multimodal/{shots}"), metrics)
    points = {"added": found.sizes, "error": found.errors.numpy()}
    if len(found.uniform):
        points["uniform"] = found.uniform.mean(0).numpy()
    atomic.write_text(paths.multimodal_plot(shots), pl.DataFrame(points).write_csv())
    logger.info(
        "%s images a class: test error %.4f; with the best %d of %d names %.4f, with all %.4f",
        shots, found.errors[0], found.sizes[best], len(labels), found.errors[best], found.errors[-1],
    )  # fmt: skip


if __name__ == "__main__":
    run(main, "shots")
