"""Stage ``extract``: the features of a batch, by a network from its images or taken over from a ready file."""

import logging

import polars as pl

from diva.ingest import ready
from diva.store import features, index, manifest, paths, tables
from stages.command import run
from stages.params import section
from stages.params.extract import Extract

logger = logging.getLogger(__name__)


def extract(batch: str) -> None:
    """Features, quarantine and metrics of one batch of the ledger."""
    params = section.read("extract", Extract)
    rows = manifest.read(paths.manifest(batch))
    images = rows["row"].count() == 0 < len(rows)
    writer = (from_images if images else from_ready)(batch, rows, params)
    spare = batch not in ("core", "test")  # a useless delivery to the pool must not stop the nights to come
    failures = writer.finish(rows["label"].to_list(), rows["sample_id"].to_list(), spare=spare)
    samples = rows.select("sample_id", "path", "label")
    refused = manifest.refusals(manifest.Refused._make((*samples.row(row), *why)) for row, *why in failures)
    tables.write(paths.quarantine("extract", batch), refused, manifest.QUARANTINE)
    counts = {
        "rows": len(rows), "extracted": writer.stored, "features": writer.width,
        "quarantined": len(failures), "reasons": manifest.kinds(refused),
    }  # fmt: skip
    tables.write_json(paths.metrics(f"extract/{batch}"), counts)
    about = (batch, len(rows), writer.stored, writer.width, manifest.describe_refused(refused))
    logger.info("%s: %d rows, %d extracted, %d features each, %s", *about)


def from_images(batch: str, rows: pl.DataFrame, params: Extract) -> features.FeatureWriter:
    """Features of image files by a network."""
    from diva.vision.image_features import NetworkSettings, load_extractor  # seconds that ready features need not wait

    extractor = load_extractor(NetworkSettings(**params.model_dump(exclude={"dtype"})))
    return extractor.fill(begun(batch, extractor.attributes(), params), rows)


def from_ready(batch: str, rows: pl.DataFrame, params: Extract) -> features.FeatureWriter:
    """Features that a file holds already; also those of an empty batch, which has no rows and no columns."""
    writer = begun(batch, ready.attributes(), params, half=is_half(placed(rows)))
    new = placed(rows[writer.done :])
    for block in ready.read_ready(new["path"].to_list(), new["row"].to_list()):
        writer.append(block)
    return writer


def is_half(rows: pl.DataFrame) -> bool:
    """Whether all files have features in half precision; stored so they say the same in half the room."""
    first = rows.unique("path")
    blocks = ready.read_ready(first["path"].to_list(), first["row"].to_list())
    return len(rows) > 0 and all(block.dtype == "float16" for block in blocks)


def placed(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that lie where they lie now: those labelled later are in a file of features, which may be made anew."""
    for path in filter(paths.is_features, rows["path"].unique(maintain_order=True)):
        stored = index.rows_in(features.FeatureFile(path))
        there = stored.with_columns(pl.col("row").cast(pl.Int64), path=pl.lit(path))
        lost = rows.filter(path=path).join(there, on="sample_id", how="anti")["sample_id"]
        if len(lost):
            raise ValueError(f"{path} must hold the features of {lost[0]}, which has its label, got none.")
        rows = rows.update(there, on=["path", "sample_id"])
    return rows


def begun(batch: str, made: dict[str, str | int], params: Extract, half: bool = False) -> features.FeatureWriter:
    """The writer of a batch: new, or where an earlier run of the same settings stopped."""
    checksum = manifest.checksum(paths.manifest(batch))
    dtype = "float16" if half else params.dtype
    return features.FeatureWriter(paths.features(batch), made | {"manifest_sha256": checksum}, dtype)


if __name__ == "__main__":
    run(extract, "batch")
