"""Deliveries by kind: the checksum that tells one from a changed one, and what it holds."""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from diva.ingest import archives, folders, images, listings
from diva.ingest.images import Listed
from diva.store import digests, manifest, remote, tables
from diva.store.features import SLAB, contents
from diva.store.manifest import Delivery, Refused, Sample
from diva.text.labels import plain_text
from diva.text.redaction import holds_secret, redacted

KINDS = (
    "'textures', 'digits', a folder class/image, a list (.csv, .tsv, .txt or .parquet) with the columns path and label,"
    " ready features (.npz, .npy, .parquet, .h5), an archive (.zip, .tar, .tar.gz, .tar.bz2, .tar.xz or URL#sha256=…), "
    "'dataset:NAME', 'torchvision:NAME' or 'none'"
)
URL = re.compile(r"^(https?|file)://[^#]+#sha256=([0-9a-f]{64})$")
EMPTY = Delivery(manifest.samples([]), manifest.refusals([]), tables.empty(manifest.TRUTH))
LARGE = 200_000_000  # bytes of an archive that is not read to its end before a run


class Source(Protocol):
    """A delivery that can be checked and read."""

    def checksum(self) -> str:
        """What tells this delivery from a changed one."""
        ...

    def read(self, folder: Path) -> Delivery:
        """Describe what it holds; ``folder`` (which exists, empty) takes images that lie nowhere else."""
        ...


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
        unlabelled: whether files without a label are samples that wait for theirs.
        further: what the list says of each file beside path and label, a row each.
    """

    def __init__(
        self,
        listed: list[Listed],
        workers: int,
        max_pixels: int,
        table: Path | None = None,
        unlabelled: bool = False,
        further: pl.DataFrame | None = None,
    ) -> None:
        self.listed, self.workers, self.max_pixels, self.table = listed, workers, max_pixels, table
        self.unlabelled, self.further = unlabelled, further

    @cached_property
    def _digests(self) -> dict[Path, str | None]:
        paths = list(dict.fromkeys(entry.path for entry in self.listed if entry.fault in (None, folders.SYSTEM)))
        return dict(zip(paths, images.in_threads(images.digest, paths, self.workers, "checksums"), strict=True))

    def checksum(self) -> str:
        """Over names and contents of all files."""
        lines = {listed.name: self._digests.get(listed.path) for listed in self.listed}
        if self.table:
            lines[self.table.name] = images.digest(self.table)
        return images.checksum(lines.items())

    def read(self, folder: Path) -> Delivery:  # noqa: ARG002 - they stay where they are
        """One row per readable image with a label (or one that may wait for it), each content once."""

        def inspect(listed: Listed) -> Sample | Refused:
            return images.inspect(listed, self._digests.get(listed.path), self.unlabelled)

        with images.size_limit(self.max_pixels):
            rows = images.in_threads(inspect, self.listed, self.workers, "images")
        return delivery(rows, further=self.further)


def delivery(rows: list[Sample | Refused], kind: str = "same content", further: pl.DataFrame | None = None) -> Delivery:
    """Rows as manifest and quarantine, each ``sample_id`` once; nothing is known of the truth.

    Args:
        rows: of the delivery.
        kind: what two rows of one ``sample_id`` have in common.
        further: what the delivery says of each row beside.
    """
    unique, copies = manifest.distinct((row for row in rows if isinstance(row, Sample)), kind)
    refused = [row for row in rows if isinstance(row, Refused)]
    samples = manifest.samples(unique)
    if further is not None and further.width:
        ids = pl.Series("sample_id", [row.sample_id if isinstance(row, Sample) else None for row in rows], pl.String)
        first = further.with_columns(ids).drop_nulls("sample_id").unique("sample_id", keep="first")
        samples = samples.join(first, on="sample_id", how="left", maintain_order="left")
    return EMPTY._replace(samples=samples, refused=manifest.refusals(refused + copies))


class FeatureSource:
    """Features made elsewhere: a row of the file is a sample.

    Args:
        path: the file; beside an .npy lie its labels, NAME_labels.npy.
        unlabelled: whether rows without a label are samples that wait for theirs.
    """

    def __init__(self, path: Path, unlabelled: bool = False) -> None:
        self.path, self.unlabelled = path, unlabelled

    def checksum(self) -> str:
        """Of the file, or of the two files of an .npy."""
        labels = self.path.with_name(f"{self.path.stem}_labels.npy")
        if self.path.suffix.lower() == ".npy" and labels.exists():
            return images.checksum((path.name, images.digest(path)) for path in (self.path, labels))
        return f"sha256:{digests.sha256(self.path)}"

    def read(self, folder: Path) -> Delivery:  # noqa: ARG002 - they stay where they are
        """What the file holds."""
        return self.contents

    @cached_property
    def contents(self) -> Delivery:
        """One row per labelled sample; ids as given, or the hash of the row's numbers, which reads all of them."""
        from diva.ingest.ready import open_ready
        from diva.ingest.ready_columns import columns_of

        ready = open_ready(self.path, self.unlabelled)
        ids = _hashes(ready.features) if ready.sample_id is None else map(plain_text, ready.sample_id)
        groups = [""] * len(ready.labels) if ready.group is None else ready.group.tolist()
        rows = enumerate(zip(ids, ready.labels.tolist(), groups, strict=True))
        samples = [self._row(row, name, label or None, group or None) for row, (name, label, group) in rows]
        kind = "same content" if ready.sample_id is None else "same sample_id"
        return delivery(samples, kind, columns_of(self.path, len(samples)))

    def _row(self, row: int, sample_id: str | None, label: str | None, group: str | None) -> Sample | Refused:
        path = self.path.as_posix()
        if sample_id is None or not sample_id.isascii():
            return Refused(
                None, path, label, f"no ASCII sample_id: {sample_id!r} in row {row}", "Give it one in ASCII."
            )
        if label is None and not self.unlabelled:
            return Refused(sample_id, path, None, f"no label: row {row}", "Give it a label, or take the row out.")
        return Sample(sample_id, path, label, row=row, group=group)


