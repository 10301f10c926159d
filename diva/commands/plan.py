"""What a run will cost, before it starts: images to extract, minutes, memory and disk, moments.

Minutes and memory come from a short measurement (`diva.curation.costs`), disk from the sizes of what stages write. The
moments are gram (p + 1, p + 1) and cross (p + 1, k) in float64, whatever n is; nothing is ever n × n.
"""

import json
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import psutil

from diva.ingest.inspection import SourceContents, inspect_batch
from diva.ingest.readers import ArchiveSource
from diva.ingest.ready import open_ready
from diva.ingest.sources import waits
from diva.store import ledger, manifest, paths
from diva.store.features import FeatureFile
from diva.store.slabs import read_rows
from diva.text.words import Column, Row, Table, amount, count
from diva.versions import cache
from diva.vision.revision import NETWORK, TRANSFORM

if TYPE_CHECKING:
    from diva.curation.costs import Sizes

SAMPLE = 64  # images that are measured
BYTES = {"float16": 2, "float32": 4}
ROW = 300  # bytes a sample in manifests, indices, rounds and metrics
PAGE, THUMBNAIL, THUMBNAILS = 3_000_000, 4_000, 14_000_000  # bytes of the report: its scripts, an image, all at most
STAGE, TABLES = 0.2, 5e-5  # of the seconds that libraries take to load: what a stage takes besides, and a row in tables
TABLE_ROW = 1000  # bytes a sample in the tables of a stage
KEYS = (*NETWORK, *TRANSFORM, "dtype", "batch_size", "workers", "device")  # of the section extract of params.yaml


@dataclass(frozen=True)
class Load:
    """What one batch asks for.

    Attributes:
        batch: its name.
        contents: what its source holds.
        samples: rows; None where only ``download`` will tell.
        remaining: images without features; None where only ``download`` will tell.
        width: p of features that are there.
    """

    batch: str
    contents: SourceContents
    samples: int | None
    remaining: int | None
    width: int | None


@dataclass(frozen=True)
class Cost:
    """Images a second, seconds for what is left, features per image, images measured; bytes at the peak, and after."""

    speed: float
    seconds: float
    width: int
    images: int
    peak: int = 0
    network: int = 0


@dataclass(frozen=True)
class RunCost:
    """Seconds of each part of a run, and bytes at its peak."""

    seconds: Mapping[str, float]
    memory: int


def loads(book: ledger.Ledger, extract: Mapping[str, Any]) -> list[Load]:
    """Every batch of the ledger, given the section ``extract`` of params.yaml."""
    return [_load(name, book.batches[name], extract) for name in ledger.order(book)]


def _load(name: str, batch: ledger.Batch, extract: Mapping[str, Any]) -> Load:
    contents = inspect_batch(batch, f"batches.{name}", waits(name))
    rows = _manifest(name, contents)
    samples = contents.samples if rows is None else len(rows)
    stored = _stored(name, extract) if rows is not None and contents.kind == "images" else None
    remaining = 0 if contents.kind != "images" or stored else samples
    return Load(name, contents, samples, remaining, contents.width or (stored.shape[1] if stored else None))


def _manifest(name: str, contents: SourceContents) -> pl.DataFrame | None:
    """The batch's manifest, where it is of this very source."""
    if not paths.manifest(name).is_file():
        return None
    rows = manifest.read(paths.manifest(name))
    if contents.files:
        return rows if set(rows["path"]) <= set(contents.files) else None
    inside = rows["path"].str.starts_with(f"{paths.raw(name).as_posix()}/").all()
    return rows if inside and (contents.samples is None or len(rows) <= contents.samples) else None


def _stored(name: str, extract: Mapping[str, Any]) -> FeatureFile | None:
    """The batch's features, where they are of its manifest and of these parameters."""
    if not paths.features(name).is_file():
        return None
    stored = FeatureFile(paths.features(name))
    made = stored.attributes
    same = made.get("manifest_sha256") == manifest.checksum(paths.manifest(name))
    return stored if same and made.get("backbone") == _network(extract) and _same_weights(made, extract) else None


def _network(extract: Mapping[str, Any]) -> str:
    """The network's name as files of features have it."""
    block = f" with last block to {extract['projection']}" if extract["linearize"] == "last_block" else ""
    return f"{extract['backbone']}{block}"


def _same_weights(made: Mapping[str, Any], extract: Mapping[str, Any]) -> bool:
    weights, transform = extract["weights"], json.loads(str(made.get("transform")))
    if weights == "DEFAULT":  # torchvision's own name is stored, its own transform used
        return made.get("weights") not in ("none", "") and not Path(str(made.get("weights"))).is_file()
    seeded = bool(weights != "none" or made.get("seed") == extract["seed"])
    return seeded and made.get("weights") == weights and transform == {key: extract[key] for key in TRANSFORM}


