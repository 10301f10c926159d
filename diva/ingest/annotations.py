"""Labels that people gave to samples which wait for one: the files that they come in, and the project's record of each.

    file     .csv or .parquet (sample_id or path, and label), Label Studio's JSON export, or CVAT's XML (for images 1.1)
    record   data/labels/<digest>.csv: what of a file was taken, and what was refused, with its line and the reason

A record is the source of a batch of the pool: its samples are those that waited, under the labels that people gave.
"""

import hashlib
import xml.etree.ElementTree as ElementTree  # nosec B405
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from diva.ingest import listings
from diva.ingest.readers import EMPTY
from diva.store import atomic, digests, manifest, paths, tables
from diva.store.manifest import Delivery
from diva.text.labels import plain_text
from diva.text.targets import BAR, delivered

RECORD: tables.Schema = {
    "sample_id": pl.String,
    "path": pl.String,
    "label": pl.String,
    "row": pl.Int64,
    "group": pl.String,
    "pixels": pl.String,
    "line": pl.String,  # of the file, or the task
    "suggested_label": pl.String,  # by the model, where it was asked for
    "probability": pl.Float64,  # of that label
    "reason": pl.String,  # of what was refused; null of what was taken
    "remedy": pl.String,
}
NAMES = ("sample_id", "path", *listings.LIKELY["path"])
LABELS = ("label", *listings.LIKELY["label"], "choice")
SUFFIXES = (*listings.TEXTS, ".parquet", ".json", ".xml")


class Annotation(NamedTuple):
    """A label as a file gives it.

    Attributes:
        where: the line or the task that it stands in.
        name: the sample's id, or its file.
        label: as given; None where there is none.
    """

    where: str
    name: str
    label: str | None


class RecordOptions(BaseModel):
    """``file``: that a record is of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str


class Choices(BaseModel):
    """What a region of a task says; a box in hundredths of the image."""

    choices: list[str] = []
    rectanglelabels: list[str] = []
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0
    rotation: float = 0
    number: float | None = None

    @property
    def labels(self) -> list[str]:
        """As text."""
        return [*self.choices, *([] if self.number is None else [str(self.number)])]


class TaskResult(BaseModel):
    """One entry of what an annotator said of a task."""

    type: str = ""
    value: Choices = Choices()


class Completion(BaseModel):
    """What an annotator said of a task."""

    result: list[TaskResult] = []
    was_cancelled: bool = False


class Task(BaseModel):
    """A task of Label Studio's JSON export."""

    id: int | str = "without id"
    data: dict[str, Any]
    annotations: list[Completion]


def read(file: Path) -> list[Annotation]:
    """The labels of a file, in its order; ValueError where it is none, or holds none."""
    kinds: dict[str, tuple[Callable[[Path], Iterator[Annotation]], str]] = {
        **dict.fromkeys(listings.TEXTS, (_table, "list")),
        ".parquet": (_table, "parquet file"),
        ".json": (_label_studio, "JSON export of Label Studio"),
        ".xml": (_cvat, "XML export of CVAT"),
    }
    if file.suffix.lower() not in kinds:
        raise ValueError(f"FILE must end in one of {', '.join(SUFFIXES)}, got {file}.")
    reader, what = kinds[file.suffix.lower()]
    annotations = tables.parse(lambda path: list(reader(path)), file, what)
    if not annotations:
        raise ValueError(f"{file} must hold at least one label, got none.")
    return annotations


def _table(file: Path) -> Iterator[Annotation]:
    rows = listings.rows(file)
    header = [str(name).lower() for name in next(rows)[1]]
    name, label = (next((header.index(name) for name in names if name in header), -1) for names in (NAMES, LABELS))
    if min(name, label) < 0:
        raise ValueError(f"it must have the columns sample_id (or path) and label, got {', '.join(header) or 'none'}")
    for line, row in rows:
        yield Annotation(f"line {line}", plain_text(row[name]) or "", delivered(row[label]))


def tasks(file: Path) -> list[Task]:
    """What Label Studio exports as JSON; ValueError that says where it is something else."""
    try:
        return TypeAdapter(list[Task]).validate_json(tables.decoded(file))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}; export as JSON") from None


def _label_studio(file: Path) -> Iterator[Annotation]:
    for task in tasks(file):
        name = plain_text(task.data.get("sample_id")) or plain_text(task.data.get("image")) or ""
        for completion in task.annotations:
            chosen = [label for answer in completion.result for label in answer.value.labels]
            if chosen and not completion.was_cancelled:
                yield Annotation(f"task {task.id}", name, delivered(together(chosen)))


def together(labels: list[str]) -> str:
    """Several choices as one label: as many labels where samples may have them, else one that no class is called."""
    return (BAR if manifest.task() == "multilabel" else " and ").join(labels)


def cvat_images(file: Path) -> Iterator[ElementTree.Element]:
    """The images of CVAT's XML; ValueError where it is something else."""
    text = tables.decoded(file)
    if "<!" in text.replace("<!--", ""):
        raise ValueError("it must have no declarations of its own, got some")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without declarations there are no entities  # nosec B314
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from None
    return root.iter("image")


def _cvat(file: Path) -> Iterator[Annotation]:
    for image in cvat_images(file):
        labels = [tag.get("label") or "" for tag in image.iter("tag")]
        where, several = f"image {image.get('id', '')}", labels and manifest.task() == "multilabel"
        texts = [BAR.join(labels)] if several else labels
        yield from (Annotation(where, image.get("name", ""), delivered(text)) for text in texts)


def named(record: pl.DataFrame) -> tuple[Path, str]:
    """Where a record lies, by a name that its content gives, and its checksum."""
    digest = hashlib.sha256(_text(record).encode()).hexdigest()
    return paths.LABELS / f"{digest[:16]}.csv", f"sha256:{digest}"


def write(record: pl.DataFrame) -> Path:
    """Put a record on disk; its path."""
    path, _ = named(record)
    atomic.write_text(path, _text(record))
    return path


def _text(record: pl.DataFrame) -> str:
    return tables.conform(record, RECORD, "record").write_csv()


def stored(path: Path) -> pl.DataFrame:
    """The record at a path."""
    return tables.conform(tables.parse(tables.read_csv, path, "record of labels"), RECORD, str(path))


def is_record(source: str | Path) -> bool:
    """Whether a source is a record of labels."""
    return Path(source).parent == paths.LABELS


class RecordSource:
    """A record of labels as a delivery.

    Args:
        path: of the record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def checksum(self) -> str:
        """Of the record."""
        return f"sha256:{digests.sha256(self.path)}"

    def read(self, folder: Path) -> Delivery:  # noqa: ARG002 - images stay where they are
        """The samples under their labels, and what was refused."""
        rows = stored(self.path)
        taken, refused = rows.filter(pl.col("reason").is_null()), rows.filter(pl.col("reason").is_not_null())
        samples = taken.with_columns(width=None, height=None).select(list(manifest.SCHEMA))
        return EMPTY._replace(
            samples=tables.conform(samples, manifest.SCHEMA, str(self.path)),
            refused=tables.conform(refused.select(list(manifest.QUARANTINE)), manifest.QUARANTINE, str(self.path)),
        )
