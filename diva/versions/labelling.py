"""Labels that come back: each is checked, and those that hold become the pool's next batch, by their file's record.

A label is taken where its sample waits for one. One of an unknown sample, of one that was taken down or has its label
already, of a class that the core lacks (unless `download.new_classes: accept`), and labels that contradict each other
are refused, with their line and what to do; the sample goes on waiting.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from diva.ingest import annotations
from diva.ingest.annotations import Annotation
from diva.store import index, ledger, manifest, paths, suggested, tables
from diva.store.decisions import shown
from diva.store.features import FeatureFile
from diva.text.targets import BAR, Vocabulary
from diva.text.words import amount
from diva.versions import takedowns
from diva.versions.processes import git


class Refusal(NamedTuple):
    """Why a label is refused, and what to do about it."""

    reason: str
    remedy: str


class Samples(NamedTuple):
    """What labels may be of: rows that wait, by id; ids by name; ids taken down; ids of all samples; labels."""

    waiting: pl.DataFrame
    names: dict[str, str]
    gone: set[str]
    present: set[str]
    labels: Vocabulary
    new_classes: bool


def waiting(book: ledger.Ledger) -> pl.DataFrame:
    """Index rows that wait for their labels, without those that a record brings which no night has made a batch of."""
    newest = ledger.newest_stored(ledger.pools(book), paths.pool)
    if not newest.is_file():
        return tables.empty(index.SCHEMA)
    coming = [
        annotations.stored(Path(entry.source)).filter(pl.col("reason").is_null())["sample_id"]
        for name, entry in ledger.deliveries(book)
        if annotations.is_record(entry.source) and name in book.pool and not paths.pool(name).is_file()
    ]
    gone = pl.concat([*coming, takedowns.read()["sample_id"]]).implode()
    return index.whole(newest).filter(pl.col("label").is_null() & ~pl.col("sample_id").is_in(gone))


def asked(book: ledger.Ledger) -> pl.DataFrame:
    """The suggestions that still wait for their label."""
    waits = waiting(book).select("sample_id")
    return suggested.newest().join(waits, on="sample_id", how="semi", maintain_order="left")


def samples(book: ledger.Ledger, new_classes: bool, separator: str) -> Samples:
    """What labels may be of."""
    rows, everything = waiting(book), takedowns.indexed()
    names: dict[str, str] = {}
    for sample_id, path in rows.filter(pl.col("path").is_unique()).select("sample_id", "path").iter_rows():
        for name in {path, Path(path).name}:
            names[name] = "" if name in names else sample_id  # two files of one name are none
    names |= {sample_id: sample_id for sample_id in [*everything["sample_id"], *takedowns.read()["sample_id"]]}
    gone, labels = (
        set(takedowns.read()["sample_id"]),
        Vocabulary(manifest.task(), index.read(paths.CORE)["label"], separator),
    )
    return Samples(rows, names, gone, set(everything["sample_id"]), labels, new_classes)


def checked(book: ledger.Ledger, file: Path, new_classes: bool = False, separator: str = BAR) -> pl.DataFrame:
    """The record of a file; ValueError with every line and its fault where none of its labels can be taken."""
    record = judged(book, annotations.read(file), new_classes, separator)
    if record["reason"].null_count() == 0:
        raise ValueError(f"{file} must hold labels of samples that wait for one, got none:\n{faults(record)}")
    return record


def reviewed(book: ledger.Ledger, said: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The record of the labels that a review gave to samples that wait for one, and the decisions on all others."""
    labels = (pl.col("decision") == "relabel") & pl.col("sample_id").is_in(waiting(book)["sample_id"].implode())
    answers = [Annotation("review", *row) for row in said.filter(labels).select("sample_id", "label").iter_rows()]
    record = judged(book, answers, new_classes=True) if answers else tables.empty(annotations.RECORD)
    return record, said.filter(~labels)


def judged(book: ledger.Ledger, answers: list[Annotation], new_classes: bool, separator: str = BAR) -> pl.DataFrame:
    """The record of labels."""
    about = samples(book, new_classes, separator)
    said = [answer._replace(label=answer.label and about.labels.spell(answer.label)) for answer in answers]
    ids = [_named(answer.name, about.names) for answer in said]
    labels: dict[str, dict[str | None, str]] = {}
    for name, answer in zip(ids, said, strict=True):
        labels.setdefault(name, {}).setdefault(answer.label, answer.where)
    waits, first = set(about.waiting["sample_id"]), dict[str, str]()
    rows = []
    for name, answer in zip(ids, said, strict=True):
        refusal = _refusal(answer, name, labels[name], about, waits)
        if refusal or first.setdefault(name, answer.where) == answer.where:  # the same label twice is one
            rows.append((name or None, answer.name, answer.label, answer.where, *(refusal or (None, None))))
    return _record(rows, about.waiting)


