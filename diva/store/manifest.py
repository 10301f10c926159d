"""What a delivery holds: one row per sample, and beside it the rows set aside, with reason and remedy.

A sample's id is the hash of its content, so the same image is the same sample wherever it comes from.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from diva.store import digests, paths, tables
from diva.text.choices import Task
from diva.text.labels import Spelling
from diva.text.targets import BAR, spelled

SCHEMA: tables.Schema = tables.OpenSchema({
    "sample_id": pl.String,
    "path": pl.String,
    "label": pl.String,  # null where the sample waits for one, which a pool's may
    "width": pl.Int32,
    "height": pl.Int32,
    "row": pl.Int64,  # within a file of ready features
    "group": pl.String,  # what is left out together with it; null where it stands by itself
    "pixels": pl.String,  # hash of the decoded image: equal pictures are one content in whatever file; null of others
})  # fmt: skip
QUARANTINE: tables.Schema = {
    "sample_id": pl.String,  # null where the content could not be read
    "path": pl.String,
    "label": pl.String,
    "reason": pl.String,  # "<kind>: <particulars>"
    "remedy": pl.String,
}
TRUTH: tables.Schema = {"sample_id": pl.String, "true_label": pl.String}
TYPES: dict[Task, Any] = {"classification": pl.String, "multilabel": pl.List(pl.String), "regression": pl.Float64}
CONTRARY = " under another label"  # ends the kind of a copy whose label is another
GROUPS = ("group", "groups")  # the column of a delivery that says what is left out together
ID_LENGTH = 32  # hexadecimal digits of the sha256: 128 bits

logger = logging.getLogger(__name__)


class Sample(NamedTuple):
    """A row of a manifest."""

    sample_id: str
    path: str
    label: str | None
    width: int | None = None
    height: int | None = None
    row: int | None = None
    group: str | None = None
    pixels: str | None = None


class Refused(NamedTuple):
    """A row of a quarantine."""

    sample_id: str | None
    path: str
    label: str | None
    reason: str
    remedy: str


class Delivery(NamedTuple):
    """What was read from a source: samples, what was set aside, and the planted truth where there is one."""

    samples: pl.DataFrame
    refused: pl.DataFrame
    truth: pl.DataFrame


def samples(rows: Iterable[Sample]) -> pl.DataFrame:
    """Rows as a manifest."""
    return pl.DataFrame(list(rows), schema=dict(SCHEMA), orient="row")


def refusals(rows: Iterable[Refused]) -> pl.DataFrame:
    """Rows as a quarantine."""
    return pl.DataFrame(list(rows), schema=dict(QUARANTINE), orient="row")


def read(path: Path, *, further: bool = False) -> pl.DataFrame:
    """The manifest at ``path``; ``further``: with what the delivery says beside."""
    return tables.read(path, SCHEMA, further=further)


def write(path: Path, frame: pl.DataFrame, task: Task = "classification") -> None:
    """Write a manifest; its labels have the type that `task` reads."""
    tables.write(path, frame.with_columns(label=typed(task)), tables.OpenSchema({**SCHEMA, "label": TYPES[task]}))


def typed(task: Task, column: str = "label") -> pl.Expr:
    """Labels as lists of names, or as numbers."""
    text = pl.col(column)
    if task == "multilabel":
        names = text.str.split(BAR).list.eval(pl.element().filter(pl.element() != ""))
        return pl.when(text.is_not_null()).then(names)
    return text.cast(TYPES[task])


def task() -> Task:
    """What the labels of the project are, by their type in the core's manifest; classes where there is none yet."""
    path = paths.manifest("core")
    if not path.is_file():
        return "classification"
    stored = pl.read_parquet_schema(path).get("label")
    return next((name for name, dtype in TYPES.items() if stored == dtype), "classification")