class ArchiveOptions(archives.Limits, listings.ListOptions):
    """What an archive may unpack to, and what a list in it calls its columns."""


class ArchiveSource:
    """A folder class/image in an archive, or images beside their list, unpacked into the batch's folder.

    Args:
        source: path, or URL with ``#sha256=…``.
        limits: what it may unpack to.
        workers: threads that read the files.
        max_pixels: images with more are set aside.
        unlabelled: whether images of an archive without folders wait for their labels.
    """

    def __init__(
        self, source: str, limits: ArchiveOptions, workers: int, max_pixels: int, unlabelled: bool = False
    ) -> None:
        self.source, self.limits, self.workers, self.max_pixels = source, limits, workers, max_pixels
        self.unlabelled, self.columns = unlabelled, limits.columns
        self.sha256 = None
        if "://" in source:
            self.sha256 = _checksum_of_url(source)
        elif not Path(source).is_file():
            raise ValueError(f"source must be {KINDS}, got {source!r}, and no file lies there.")

    def checksum(self) -> str:
        """Of the archive; that of a URL is part of it."""
        return f"sha256:{self.sha256 or images.digest(Path(self.source))}"

    def check(self) -> None:
        """Refuse what ``read`` would refuse, as far as it is here already."""
        if not self.sha256:
            archives.check(remote.local(self.source), self.limits)

    def glance(self) -> list[str]:
        """Names of its files; refuses what is no whole archive, of a large one and its names by its first entry."""
        if self.sha256:
            return []
        path = remote.local(self.source)
        return archives.check(path, self.limits, first=path.stat().st_size > LARGE)

    def read(self, folder: Path) -> Delivery:
        """Fetch where needed, unpack into ``folder``, describe the images; members that may not be are set aside."""
        from diva.ingest import fetch  # requests takes a tenth of a second

        archive = fetch.by_url(self.source, self.sha256) if self.sha256 else remote.local(self.source)
        result = self.unpacked(archive, folder).read(folder)
        if archive.parent == fetch.CACHE:
            archive.unlink()
        return result

    def unpacked(self, archive: Path, folder: Path) -> ImageSource:
        """Its images, once they are in ``folder``: by the list among them where their folders are no classes."""
        aside = archives.sift(archive, folder, self.limits)
        root, further = folders.root_of(folder), None
        listed = folders.images_of(root, self.unlabelled)
        if folders.are_no_classes(entry.label for entry in listed if not entry.fault):
            lists = listings.lists_in(root, self.columns)
            if len(lists) == 1:
                ((table, names),) = lists.items()
                listed, further = listings.rows_of(table, names, self.unlabelled)
                further = pl.concat([further, further.clear(len(aside))])
        return ImageSource([*listed, *aside], self.workers, self.max_pixels, None, self.unlabelled, further)


class JoinedSource:
    """Several deliveries to one set, in their order: each content once, labels in the first one's spelling."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources

    def checksum(self) -> str:
        """Over those of all deliveries."""
        return images.checksum((f"{number:06d}", source.checksum()) for number, source in enumerate(self.sources))

    def read(self, folder: Path) -> Delivery:
        """The deliveries one after the other; images of later ones go into folders of their own."""
        parts = [self.sources[0].read(folder)]
        for number, source in enumerate(self.sources[1:], 1):
            inside = folder / f"added-{number:03d}"
            inside.mkdir()
            parts.append(source.read(inside))
        return manifest.joined(parts)


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
