"""Where a delivery comes from, and what it holds.

A source is a string: ``digits`` (embedded), a folder ``class/image``, a .csv or .parquet list (path, label), ready
features (.npz, .npy, .parquet, .h5), an archive of a folder (.zip, .tar, .tar.gz, …, or its URL with the checksum:
``https://host/photos.tar.gz#sha256=…``), ``dataset:NAME`` or ``dataset:NAME@ROOT`` (the paper's, see
`diva.ingest.catalog`), ``torchvision:NAME``, or ``none``. Images are used where they lie.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from diva.ingest import archives, embedded, images
from diva.ingest.images import Listed
from diva.store import ledger, manifest, tables
from diva.store.features import SLAB, contents
from diva.store.manifest import Delivery, Refused, Sample
from diva.text.labels import normalized, plain_text
from diva.text.redaction import holds_secret, redacted

KINDS = (
    "'digits', a folder class/image, a .csv or .parquet list with the columns path and label, ready features "
    "(.npz, .npy, .parquet, .h5), an archive (.zip, .tar, .tar.gz, or URL#sha256=…), 'dataset:NAME', "
    "'torchvision:NAME' or 'none'"
)
URL = re.compile(r"^(https?|file)://[^#]+#sha256=([0-9a-f]{64})$")
READY = (".npz", ".npy", ".h5", ".hdf5")
EMPTY = Delivery(manifest.samples([]), manifest.refusals([]), tables.empty(manifest.TRUTH))
O = TypeVar("O", bound=BaseModel)


class Source(Protocol):
    """A delivery that can be checked and read."""

    def checksum(self) -> str:
        """What tells this delivery from a changed one."""
        ...

    def read(self, folder: Path) -> Delivery:
        """Describe what it holds; ``folder`` (which exists, empty) takes images that lie nowhere else."""
        ...


class NoOptions(BaseModel):
    """Sources in place have no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TorchvisionOptions(BaseModel):
    """Which part of a torchvision data set; ``root``: where its files lie or shall stay (None: nowhere)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str = "train"
    root: str | None = None


class DataSetOptions(BaseModel):
    """Which part of a data set of the paper; ``root``: where it lies, or shall lie once it is fetched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["train", "test"] = "train"
    root: str = "downloads"


def open_source(source: str, options: Mapping[str, Any], *, workers: int = 4, max_pixels: int = 1 << 26) -> Source:
    """The source that a ledger's entry names.

    Args:
        source: see the module.
        options: of the embedded default, of archives and of data sets by name; empty otherwise.
        workers: threads that read files.
        max_pixels: images with more are set aside.

    Raises:
        ValueError: no such source, or options that it does not have.
    """
    if source == "digits":
        return embedded.Digits(_options(options, embedded.DigitsOptions, source))
    if source.startswith("torchvision:"):
        return TorchvisionSource(
            source.removeprefix("torchvision:"), _options(options, TorchvisionOptions, source), workers, max_pixels
        )
    if source.startswith("dataset:"):
        name, _, root = source.removeprefix("dataset:").partition("@")
        options = {**options, "root": root} if root else options
        return DataSetSource(name, _options(options, DataSetOptions, source), workers, max_pixels)
    if "://" in source or archives.is_archive(source):
        return ArchiveSource(source, _options(options, archives.Limits, redacted(source)), workers, max_pixels)
    _options(options, NoOptions, source)
    if source == "none":
        return EmptySource()
    path = Path(source)
    if not path.exists():
        raise ValueError(f"source must be {KINDS}, got {source!r}, and nothing lies there.")
    if not (path.is_dir() or path.is_file()):
        raise ValueError(f"source must be {KINDS}, got {source!r}, which is a named pipe or a device.")
    if path.is_dir():
        return ImageSource(images.folder(path), workers, max_pixels)
    kind = path.suffix.lower()
    if kind in READY or (kind == ".parquet" and not _is_list(path)):
        return FeatureSource(path)
    if kind in (".csv", ".parquet"):
        return ImageSource(listing(path), workers, max_pixels, path)
    raise ValueError(f"source must be {KINDS}, got {source!r}.")


def _is_list(table: Path) -> bool:
    """Whether a parquet file lists images; otherwise it holds features."""
    return "path" in tables.parse(pl.read_parquet_schema, table, "parquet file")


def _options(options: Mapping[str, Any], model: type[O], source: str) -> O:
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg'].lower()}" for f in error.errors())
        allowed = ", ".join(model.model_fields) or "none"
        raise ValueError(f"options of {source!r} must be {allowed}, got {dict(options)}: {faults}.") from None


def checksum(source: str, options: Mapping[str, Any]) -> str:
    """Checksum of a delivery as it lies there now."""
    return open_source(source, options).checksum()


def accept(book: ledger.Ledger, name: str | None, source: str, options: Mapping[str, Any]) -> ledger.Ledger:
    """The ledger with this delivery as batch ``name`` (None: the next of the pool), its checksum taken now."""
    return ledger.accept(book, name, source, options, checksum(source, options))


