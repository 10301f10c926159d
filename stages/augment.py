"""Stage ``augment``, on request: which transformations of a batch's images help, by Reweight on the union of them."""

import json
import logging
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import polars as pl

from diva.curation import rows
from diva.curation.augment import Augmentation, augment, choose_block_ridge
from diva.numerics.blocks import Interleaved
from diva.store import atomic, features, index, manifest, paths, tables
from diva.vision import extraction, variants
from stages.command import run
from stages.extract import fill, network
from stages.params import section
from stages.params.augment import Augment
from stages.params.extract import Extract

logger = logging.getLogger(__name__)


def main(batch: str) -> None:
    """data/augment/<batch>: features of every variant; metrics and a plot of the share of the weight each gets."""
    settings, problem = section.read("augment", Augment), rows.read_problem()
    samples = manifest.read(paths.manifest(batch))
    if samples.is_empty() or samples["row"].count():
        raise ValueError(f"augment.of must name batches of images, got {batch}, which holds none.")
    files = {"identity": paths.features(batch), **extract(batch, samples, settings, section.read("extract", Extract))}
    frames = complete([index.of_batch(batch, samples, path) for path in files.values()])
    problem = replace(problem, classes=sorted(frames[0]["label"].unique()))
    chunks, classes = Interleaved([rows.prepared(frame, problem) for frame in frames]), len(problem.classes)
    ridge = settings.ridge or choose_block_ridge(chunks, classes, problem.ridges, len(files), settings.validate_on)
    found = augment(
        chunks, classes, ridge, variants=len(files),
        **settings.model_dump(include={"loss", "steps", "step_size", "validate_on", "draws", "seed"}),
    )  # fmt: skip
    report(batch, list(files), found, len(frames[0]))


def extract(batch: str, samples: pl.DataFrame, settings: Augment, params: Extract) -> dict[str, Path]:
    """The file of features of each variant."""
    backbone, own = network(params)
    made = extraction.attributes(backbone, own) | {"manifest_sha256": manifest.checksum(paths.manifest(batch))}
    files = {}
    for name, wanted in settings.transforms.items():
        variant = variants.Variant(wanted.name, wanted.arguments, own, settings.seed)
        attributes = made | {"transform": json.dumps(variant.described(), sort_keys=True)}
        files[name] = paths.augmented(batch, name)
        writer = fill(features.FeatureWriter(files[name], attributes, params.dtype), samples, backbone, variant, params)
        writer.finish(samples["label"].to_list(), samples["sample_id"].to_list())
    return files


def complete(frames: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """The same, without images that one of them lacks; how many is said."""
    everywhere = reduce(lambda ids, frame: ids & set(frame["sample_id"]), frames, set(frames[0]["sample_id"]))
    most = max(len(frame) for frame in frames)
    if len(everywhere) < most:
        logger.warning("%d of %d images left out: a variant of them could not be made", most - len(everywhere), most)
    return [frame.filter(pl.col("sample_id").is_in(list(everywhere))) for frame in frames]


def report(batch: str, names: list[str], found: Augmentation, images: int) -> None:
    """Metrics, the table behind the plot, and a line for the log."""
    drawn = found.drawn.numpy() if len(found.drawn) else found.union.probabilities.numpy()[None]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    table = pl.DataFrame(
        {
            "transform": names,
            "probability": found.union.probabilities.numpy(),
            "low": low,
            "high": high,
            "loo_error": found.errors.numpy(),
            "below_identity": (drawn < drawn[:, :1]).mean(0),  # share of the draws
        }
    )
    counts = {"images": images, "ridge": found.ridge, "steps": len(found.union.history), "draws": len(found.drawn)}
    metrics = counts | {"transforms": {row.pop("transform"): row for row in table.to_dicts()}}
    tables.write_json(paths.metrics(f"augment/{batch}"), metrics)
    atomic.write_text(paths.augmented_plot(batch), table.write_csv())
    shares = ", ".join(f"{name} {share:.3f}" for name, share in table["transform", "probability"].iter_rows())
    logger.info("%s: %d images; %s", batch, images, shares)


if __name__ == "__main__":
    run(main, "batch")