def numeric(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows whose labels are numbers where these are what they say."""
    return rows.with_columns(label=typed("regression")) if task() == "regression" else rows


def class_of(task: Task) -> pl.Expr:
    """The class of each row, of which some must stay: all rows are of one where a sample has several, or a number."""
    return pl.col("label") if task == "classification" else pl.lit("")


def in_classes(rows: pl.DataFrame, column: str = "label") -> pl.DataFrame:
    """Rows by class: one for each of several labels, none of numbers."""
    kind = task()
    if kind == "classification":
        return rows
    names = (
        rows.clear() if kind == "regression" else rows.with_columns(typed(kind, column).alias(column)).explode(column)
    )
    return names.with_columns(pl.col(column).cast(pl.String)).drop_nulls(column)


def checksum(path: Path) -> str:
    """Hexadecimal sha256 of the manifest's file; features carry it, so they know which manifest they were made from."""
    return digests.sha256(path)


def set_aside(frame: pl.DataFrame, reason: str | pl.Expr, remedy: str | pl.Expr) -> pl.DataFrame:
    """Rows of a manifest or an index as rows of a quarantine."""
    why, what = (pl.lit(text, pl.String) if isinstance(text, str) else text for text in (reason, remedy))
    columns = ["sample_id", "path", "label"]
    return frame.select(*columns, reason=why, remedy=what).cast(dict(QUARANTINE))  # type: ignore[arg-type]


def kinds(refused: pl.DataFrame) -> dict[str, int]:
    """How many rows of a quarantine there are of each kind (what stands before the colon of the reason)."""
    kind = pl.col("reason").str.split(":").list.first().alias("kind")
    return dict(refused.group_by(kind).len().sort("kind").iter_rows())


def describe_refused(refused: pl.DataFrame) -> str:
    """``3 set aside (1 duplicate, 2 unreadable)``: how many rows a quarantine has, and of which kinds."""
    reasons = ", ".join(f"{amount} {kind}" for kind, amount in kinds(refused).items())
    return f"{len(refused)} set aside" + (f" ({reasons})" if reasons else "")


def grouped(samples: pl.DataFrame, by: str | None) -> pl.DataFrame:
    """A manifest whose images without a group take theirs from their path.

    Args:
        samples: a manifest.
        by: `parent`, the folder that the image lies in; a regular expression whose first group (or whole match) is the
            name; None for none. What does not match stands by itself.

    Raises:
        ValueError: ``by`` is no regular expression.
    """
    if by is None:
        return samples
    pattern = r"([^/]+)/[^/]+$" if by == "parent" else by
    try:
        number = min(1, re.compile(pattern).groups)
        name = pl.col("path").str.extract(pattern, number)
        of_path = samples.select(pl.when(pl.col("row").is_null()).then(name))["path"]
    except (re.error, pl.exceptions.PolarsError) as error:
        raise ValueError(f"group_by must be parent or a regular expression on paths, got {by!r}: {error}.") from None
    named = samples.with_columns(group=pl.coalesce("group", of_path.replace("", None)))
    if len(named) and named["group"].is_null().all():
        logger.warning("group_by %r names no group in any path, such as %s: none is shared", by, named["path"][0])
    return named


def distinct(rows: Iterable[Sample], kind: str = "same content") -> tuple[list[Sample], list[Refused]]:
    """Each ``sample_id`` once: the first stays, later ones are refused, and whether their labels agree is said.

    Equal pixels are one content, too, in whatever file they are. A sample without a label takes that of a later copy.

    Args:
        rows: samples.
        kind: what two of one ``sample_id`` have in common.
    """
    unique: list[Sample] = []
    first: dict[str, int] = {}
    refused = []
    for sample in rows:
        names = [f"id {sample.sample_id}", *([f"pixels {sample.pixels}"] if sample.pixels else [])]
        same = next((first[name] for name in names if name in first), None)
        if same is None:
            first |= dict.fromkeys(names, len(unique))
            unique.append(sample)
        else:
            unique[same] = unique[same]._replace(label=unique[same].label or sample.label)
            refused.append(_copy(sample, unique[same], kind))
    return unique, refused


def _copy(sample: Sample, same: Sample, kind: str) -> Refused:
    source = same.path if same.row is None else f"row {same.row} of {same.path}"
    if sample.label in (same.label, None):
        return Refused(sample.sample_id, sample.path, sample.label, f"{kind}: as {source}", "Nothing to do.")
    reason = f"{kind}{CONTRARY}: as {source}, which is labelled {same.label!r}"
    return Refused(sample.sample_id, sample.path, sample.label, reason, "Keep the copy whose label is right.")


def joined(parts: Sequence[Delivery]) -> Delivery:
    """Deliveries to one set as one: the first of equal contents stays, labels take the first delivery's spelling."""
    spelling = Spelling(parts[0].samples["label"].unique())
    whole = tables.stacked(part.samples for part in parts)
    rows = whole.select(list(SCHEMA)).with_columns(pl.col("label").map_elements(spelling, pl.String))
    unique, copies = distinct(map(Sample._make, rows.iter_rows()))
    beside = whole.drop(name for name in SCHEMA if name != "sample_id").unique("sample_id", keep="first")
    refused = pl.concat([*(part.refused for part in parts), refusals(copies)])
    truth = pl.concat([part.truth for part in parts]).unique("sample_id", keep="first", maintain_order=True)
    return Delivery(samples(unique).join(beside, on="sample_id", how="left", maintain_order="left"), refused, truth)


def spelt(delivery: Delivery, task: Task, separator: str) -> Delivery:
    """A delivery with its labels in the spelling of `diva.text.targets`; those that are none are refused."""
    if task == "classification":
        return delivery
    texts: dict[str, str] = {}
    faults: dict[str, str] = {}
    for text in delivery.samples["label"].drop_nulls().unique().to_list():
        try:
            texts[text] = spelled(text, task, separator)
        except ValueError as error:
            faults[text] = f"no number: {error}".rstrip(".")
    label = pl.col("label")
    wrong = delivery.samples.filter(label.is_in(list(faults)).fill_null(value=False))
    refused = set_aside(
        wrong, label.replace_strict(faults, return_dtype=pl.String), "Give it a number, or take it out."
    )
    samples = delivery.samples.filter(~label.is_in(list(faults)).fill_null(value=False))
    samples = samples.with_columns(label=label.replace_strict(texts, return_dtype=pl.String))
    truth = delivery.truth.with_columns(pl.col("true_label").map_elements(lambda text: spelled(text, task), pl.String))
    return Delivery(samples, pl.concat([delivery.refused, refused]), truth)


def for_core(delivery: Delivery, batch: str = "core", task: Task = "classification") -> Delivery:
    """A delivery fit to be the core: two classes, two samples in each, and no content under two labels.

    Of several labels a sample, and of numbers, a single sample of each may stand by itself.

    Raises:
        ValueError: nothing usable, or one class only.
    """
    if delivery.samples.is_empty():
        raise ValueError(f"batches.{batch}.source must hold usable samples, got none{_because(delivery.refused)}.")
    samples, contested = _uncontested(delivery)
    lone = pl.len().over(class_of(task)) == 1
    usable = samples.filter(~lone)
    remedy = "Add a second sample of this class, or leave the class out."
    reason = "class of one sample: leave-one-out needs two in each class of the core"
    single = set_aside(samples.filter(lone), reason, remedy)
    refused = pl.concat([delivery.refused, contested, single])
    if usable["label"].n_unique() < 2:
        got = usable["label"].unique().to_list()
        raise ValueError(
            f"batches.{batch}.source must hold at least two classes with two samples each, got {got or 'none'}"
            f"{_because(refused)}."
        )
    return Delivery(usable, refused, delivery.truth.join(usable, on="sample_id", how="semi", maintain_order="left"))


def _uncontested(delivery: Delivery) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Samples, and those that have a copy under another label: which of the two is right, their order does not tell."""
    kind = pl.col("reason").str.split(":").list.first()
    copies = delivery.refused.with_columns(kind=kind).filter(pl.col("kind").str.ends_with(CONTRARY))
    # a copy has the sample's id, or, where its pixels are equal in another file, names the sample's path
    original = pl.col("reason").str.extract(r": as (.*), which is labelled ")
    images = delivery.samples.filter(pl.col("pixels").is_not_null()).select(original="path", of="sample_id")
    copies = copies.with_columns(original=original).join(images, on="original", how="left", maintain_order="left")
    copies = copies.with_columns(sample_id=pl.coalesce("of", "sample_id"))
    first = copies.select("sample_id", "kind", copy="path", other="label").unique("sample_id", keep="first")
    contested = delivery.samples.join(first, on="sample_id", how="inner", maintain_order="left")
    reason = pl.format("{}: as {}, which is labelled '{}'", "kind", "copy", "other")
    aside = set_aside(contested, reason, "Keep the copy whose label is right.")
    return delivery.samples.join(first, on="sample_id", how="anti", maintain_order="left"), aside


def _because(refused: pl.DataFrame) -> str:
    counts = ", ".join(f"{n} {kind}" for kind, n in kinds(refused).items())
    first = f"; the first: {refused['path'][0]}" if counts else ""
    return f" (set aside: {counts}{first})" if counts else ""