def verify(source: Source, entry: ledger.Batch, batch: str) -> None:
    """Refuse a delivery that has changed since it was accepted."""
    now = source.checksum()
    if now != entry.checksum:
        raise ValueError(
            f"batches.{batch}.checksum must be that of {entry.source!r}, which is now {now}, got {entry.checksum}: "
            "the delivery has changed since it was accepted. Put it back as it was, or accept it as a new batch."
        )


class EmptySource:
    """An empty batch."""

    def checksum(self) -> str:
        """No checksum."""
        return "none"

    def read(self, folder: Path) -> Delivery:  # noqa: ARG002 - the protocol's
        """Nothing."""
        return EMPTY


class ImageSource:
    """Image files in place.

    Args:
        listed: the files and their labels.
        workers: threads that read them.
        max_pixels: images with more are set aside.
        table: the list that names the files, itself part of the delivery.
    """

    def __init__(self, listed: list[Listed], workers: int, max_pixels: int, table: Path | None = None) -> None:
        self.listed, self.workers, self.max_pixels, self.table = listed, workers, max_pixels, table

    @cached_property
    def _digests(self) -> dict[Path, str | None]:
        paths = list(dict.fromkeys(listed.path for listed in self.listed if not listed.fault))
        return dict(zip(paths, images.in_threads(images.digest, paths, self.workers, "checksums"), strict=True))

    def checksum(self) -> str:
        """Over names and contents of all files."""
        lines = {listed.name: self._digests.get(listed.path) for listed in self.listed}
        if self.table:
            lines[self.table.name] = images.digest(self.table)
        return images.checksum(lines.items())

    def read(self, folder: Path) -> Delivery:  # noqa: ARG002 - they stay where they are
        """One row per readable image with a label, each content once."""

        def inspect(listed: Listed) -> Sample | Refused:
            return images.inspect(listed, self._digests.get(listed.path))

        with images.size_limit(self.max_pixels):
            return delivery(images.in_threads(inspect, self.listed, self.workers, "images"))


def delivery(rows: list[Sample | Refused]) -> Delivery:
    """Rows as manifest and quarantine, each content once; nothing is known of the truth."""
    unique, copies = manifest.distinct(row for row in rows if isinstance(row, Sample))
    refused = [row for row in rows if isinstance(row, Refused)]
    return EMPTY._replace(samples=manifest.samples(unique), refused=manifest.refusals(refused + copies))


def listing(table: Path) -> list[Listed]:
    """The files that a .csv or .parquet list names, in its order; relative paths start at the list's folder."""
    read = tables.read_csv if table.suffix.lower() == ".csv" else tables.read_parquet
    frame = tables.parse(read, table, "list")
    if not {"path", "label"} <= set(frame.columns):
        raise ValueError(f"{table} must have the columns path and label, got {', '.join(frame.columns) or 'none'}.")
    return [_entry(table, number, path, label) for number, (path, label) in enumerate(frame["path", "label"].rows(), 1)]


def _entry(table: Path, number: int, path: Any, label: Any) -> Listed:
    if path is None or not str(path).strip():
        fault = images.Fault(f"no path: line {number} of {table.name}", "Give it a path, or take the line out.")
        return Listed(table, f"{table.name}#{number}", normalized(label), fault)
    return Listed(Path(os.path.normpath(table.parent / str(path))), str(path), normalized(label))


class FeatureSource:
    """Features made elsewhere: a row of the file is a sample.

    Args:
        path: the file; beside an .npy lie its labels, NAME_labels.npy.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def checksum(self) -> str:
        """Of the file, or of the two files of an .npy."""
        labels = self.path.with_name(f"{self.path.stem}_labels.npy")
        if self.path.suffix.lower() == ".npy" and labels.exists():
            return images.checksum((path.name, images.digest(path)) for path in (self.path, labels))
        return f"sha256:{tables.sha256(self.path)}"

    def read(self, folder: Path) -> Delivery:  # noqa: ARG002 - they stay where they are
        """One row per labelled sample; ids as given, or the hash of the row's numbers."""
        from diva.ingest.ready import open_ready

        ready = open_ready(self.path)
        ids = _hashes(ready.features) if ready.sample_id is None else map(plain_text, ready.sample_id)
        pairs = zip(ids, (label or None for label in ready.labels.tolist()), strict=True)
        return delivery([self._row(row, sample_id, label) for row, (sample_id, label) in enumerate(pairs)])

    def _row(self, row: int, sample_id: str | None, label: str | None) -> Sample | Refused:
        path = self.path.as_posix()
        if sample_id is None or not sample_id.isascii():
            return Refused(
                None, path, label, f"no ASCII sample_id: {sample_id!r} in row {row}", "Give it one in ASCII."
            )
        if label is None:
            return Refused(sample_id, path, None, f"no label: row {row}", "Give it a label, or take the row out.")
        return Sample(sample_id, path, label, row=row)


