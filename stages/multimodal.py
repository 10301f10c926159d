"""Stage ``multimodal``, on request: what embeddings of the classes' names add to a few images of each class."""

import logging
from pathlib import Path

import polars as pl

from diva.curation import multimodal, rows
from diva.curation.additions import RoundSettings
from diva.ingest.class_names import compute_embeddings, read_embeddings
from diva.numerics.grid import choose_ridge
from diva.store import atomic, index, paths, tables
from stages.command import run
from stages.params import section
from stages.params.extract import Extract
from stages.params.multimodal import Multimodal

logger = logging.getLogger(__name__)
ORDER: tables.Schema = {"label": pl.String, "place": pl.Int64, "willing": pl.Boolean}


def main(shots: str) -> None:
    """data/multimodal/<shots>.parquet: the order of the names; metrics and the curve of the test error."""
    settings, problem = section.read("multimodal", Multimodal), rows.read_problem()
    network, classes = section.read("extract", Extract), problem.classes
    core = multimodal.draw_shots(index.read(paths.CORE), int(shots), settings.seed)
    test = index.read_batch("test").filter(pl.col("label").is_in(classes))
    if test.is_empty():
        raise ValueError("batches.test must hold images of the core's classes to draw a curve, got none.")
    if settings.embeddings is None:
        names = compute_embeddings(classes, settings.prompts, network.backbone, network.weights, network.seed)
    else:
        names = read_embeddings(Path(settings.embeddings), classes)
    chunks, pool = rows.prepared(core, problem), multimodal.prepared_names(names.features, names.labels, problem)
    images = choose_ridge(chunks, len(classes), problem.ridges).fit()
    curve = multimodal.curve(
        images, pool, rows.prepared(test, problem), RoundSettings(settings.per_round),
        loss=settings.loss, draws=settings.draws, seed=settings.seed,
    )  # fmt: skip
    tables.write(paths.embeddings(shots), multimodal.order_table(curve, names.labels).select(list(ORDER)), ORDER)
    errors = multimodal.error_summary(curve)
    counts = {"images": len(core), "names": len(names.labels), "ridge": images.ridge, "willing": curve.willing}
    tables.write_json(paths.metrics(f"multimodal/{shots}"), counts | {"error": errors})
    atomic.write_text(paths.multimodal_plot(shots), multimodal.points(curve).write_csv())
    logger.info(
        "%s images a class: test error %.4f; with the best %d of %d names %.4f, with all %.4f",
        shots, errors["images_alone"], errors["best_names"], len(names.labels), errors["best"], errors["all_names"],
    )  # fmt: skip


if __name__ == "__main__":
    run(main, "shots")
