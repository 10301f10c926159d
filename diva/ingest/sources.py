"""Where a delivery comes from, and what it holds.

A source is a string: ``textures`` or ``digits`` (embedded), a folder ``class/image``, a list (.csv, .tsv, .txt,
.parquet: path, label), ready features (.npz, .npy, .parquet, .h5), an archive of a folder (.zip, .tar, .tar.gz, …, or
its URL with the checksum: ``https://host/photos.tar.gz#sha256=…``), ``dataset:NAME`` or
``dataset:NAME@ROOT`` (the paper's, see `diva.ingest.catalog`), ``torchvision:NAME``, or ``none``.
Images are used where they lie. A folder, a list, an archive or one of
`diva.ingest.formats` may be an fsspec URL (``s3://bucket/photos``); see `diva.store.remote`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from diva.ingest import annotations, archives, embedded, folders, images, listings
from diva.ingest.formats import registry
from diva.ingest.formats.listing import CLIMBS, FormatOptions, braces
from diva.ingest.named import DataSetOptions, DataSetSource, TorchvisionOptions, TorchvisionSource
from diva.ingest.readers import (
    KINDS,
    ArchiveOptions,
    ArchiveSource,
    EmptySource,
    FeatureSource,
    ImageSource,
    JoinedSource,
    Source,
)
from diva.store import documents, ledger, remote
from diva.text.redaction import redacted
from diva.vision.formats import SUFFIXES

READY = (".npz", ".npy", ".h5", ".hdf5")
REMEDIES = {
    (".xlsx", ".xls", ".ods", ".numbers"): "save the sheet as .csv",
    (".json", ".jsonl", ".ndjson", ".xml", ".yaml", ".yml"): "write its rows into a .csv: path,label",
    (".7z", ".rar", ".gz", ".bz2", ".xz", ".zst"): "unpack it, and name what it holds",
    (
        ".pt",
        ".pth",
        ".pkl",
        ".pickle",
        ".joblib",
        ".mat",
        ".rds",
    ): "save features and labels by numpy.savez",
    (".feather", ".arrow", ".ipc", ".avro", ".orc"): "save the table as .parquet",
    SUFFIXES: "name the folder of the folders of classes",
}  # by how files end that are none of these
O = TypeVar("O", bound=BaseModel)


class NoOptions(BaseModel):
    """Sources in place have no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def open_source(
    source: str,
    options: Mapping[str, Any],
    *,
    workers: int = 4,
    max_pixels: int = images.MAX_PIXELS,
    unlabelled: bool = False,
) -> Source:
    """The source that a ledger's entry names.

    Args:
        source: see the module.
        options: of the embedded default, of archives and of data sets by name; empty otherwise.
        workers: threads that read files.
        max_pixels: images with more are set aside.
        unlabelled: whether samples may wait for their labels, as those of a pool may.

    Raises:
        ValueError: no such source, or options that it does not have.
    """
    if not source.strip():
        raise ValueError(f"source must be {KINDS}, got an empty text.")
    if is_elsewhere(source, options):
        settings = {"workers": workers, "max_pixels": max_pixels, "unlabelled": unlabelled}
        return _elsewhere(source, options, settings)
    if source == "textures":
        return embedded.textures(_options(options, embedded.TextureOptions, source))
    if source == "digits":
        return embedded.digits(_options(options, embedded.SliceOptions, source))
    if source.startswith("torchvision:"):
        return TorchvisionSource(
            source.removeprefix("torchvision:"), _options(options, TorchvisionOptions, source), workers, max_pixels
        )
    if source.startswith("dataset:"):
        name, _, root = source.removeprefix("dataset:").partition("@")
        options = {**options, "root": root} if root else options
        return DataSetSource(name, _options(options, DataSetOptions, source), workers, max_pixels)
    if "format" in options:
        layout = registry.opened(source, _options(options, FormatOptions, source))
        return registry.FormatSource(layout, workers, max_pixels, unlabelled)
    if "://" in source or archives.is_archive(source):
        limits = _options(options, ArchiveOptions, redacted(source))
        return ArchiveSource(source, limits, workers, max_pixels, unlabelled)
    if source == "none":
        _options(options, NoOptions, source)
        return EmptySource()
    return _lying_here(source, options, workers, max_pixels, unlabelled)