class ArchiveSource:
    """A folder class/image in an archive, unpacked into the batch's folder.

    Args:
        source: path, or URL with ``#sha256=…``.
        limits: what it may unpack to.
        workers: threads that read the files.
        max_pixels: images with more are set aside.
    """

    def __init__(self, source: str, limits: archives.Limits, workers: int, max_pixels: int) -> None:
        self.source, self.limits, self.workers, self.max_pixels = source, limits, workers, max_pixels
        self.sha256 = None
        if "://" in source:
            self.sha256 = _checksum_of_url(source)
        elif not Path(source).is_file():
            raise ValueError(f"source must be {KINDS}, got {source!r}, and no file lies there.")

    def checksum(self) -> str:
        """Of the archive; that of a URL is part of it."""
        return f"sha256:{self.sha256 or tables.sha256(Path(self.source))}"

    def check(self) -> None:
        """Refuse what ``read`` would refuse, as far as it is here already."""
        if not self.sha256:
            archives.check(Path(self.source), self.limits)

    def read(self, folder: Path) -> Delivery:
        """Fetch where needed, unpack into ``folder``, describe the images; members that may not be are set aside."""
        from diva.ingest import fetch  # requests takes a tenth of a second

        archive = fetch.by_url(self.source, self.sha256) if self.sha256 else Path(self.source)
        aside = archives.sift(archive, folder, self.limits)
        listed = images.folder(archives.root(folder))
        result = ImageSource([*listed, *aside], self.workers, self.max_pixels).read(folder)
        if archive.parent == fetch.CACHE:
            archive.unlink()
        return result


def _checksum_of_url(source: str) -> str:
    if holds_secret(source):
        raise ValueError(
            f"source must carry no password, token or signature (the ledger is kept in git), got {redacted(source)}; "
            "put the login into ~/.netrc."
        )
    match = URL.match(source)
    if match is None:
        raise ValueError(
            f"source must be an http, https or file URL with its checksum, URL#sha256=<64 hexadecimal digits>, got "
            f"{source}; `sha256sum` tells it."
        )
    return match[2]


def _hashes(features: Any) -> Iterator[str]:
    """Ids of the rows of ``features`` (n, p), read slab by slab."""
    for start in range(0, len(features), SLAB):
        for content in contents(features[start : start + SLAB]):
            yield content[: manifest.ID_LENGTH]


class DataSetSource:
    """A data set of the paper, its images in place below its root.

    Args:
        name: in `diva.ingest.catalog`.
        options: which part of it, and where it lies.
        workers: threads that read files.
        max_pixels: images with more are set aside.
    """

    def __init__(self, name: str, options: DataSetOptions, workers: int, max_pixels: int) -> None:
        from diva.ingest import catalog

        self.name, self.options, self.workers, self.max_pixels = catalog.get(name).name, options, workers, max_pixels

    def checksum(self) -> str:
        """Of name and part alone; archives are checked when they are unpacked, where their authors give a checksum."""
        return "sha256:" + hashlib.sha256(f"dataset:{self.name}:{self.options.split}".encode()).hexdigest()

    def read(self, folder: Path) -> Delivery:
        """Fetch it where it is absent; ``folder`` takes images that lie in no files of their own."""
        from diva.ingest import catalog

        labelled = catalog.listing(self.name, self.options.split, Path(self.options.root), folder)
        listed = [Listed(path, f"{number:06d}-{path.name}", label) for number, (path, label) in enumerate(labelled)]
        return ImageSource(listed, self.workers, self.max_pixels).read(folder)


class TorchvisionSource:
    """A data set of torchvision, written out as PNG files.

    Args:
        name: the class in ``torchvision.datasets``.
        options: which part of it, and where its files lie.
        workers: threads that read the files back.
        max_pixels: images with more are set aside.
    """

    def __init__(self, name: str, options: TorchvisionOptions, workers: int, max_pixels: int) -> None:
        self.name, self.options, self.workers, self.max_pixels = name, options, workers, max_pixels

    def checksum(self) -> str:
        """Of name and part alone; the files' own checksums are torchvision's to verify when it downloads them."""
        return "sha256:" + hashlib.sha256(f"torchvision:{self.name}:{self.options.split}".encode()).hexdigest()

    def read(self, folder: Path) -> Delivery:
        """Download where needed, write the images into ``folder``, describe them."""
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder.parent) as temporary:
            listed = self._write(folder, self.options.root or temporary)
        return ImageSource(listed, self.workers, self.max_pixels).read(folder)

    def _write(self, folder: Path, root: str) -> list[Listed]:
        from diva.vision.datasets import torchvision_data_set  # the one branch that imports torchvision

        images_and_labels = torchvision_data_set(self.name, root, self.options.split, download=True)
        classes = getattr(images_and_labels, "classes", None)
        listed = []
        for number, (image, label) in enumerate(images_and_labels):
            path = folder / f"{number:06d}.png"
            image.save(path, format="PNG")
            listed.append(Listed(path, path.name, normalized(classes[label] if classes else label)))
        return listed