def images(batches: Sequence[Load]) -> list[str]:
    """Some of the images that are left, evenly spread over those that lie on this disk."""
    pending = [load for load in batches if load.remaining or load.remaining is None]
    files = [file for load in pending for file in load.contents.files or _written(load.batch)]
    return files[:: max(1, len(files) // SAMPLE)][:SAMPLE]


def _written(batch: str) -> list[str]:
    return sorted(path.as_posix() for path in paths.raw(batch).glob("*.png"))


def measure(files: Sequence[str], remaining: int, extract: Mapping[str, Any], batches: int = 1) -> Cost:
    """Run the network over some images; grey ones of the right size where no image lies here yet.

    Each of the ``batches`` begins by itself: libraries, network, and a first pass.
    """
    begun = time.monotonic()
    from diva.vision import (  # torch: seconds, and only where images are left
        backbones,
        extraction,
        linearize,
        transforms,
    )

    size, before = int(extract["crop"]), psutil.Process().memory_info().rss
    backbone = backbones.load_backbone(
        extract["backbone"], extract["weights"], extract["seed"], size, checksum=extract["weights_sha256"]
    )
    network = linearize.linearized(backbone, extract["linearize"], int(extract["projection"]))
    own = transforms.ResizeCrop(extract["resize"], size, extract["mean"], extract["std"])
    options = {name: extract[name] for name in ("batch_size", "workers", "device")}
    with tempfile.TemporaryDirectory(prefix="diva-plan-") as folder:
        speed = extraction.measure(
            network, backbone.preset or own, files or _grey(Path(folder), int(extract["resize"])), **options
        )
    measured = speed.images / max(speed.images_per_second, 1e-9)
    start = time.monotonic() - begun - measured
    seconds = remaining / max(speed.images_per_second, 1e-9) + batches * start
    stays = psutil.Process().memory_info().rss - before
    return Cost(speed.images_per_second, seconds, network.width, speed.images, _peak(), stays)


def run_cost(batches: Sequence[Load], images: Cost | None, values: Mapping[str, Any], rounds: int) -> RunCost:
    """What all stages take together, given params.yaml; images alone where rows or classes are not known yet.

    Images that are measured are so before; in a run their network is in a process of its own.
    """
    width, parts = _width(batches, images), {"images": images.seconds} if images and images.seconds else {}
    if not width or _unknown(batches):
        return RunCost(parts, _peak())
    begun = time.monotonic()
    from diva.curation import costs  # torch and scikit-learn: as long as a run takes to load them

    loading = time.monotonic() - begun
    counts = {load.batch: load.samples or 0 for load in batches}
    rows, test = sum(counts.values()), counts.get("test", 0)
    sizes = costs.Sizes(
        counts["core"], rows - counts["core"] - test,
        test or round(values["evaluate"]["held_out"] * counts["core"]), rounds,
    )  # fmt: skip
    laws = costs.measure(*_sample(batches, sizes, width), sizes.test, values)
    stages = 7 + 3 * len(batches) + 2 * rounds
    parts |= costs.seconds(laws, sizes, values)
    parts["all else"] = loading * (1 + STAGE * stages + TABLES * rows)
    stay = rows * TABLE_ROW + costs.memory(rows, width, sizes.test, values)
    return RunCost(parts, max(images.peak, _peak() - images.network + stay) if images else _peak() + stay)


def _unknown(batches: Sequence[Load]) -> str:
    """Why nothing but images is predicted; empty where everything is."""
    if any(load.samples is None for load in batches):
        return "counted once everything is downloaded"
    contents = batches[0].contents
    return "" if contents.task == "classification" and (contents.classes or 0) > 1 else "predicted of classes alone"


def _width(batches: Sequence[Load], images: Cost | None) -> int | None:
    return next((load.width for load in batches if load.width), images.width if images else None)


def _sample(batches: Sequence[Load], sizes: "Sizes", width: int) -> tuple[Any, Any]:
    """Features and codes of rows to measure with: of ready ones a random choice, else made up."""
    from diva.curation import costs

    most, random = min(costs.MOST, sizes.core + sizes.pool), np.random.default_rng(0)
    trains = [load for load in batches if load.batch != "test"]
    if any(load.contents.kind != "features" for load in trains):
        return costs.made_up(most, width, batches[0].contents.classes or 2)
    parts = []
    for load in trains:
        for file in load.contents.files:
            ready = open_ready(file, unlabelled=True)
            labelled = random.permutation(np.flatnonzero(ready.labels != ""))
            chosen = np.sort(labelled[: -(-most * len(labelled) // (sizes.core + sizes.pool))])
            parts.append((read_rows(ready.features, chosen).astype(np.float32), ready.labels[chosen]))
    features, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    usable = random.permutation(np.flatnonzero(np.isfinite(features).all(1)))
    return features[usable], np.unique(labels[usable], return_inverse=True)[1]


def _grey(folder: Path, size: int) -> list[str]:
    from PIL import Image

    names = [folder / f"{number}.png" for number in range(SAMPLE)]
    for name in names:
        Image.new("RGB", (size, size), "grey").save(name)
    return [name.as_posix() for name in names]


def _peak() -> int:
    """Bytes that this process held at most."""
    if sys.platform == "win32":
        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def table(batches: Sequence[Load]) -> Table:
    """Batches, and what is left to extract of each."""
    columns = (Column("batch", number=False), Column("source", number=False), Column("samples"), Column("to extract"))
    rows = (Row((load.batch, load.contents.name, _counted(load.samples), _counted(load.remaining))) for load in batches)
    notes = ("?: counted once it is downloaded or unpacked",) if any(load.samples is None for load in batches) else ()
    return Table("Batches", columns, tuple(rows), notes)


def _counted(value: int | None) -> str:
    return "?" if value is None else count(value)


def facts(
    batches: Sequence[Load], cost: Cost | None, run: RunCost, extract: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Images, minutes, memory; the size of the closed forms."""
    remaining = sum(load.remaining or 0 for load in batches)
    network = f"{_network(extract)}, weights {extract['weights']}"
    said = [("images", f"{count(remaining)} to extract" + (f" with {network}" if remaining else ""))]
    if cost:
        said += [("speed", f"{cost.speed:.0f} images/s, measured on {amount(cost.images, 'image')}")]
    said += _costs(run, _unknown(batches))
    if width := _width(batches, cost):
        said += _closed_forms(batches, width)
        stored = disk(batches, width, extract["dtype"])
        twice = " (both that in data, and that again in DVC's cache)" if copies() > 1 else ""
        said += [("disk", f"about {size(stored * copies())} beside the deliveries{twice}")]
    return said


def disk(batches: Sequence[Load], width: int, dtype: str) -> int:
    """Bytes that stages write: features, unpacked archives, moments, tables and the report."""
    rows = [load.samples or 0 for load in batches]
    images = sum(load.samples or 0 for load in batches if load.contents.kind == "images")
    features = sum(n * width * _bytes(load, dtype) for load, n in zip(batches, rows, strict=True))
    matrices = 5 if any(load.batch not in ("core", "test") for load in batches) else 2  # half of each is stored
    moments = matrices * 8 * (width + 1) * (width + 2) // 2
    page = PAGE + min(images * THUMBNAIL, THUMBNAILS)
    return features + sum(map(_unpacked, batches)) + sum(rows) * ROW + moments + page


def _bytes(load: Load, dtype: str) -> int:
    """Of a feature: what is ready in half precision stays so."""
    ready = load.contents.kind == "features" and all(
        open_ready(file, unlabelled=True).features.dtype == "float16" for file in load.contents.files
    )
    return BYTES["float16" if ready else dtype]


def _unpacked(load: Load) -> int:
    """Of an archive on this disk: pictures are packed already."""
    source = load.contents.source
    return Path(source.source).stat().st_size if isinstance(source, ArchiveSource) and not source.sha256 else 0


def copies() -> int:
    """How often DVC has what it keeps: once where the file system links, as its settings ask for, else twice."""
    from dvc_objects.fs import system

    for kind in re.findall(r"\w+", cache.setting("cache", "type", "reflink,copy")):
        try:
            if kind == "reflink":
                with tempfile.TemporaryDirectory(dir=".dvc") as folder:
                    Path(folder, "file").touch()
                    system.reflink(*(str(Path(folder, name)) for name in ("file", "link")))  # type: ignore[no-untyped-call]
            return 2 if kind == "copy" else 1
        except (OSError, NotImplementedError):
            continue
    return 2


def _costs(run: RunCost, unknown: str) -> list[tuple[str, str]]:
    parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in run.seconds.items())
    whole = f"about {duration(sum(run.seconds.values()))} for all stages: {parts}"
    time = f"{parts + '; the rest is ' if parts else ''}{unknown}" if unknown else whole
    return [("time", time), ("memory", f"about {size(run.memory)} at the peak")]


def _closed_forms(batches: Sequence[Load], width: int) -> list[tuple[str, str]]:
    rows = sum(load.samples or 0 for load in batches if load.batch != "test")
    classes = batches[0].contents.classes or 0
    moments = 8 * (width + 1) * (width + 1 + classes)
    shape = f"n = {count(rows)} (core and pool), p = {count(width)}, k = {count(classes)}"
    return [("problem", f"{shape}: moments {size(moments)}")]


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads well."""
    if seconds < 90:
        return amount(round(seconds), "second")
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def size(bytes_: int) -> str:
    """Bytes as MB or GB."""
    return f"{bytes_ / 1e9:.2f} GB" if bytes_ >= 1e8 else f"{bytes_ / 1e6:.1f} MB"
