"""The watched folder: deliveries arrive there, one entry each; only complete ones are seen.

    <watch>/2026-03-01/class/image.png   with  <watch>/2026-03-01/.complete      a folder of images, marked
    <watch>/2026-03-02/images/…          with  <watch>/2026-03-02/manifest.csv   a folder and its list (path, label)
    <watch>/2026-03-03.npz               with  <watch>/2026-03-03.npz.complete   a list, ready features, or an archive
    <watch>/2026-03-04.json              with  …/2026-03-04.json.labels, then .complete   labels of samples that wait

A delivery is the pool's, unless an empty file ``.core`` or ``.test``, written first, lies in the folder (of a single
file: ``2026-03-03.npz.core``): then it joins the core or the test set (see ``diva.versions.batches``). Whoever delivers
writes the marker or the manifest last; a manifest counts once all files that it names are there. A folder on this
machine is used where it lies. From any other URL (fsspec: s3, sftp, …) a complete delivery is first copied to
``data/deliveries``, under a temporary name until it is whole.
"""

import shutil
from pathlib import Path
from typing import Any, Literal, NamedTuple

import fsspec  # type: ignore[import-untyped]
import polars as pl

from diva.ingest import annotations, archives, listings, sources
from diva.store import ledger, paths
from diva.store.ledger import Ledger
from diva.text.harmless import plain
from diva.text.redaction import redacted
from diva.versions import batches, labelling
from flows import inspection
from stages.params import section
from stages.params.download import Download

MARKER = ".complete"
Destination = Literal[batches.Destination, "labels"]
JOINED: tuple[Destination, ...] = ("core", "test", "labels")
MANIFESTS = ("manifest.csv", "manifest.parquet")
TABLES = (*listings.TEXTS, ".parquet", *sources.READY, *archives.SUFFIXES)
FILES = (*TABLES, *(suffix for suffix in annotations.SUFFIXES if suffix not in TABLES))  # the last with labels alone
COPIES = paths.DATA / "deliveries"


class Arrival(NamedTuple):
    """An entry of the watched folder.

    Attributes:
        name: of the entry.
        url: where it lies.
        source: what the ledger will call it.
        waits: why it is not complete yet; "" where it is.
        to: the set that it joins: pool, core or test; labels: those of samples of the pool.
    """

    name: str
    url: str
    source: str
    waits: str = ""
    to: Destination = "pool"