def _named(name: str, names: dict[str, str]) -> str:
    """The sample of an id, a path, or a file, also one that is called by the id; empty where there is none."""
    ways = (name, Path(name).name, Path(name).stem)
    return next((names[way] for way in ways if names.get(way)), "")


def _refusal(
    answer: Annotation, name: str, labels: dict[str | None, str], about: Samples, waits: set[str]
) -> Refusal | None:
    if not name:
        remedy = "Take the sample_id from `diva export SUGGESTED`."
        return Refusal(f"unknown sample: {shown(answer.name)} in {answer.where}", remedy)
    if name in about.gone:
        return Refusal(f"taken down: {answer.where}", "Leave it out: takedowns stay.")
    if name not in waits:
        return Refusal(f"labelled already: {answer.where}", "`diva relabel` corrects a label.")
    if not answer.label:
        return Refusal(f"no label: {answer.where}", "Give it one, or leave the line out.")
    if len(labels) > 1:
        said = ", ".join(f"{shown(label or '')} in {where}" for label, where in labels.items())
        return Refusal(f"two labels: {said}", "Keep the one that is right.")
    if about.labels.task == "regression" and not about.labels.knows(answer.label):
        return Refusal(f"no number: {shown(answer.label)} in {answer.where}", "Give it a number.")
    if not about.new_classes and not about.labels.knows(answer.label):
        remedy = "Add two samples of it to the core, or set download.new_classes: accept."
        return Refusal(f"class the core lacks: {shown(answer.label)} in {answer.where}", remedy)
    return None


def _record(rows: Iterable[tuple[str | None, ...]], waits: pl.DataFrame) -> pl.DataFrame:
    """Rows with what the index says of their samples, and what the model suggested."""
    columns = ("sample_id", "named", "label", "line", "reason", "remedy")
    frame = pl.DataFrame(list(rows), dict.fromkeys(columns, pl.String), orient="row")
    model = suggested.newest().select("sample_id", "suggested_label", "probability")
    for others in (_places(waits).select("sample_id", "path", "row", "group", "pixels"), model):
        frame = frame.join(others, on="sample_id", how="left", maintain_order="left")
    return frame.with_columns(path=pl.coalesce("path", "named")).select(list(annotations.RECORD))


def _places(waits: pl.DataFrame) -> pl.DataFrame:
    """Index rows with where the labelled sample is read from: its image, or its row of the stored ready features."""
    files = waits["features"].unique().to_list()
    ready = pl.col("features").is_in(
        [name for name in files if FeatureFile(name).attributes.get("backbone") == "ready"]
    )
    return waits.with_columns(path=pl.when(ready).then("features").otherwise("path"), row=pl.when(ready).then("row"))


def faults(record: pl.DataFrame) -> str:
    """What was refused of a file, a line each."""
    refused = record.filter(pl.col("reason").is_not_null())
    return "\n".join(f"  {reason}. {remedy}" for reason, remedy in refused.select("reason", "remedy").iter_rows())


def accepted(book: ledger.Ledger, record: pl.DataFrame, file: str) -> ledger.Ledger:
    """The ledger with the record of a file as the pool's next batch."""
    path, checksum = annotations.named(record)
    return ledger.accept(book, None, path.as_posix(), {"file": file}, checksum)


def publish(book: ledger.Ledger, record: pl.DataFrame) -> None:
    """Put a record on disk, where git takes it, then the ledger with its batch: from here on, the next round has it."""
    git("add", "--force", "--", annotations.write(record).as_posix())
    ledger.write(paths.LEDGER, book)


def agreement(record: pl.DataFrame) -> tuple[int, int]:
    """How many labels that were taken are what the model suggested, and of how many it suggested one."""
    taken = record.filter(pl.col("reason").is_null() & pl.col("suggested_label").is_not_null())
    return int((taken["label"] == taken["suggested_label"]).sum()), len(taken)


def described(record: pl.DataFrame) -> str:
    """``20 labels; 17 of 20 as suggested; 3 refused``: what came of a file."""
    same, asked = agreement(record)
    refused = len(record) - record["reason"].null_count()
    parts = [amount(record["reason"].null_count(), "label"), f"{same:,} of {asked:,} as suggested" if asked else ""]
    return "; ".join(filter(None, [*parts, f"{refused:,} refused" if refused else ""]))
