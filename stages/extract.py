"""Stage ``extract``: the features of a batch, by a network from its images or taken over from a ready file."""

import logging
from typing import Any

import polars as pl

from diva.ingest import ready
from diva.store import features, manifest, paths, tables
from stages.command import run
from stages.params import section
from stages.params.extract import Extract

logger = logging.getLogger(__name__)


def extract(batch: str) -> None:
    """Features, quarantine and metrics of one batch of the ledger."""
    params = section.read("extract", Extract)
    rows = manifest.read(paths.manifest(batch))
    images = rows["row"].count() == 0 < len(rows)
    writer = from_images(batch, rows, params) if images else from_ready(batch, rows, params.dtype)
    spare = batch not in ("core", "test")  # a useless delivery to the pool must not stop the nights to come
    failures = writer.finish(rows["label"].to_list(), rows["sample_id"].to_list(), spare=spare)
    samples = rows.select("sample_id", "path", "label")
    refused = manifest.refusals(manifest.Refused._make((*samples.row(row), *why)) for row, *why in failures)
    tables.write(paths.quarantine("extract", batch), refused, manifest.QUARANTINE)
    counts = {
        "rows": len(rows),
        "extracted": writer.stored,
        "features": writer.width,
        "quarantined": len(failures),
        "reasons": manifest.kinds(refused),
    }
    tables.write_json(paths.metrics(f"extract/{batch}"), counts)
    logger.info("%s: %d rows, %d extracted, %d features each, %d set aside %s", batch, *counts.values())


def from_images(batch: str, rows: pl.DataFrame, params: Extract) -> features.FeatureWriter:
    """Features of image files by a network."""
    from diva.vision import extraction  # seconds that ready features need not wait

    backbone, transform = network(params)
    writer = begun(batch, extraction.attributes(backbone, transform), params.dtype)
    return fill(writer, rows, backbone, transform, params)


def network(params: Extract) -> tuple[Any, Any]:
    """The network, linearised where that is wanted, and the transform of its images."""
    from diva.vision import backbones, linearize, transforms

    weights = (params.weights, params.seed)
    backbone = backbones.load_backbone(params.backbone, *weights, params.crop, params.weights_sha256)
    if not backbone.trained:
        logger.warning("%s is untrained (weights: none, seed %d): random features.", backbone.name, backbone.seed)
    own = transforms.ResizeCrop(params.resize, params.crop, params.mean, params.std)
    return linearize.linearized(backbone, params.linearize, params.projection), backbone.preset or own


def fill(
    writer: features.FeatureWriter, rows: pl.DataFrame, backbone: Any, transform: Any, params: Extract
) -> features.FeatureWriter:
    """The writer after the features of the images of a manifest that it does not hold yet."""
    from diva.vision import datasets, extraction

    largest: Any = (rows["width"] * rows["height"].cast(pl.Int64)).max()  # download admitted them
    files = datasets.ImageFiles(rows["path"].to_list(), transform, rows["sample_id"].to_list(), largest)
    options: dict[str, Any] = {"batch_size": params.batch_size, "workers": params.workers, "device": params.device}
    for block in extraction.extract(backbone, files, start=writer.done, **options):
        writer.append(block.features, block.failures)
    return writer


def from_ready(batch: str, rows: pl.DataFrame, dtype: str) -> features.FeatureWriter:
    """Features that a file holds already; also those of an empty batch, which has no rows and no columns."""
    writer = begun(batch, ready.attributes(), dtype)
    left = rows[writer.done :]
    for block in ready.read_ready(left["path"].to_list(), left["row"].to_list()):
        writer.append(block)
    return writer


def begun(batch: str, made: dict[str, str | int], dtype: str) -> features.FeatureWriter:
    """The writer of a batch: new, or where an earlier run of the same settings stopped."""
    checksum = manifest.checksum(paths.manifest(batch))
    return features.FeatureWriter(paths.features(batch), made | {"manifest_sha256": checksum}, dtype)


if __name__ == "__main__":
    run(extract, "batch")
