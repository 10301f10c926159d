"""Stage ``augment``, on request: which transformations of a batch's images help, by Reweight on the union of them."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import polars as pl

from diva.curation import rows
from diva.curation.augment import (
    AugmentSettings,
    ImageVariants,
    Interleaved,
    augment,
    choose_union_ridge,
    common_images,
    shares,
    summary,
)
from diva.store import atomic, features, index, manifest, paths, tables
from diva.vision.image_features import NetworkSettings, load_extractor
from diva.vision.variants import Variant
from stages.command import run
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
    frames = common_images([index.of_batch(batch, samples, path) for path in files.values()])
    problem = replace(problem, classes=sorted(frames[0]["label"].unique()))
    chunks = Interleaved([rows.prepared(frame, problem) for frame in frames])
    union = ImageVariants(chunks, len(problem.classes), len(files))
    ridge = settings.ridge or choose_union_ridge(union, problem.ridges, settings.validate_on)
    weighing = settings.model_dump(include={"loss", "steps", "step_size", "validate_on", "draws", "seed"})
    result = augment(union, ridge, AugmentSettings(**weighing))
    table = shares(list(files), result)
    tables.write_json(paths.metrics(f"augment/{batch}"), {"images": len(frames[0]), **summary(table, result)})
    atomic.write_text(paths.augmented_plot(batch), table.write_csv())
    text = ", ".join(f"{name} {share:.3f}" for name, share in table["transform", "probability"].iter_rows())
    logger.info("%s: %d images; %s", batch, len(frames[0]), text)


def extract(batch: str, samples: pl.DataFrame, settings: Augment, params: Extract) -> dict[str, Path]:
    """The file of features of each variant."""
    extractor = load_extractor(NetworkSettings(**params.model_dump(exclude={"dtype"})))
    made = extractor.attributes() | {"manifest_sha256": manifest.checksum(paths.manifest(batch))}
    files = {name: paths.augmented(batch, name) for name in settings.transforms}
    for name, path in files.items():
        variant = Variant(**settings.transforms[name].model_dump(), then=extractor.transform, seed=settings.seed)
        attributes = made | {"transform": json.dumps(variant.described(), sort_keys=True)}
        writer = extractor.fill(features.FeatureWriter(path, attributes, params.dtype), samples, variant)
        writer.finish(samples["label"].to_list(), samples["sample_id"].to_list())
    return files


if __name__ == "__main__":
    run(main, "batch")