def _lying_here(source: str, options: Mapping[str, Any], workers: int, max_pixels: int, unlabelled: bool) -> Source:
    """A file or a folder: a record of labels, a list, a folder of images, ready features."""
    path = Path(source)
    if not path.exists():
        raise ValueError(f"source must be {KINDS}, got {source!r}, and nothing lies there.")
    if not (path.is_dir() or path.is_file()):
        raise ValueError(f"source must be {KINDS}, got {source!r}, which is a named pipe or a device.")
    if annotations.is_record(path):
        _options(options, annotations.RecordOptions, source)
        return annotations.RecordSource(path)
    kind = path.suffix.lower()
    if path.is_file() and (kind in listings.TEXTS or (kind == ".parquet" and listings.is_list(path, options))):
        columns = _options(options, listings.ListOptions, source).columns
        listed, further = listings.rows_of(path, columns, unlabelled)
        return ImageSource(listed, workers, max_pixels, path, unlabelled, further)
    _options(options, NoOptions, source)
    if path.is_dir():
        listed = folders.images_of(path, unlabelled)
        return ImageSource(listed, workers, max_pixels, unlabelled=unlabelled)
    if kind in (*READY, ".parquet"):
        return FeatureSource(path, unlabelled)
    remedy = next((remedy for endings, remedy in REMEDIES.items() if source.lower().endswith(endings)), "")
    raise ValueError(f"source must be {KINDS}, got {source!r}{remedy and f'; {remedy}'}.")


def is_elsewhere(source: str, options: Mapping[str, Any]) -> bool:
    """Whether a source is a URL that is read by its names; an archive over HTTP needs its checksum instead."""
    by_checksum = source.startswith("http") and archives.is_archive(source) and "format" not in options
    return remote.is_remote(source) and not by_checksum


def located(source: str) -> str:
    """Where the names of a source that lies elsewhere are on this disk."""
    if source.lower().endswith(READY):
        raise ValueError(f"ready features must lie on this disk, got {redacted(source)}; copy them here.")
    return remote.mirrored(source, braces(source))


def _elsewhere(source: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> Source:
    """The same by URL; a list there names files below its folder."""
    here = located(source)
    try:
        opened = open_source(here, options, **settings)
    except ValueError as error:
        raise ValueError(str(error).replace(here, redacted(source))) from None
    if isinstance(opened, ImageSource) and opened.table:
        root = os.path.abspath(opened.table.parent)  # noqa: PTH100 - as it is written, whatever lies there
        opened.listed = [
            entry
            if os.path.abspath(entry.path).startswith(f"{root}{os.sep}")  # noqa: PTH100
            else entry._replace(fault=CLIMBS)
            for entry in opened.listed
        ]
    return opened


def _options(options: Mapping[str, Any], model: type[O], source: str) -> O:
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        faults = " ".join(documents.explain(error, dict(options)))
        allowed = ", ".join(model.model_fields) or "none"
        raise ValueError(f"options of {source!r} must be {allowed}, got {dict(options)}: {faults}") from None


def checksum(source: str, options: Mapping[str, Any]) -> str:
    """Checksum of a delivery as it lies there now."""
    return open_source(source, options, unlabelled=True).checksum()


def accept(book: ledger.Ledger, name: str | None, source: str, options: Mapping[str, Any]) -> ledger.Ledger:
    """The ledger with this delivery as batch ``name`` (None: the next of the pool), its checksum taken now."""
    return ledger.accept(book, name, source, options, checksum(source, options))


def open_batch(entry: ledger.Batch, batch: str, *, workers: int = 4, max_pixels: int = images.MAX_PIXELS) -> Source:
    """The source of a batch, several deliveries as one; ValueError where one has changed since it was accepted."""
    opened: list[Source] = []
    settings = {"workers": workers, "max_pixels": max_pixels, "unlabelled": waits(batch)}
    for part in entry.deliveries:
        opened.append(open_source(part.source, part.options, **settings))  # type: ignore[arg-type]
        verify(opened[-1], part, batch)
    return opened[0] if len(opened) == 1 else JoinedSource(opened)


def waits(batch: str) -> bool:
    """Whether samples of a batch may wait for their labels: those of the pool may."""
    return batch not in ("core", "test")


def verify(source: Source, entry: ledger.Batch, batch: str) -> None:
    """Refuse a delivery that has changed since it was accepted."""
    now = source.checksum()
    if now != entry.checksum:
        raise ValueError(
            f"batches.{batch}.checksum must be that of {entry.source!r}, which is now {now}, got {entry.checksum}: "
            "the delivery has changed since it was accepted. Put it back as it was, or accept it as a new batch."
        )