class Watched:
    """A folder of deliveries.

    Args:
        url: a path, or an fsspec URL.
    """

    def __init__(self, url: str) -> None:
        try:
            self.files, self.root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise ValueError(f"The driver of {redacted(url)} must be installed, got none: {error}.") from None
        self.here = url if "://" not in url else None

    def arrivals(self) -> list[Arrival]:
        """All entries by name; hidden ones, markers and the labels of an .npy are not seen."""
        self.files.invalidate_cache()
        if not self.files.isdir(self.root):
            return []
        entries = {Path(entry["name"]).name: entry for entry in self.files.ls(self.root, detail=True)}
        parts = {name.removesuffix(".npy") + "_labels.npy" for name in entries}
        markers = {f"{name}.{to}" for name in entries if name.lower().endswith(FILES) for to in JOINED}
        parts |= {name for name in markers & entries.keys() if self.files.isfile(entries[name]["name"])}
        seen = (name for name in sorted(entries) if not name.startswith(".") and not name.endswith(MARKER))
        return [self._arrival(name, entries[name]) for name in seen if name not in parts]

    def _arrival(self, name: str, entry: dict[str, Any]) -> Arrival:
        url = entry["name"]
        if self.here and not Path(url).exists():
            return Arrival(name, url, self._source(name), "it is a link that leads nowhere")
        if entry["type"] == "directory" or (self.here and Path(url).is_dir()):  # also where a link leads to one
            inner = next((table for table in MANIFESTS if self.files.exists(f"{url}/{table}")), "")
            # of a delivery elsewhere, the copy is checked
            waits = (absent(Path(url) / inner) if self.here else "") if inner else self._unmarked(f"{url}/{MARKER}")
            return Arrival(name, url, self._source(name, inner), waits, self._destination(f"{url}/"))
        to = self._destination(url)
        if name.lower().endswith(annotations.SUFFIXES if to == "labels" else TABLES):
            return Arrival(name, url, self._source(name), self._unmarked(f"{url}{MARKER}"), to)
        return Arrival(name, url, self._source(name), f"it is neither a folder nor one of {', '.join(TABLES)}")

    def _source(self, *parts: str) -> str:
        return Path(self.here or COPIES, *parts).as_posix()

    def _unmarked(self, marker: str) -> str:
        return "" if self.files.exists(marker) else f"{Path(marker).name} is not there yet"

    def _destination(self, beside: str) -> Destination:
        return next((to for to in JOINED if self.files.isfile(f"{beside}.{to}")), "pool")

    def bring(self, arrival: Arrival) -> str:
        """Copy a delivery from elsewhere, unless it is here already; why it must wait, or ""."""
        target = COPIES / arrival.name
        if self.here or target.exists():
            return ""
        COPIES.mkdir(parents=True, exist_ok=True)
        (COPIES / ".gitignore").write_text("*\n", encoding="utf-8")  # deliveries are no part of the repository
        temporary = target.with_name(f".{target.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        labels = arrival.url.removesuffix(".npy") + "_labels.npy"
        if self.files.exists(labels):
            self.files.get(labels, str(COPIES / Path(labels).name))
        self.files.get(arrival.url, str(temporary), recursive=True)
        manifest = temporary / Path(arrival.source).name
        waits = absent(manifest) if manifest.name in MANIFESTS else ""
        if not waits:
            temporary.rename(target)
        return waits


def absent(manifest: Path) -> str:
    """Why a delivery with a manifest waits: files of it that are not there; "" where all are."""
    try:
        listed = listings.images_of(manifest, unlabelled=True)
    except ValueError as error:
        return str(error)
    missing = [entry.name for entry in listed if not entry.path.exists()]
    return f"{len(missing)} files of {manifest.name} are not there yet (first: {missing[0]})" if missing else ""


def unknown(book: Ledger, watch: str) -> list[Arrival]:
    """Deliveries that the ledger does not name, those that wait among them."""
    entries = [entry for _, entry in ledger.deliveries(book)]
    accepted_sources = {Path(entry.options.get("file", entry.source)).as_posix() for entry in entries}
    return [arrival for arrival in Watched(watch).arrivals() if arrival.source not in accepted_sources]


def new(book: Ledger, watch: str) -> list[Arrival]:
    """Complete deliveries that the ledger does not know."""
    return [arrival for arrival in unknown(book, watch) if not arrival.waits]


def obstacle(book: Ledger, arrival: Arrival) -> str:
    """Why a delivery brings nothing tonight, as a sentence: it waits, came before under another name, or is refused.

    "" where it brings something; one that must first be copied does: its content is not known yet.
    """
    if arrival.waits:
        return f"Delivery {plain(arrival.name)} waits: {plain(arrival.waits)}."
    if not Path(arrival.source).exists():
        return ""
    verdict = judge(book, arrival)
    return "" if verdict.book else f"Delivery {verdict.outcome.rstrip('.')}."


class Admission(NamedTuple):
    """What became of a delivery: the ledger with it (None: it is no batch), the outcome in words, its record."""

    book: Ledger | None
    outcome: str
    record: pl.DataFrame | None = None  # of labels


def judge(book: Ledger, arrival: Arrival) -> Admission:
    """Accept a delivery for the set it is meant for, unless its content was delivered before or cannot be read."""
    where = (Path(arrival.source).absolute(), arrival.source, arrival.to)
    try:
        checksum = inspection.checksum(*where)
    except (ValueError, OSError) as error:
        return Admission(None, plain(f"{arrival.name} is refused: {error}"))
    if arrival.to == "labels":
        return _labels(book, arrival)
    same = ledger.delivered(book, checksum)
    if same:
        return Admission(None, f"{plain(arrival.name)} was delivered before, as {same}; nothing is added")
    try:
        accepted = batches.added(
            book, arrival.to, ledger.Batch(source=arrival.source, checksum=checksum, options=inspection.options(*where))
        )
    except ValueError as error:
        return Admission(None, plain(f"{arrival.name} is refused: {error}"))
    what = ledger.newest_pool(accepted) if arrival.to == "pool" else f"of the {arrival.to}"
    effect = "" if arrival.to == "pool" else f": {batches.effect(book, arrival.to)}"
    return Admission(accepted, f"{plain(arrival.name)} is {what}{effect}")


def _labels(book: Ledger, arrival: Arrival) -> Admission:
    """Labels of samples that wait for one become a batch; what of them is refused is said, with its line."""
    download = section.read("download", Download)
    try:
        accepts = download.new_classes == "accept"
        record = labelling.checked(book, Path(arrival.source), accepts, download.separator)
    except ValueError as error:
        return Admission(None, plain(f"{arrival.name} is refused: {error}"))
    accepted = labelling.accepted(book, record, arrival.source)
    faults = labelling.faults(record)
    said = f"{arrival.name} is {ledger.newest_pool(accepted)}: {labelling.described(record)}"
    return Admission(accepted, plain(f"{said}\n{faults}" if faults else said), record)
