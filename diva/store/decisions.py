"""Decisions of people, as they come in: ``review.csv`` (or .tsv) with sample_id, decision, label, note, reviewer.

    accept   the given label stands (label: empty, or the given one)
    relabel  another label does (label: which, one of the classes there are)
    reject   the sample leaves (label: of no account)

``reviewer`` is who decided; empty, or no such column: unknown.

A file is taken whole or not at all, and its error names every line that is wrong. Text stays text: nothing that a note
or a label says is run, and no path is made of it.
"""

import csv
import difflib
import io
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

import polars as pl

from diva.store import atomic, curated, manifest, tables
from diva.text import choices
from diva.text.targets import Vocabulary

COLUMNS = tuple(curated.REVIEW)
SCHEMA: tables.Schema = {**curated.REVIEW, "reviewer": pl.String}
FORGOTTEN = "forgotten"  # a rejection whose note begins so is a takedown: no later decision lifts it
FORGOTTEN_ROW = pl.col("note").str.starts_with(FORGOTTEN).fill_null(value=False)
LONGEST = 1000  # characters of a note
LONGEST_NAME = 100  # characters of a reviewer's name
SHOWN = 60  # characters of a value that an error repeats


class Decision(NamedTuple):
    """What somebody decided about a sample; a row of ``SCHEMA``."""

    sample_id: str
    decision: str
    label: str | None = None
    note: str | None = None
    reviewer: str | None = None


@dataclass(frozen=True)
class Reviewable:
    """What there is to decide about.

    Attributes:
        given: label as given, by sample.
        classes: all labels there are in core and pool.
        gone: samples that were taken down.
        waiting: samples without a label, which wait for one.
    """

    given: Mapping[str, str]
    classes: frozenset[str]
    gone: frozenset[str]
    waiting: frozenset[str] = frozenset()


def reviewable(samples: pl.DataFrame, review: pl.DataFrame, test: pl.DataFrame | None = None) -> Reviewable:
    """What there is to decide about: samples (sample_id, label as given) that train or test, and decisions so far."""
    given = dict(samples.select("sample_id", pl.col("label").fill_null("")).iter_rows())
    classes = frozenset(given.values()) - {""}
    waiting = frozenset(samples.filter(pl.col("label").is_null())["sample_id"])
    gone = frozenset(review.filter(FORGOTTEN_ROW)["sample_id"])
    tested = {} if test is None else dict(test.select("sample_id", "label").iter_rows())
    return Reviewable(tested | given, classes, gone, waiting)


def checked(raw: Decision, about: Reviewable) -> Decision:
    """A decision as it will be kept.

    Raises:
        ValueError: a sample or a class that there is not, another decision, a relabel without a label, an accept with
            another label than the given one, a note too long or with control characters in it.
    """
    sample_id, decision = raw.sample_id.strip(), raw.decision.strip().lower()
    if sample_id not in about.given:
        raise ValueError(
            f"sample_id must be that of a sample of core, pool or test set, got {shown(sample_id)}; take it from this "
            "project's report."
        )
    if sample_id in about.gone:
        raise ValueError(f"sample_id must be of a sample that was not taken down, got {sample_id}; leave it out.")
    if decision not in get_args(choices.Decision):
        raise ValueError(f"decision must be {_any(get_args(choices.Decision))}, got {shown(decision)}.")
    if decision == "accept" and sample_id in about.waiting:
        raise ValueError(f"decision must be relabel where a sample has no label yet, got accept of {sample_id}.")
    label = _label(decision, raw.label or "", about.given[sample_id], about.classes)
    return Decision(sample_id, decision, label, _note(raw.note or ""), reviewer(raw.reviewer or ""))


def _label(decision: str, text: str, given: str, classes: frozenset[str]) -> str | None:
    labels = Vocabulary(manifest.task(), classes)
    label = labels.spell(text) if text.strip() else ""
    if decision == "reject":
        return None
    if decision == "accept":
        if label and label != given:
            raise ValueError(
                f"label must be empty or the given one, {shown(given)}, where decision is accept, got {shown(label)}; "
                "relabel changes it."
            )
        return None
    if not label:
        raise ValueError("label must be a class where decision is relabel, got nothing; accept keeps the given label.")
    if not labels.knows(label):
        similar = difflib.get_close_matches(label, classes, 3, 0.6) or sorted(classes)[:3]
        raise ValueError(
            f"label must be a class of core or pool, got {shown(label)}; near: {', '.join(map(shown, similar))}."
        )
    return label


def reviewer(text: str) -> str | None:
    """A reviewer's name as it is stored; None for an empty one. ValueError where it is too long, or no plain text."""
    return _line("reviewer", text, LONGEST_NAME) or None


def _line(name: str, text: str, longest: int) -> str:
    line = tables.as_written(" ".join(text.split()))
    if len(line) > longest:
        raise ValueError(f"{name} must have at most {longest} characters, got {len(line)}.")
    strange = next((character for character in line if unicodedata.category(character) in ("Cc", "Cs")), "")
    if strange:
        raise ValueError(f"{name} must be text without control characters, got {shown(strange)}.")
    return line


def _note(text: str) -> str | None:
    note = _line("note", text, LONGEST)
    if note.startswith(FORGOTTEN):
        raise ValueError(
            f"note must not begin with '{FORGOTTEN}', got {shown(note)}; `diva forget` takes samples down."
        )
    return note or None


def shown(text: str) -> str:
    """A value as an error repeats it: quoted, short, without control characters."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


def _any(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


def frame(decisions: Iterable[Decision]) -> pl.DataFrame:
    """Decisions as a table."""
    return pl.DataFrame(list(decisions), dict(SCHEMA), orient="row")


def write(path: Path, decisions: Iterable[Decision]) -> None:
    """Write decisions as a .csv that ``read`` takes, whole or not at all; no note is a formula in a spreadsheet."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(SCHEMA)
    writer.writerows((*each[:3], *map(tables.no_formula, each[3:])) for each in decisions)
    atomic.write_text(path, stream.getvalue())


def read(file: Path, about: Reviewable) -> pl.DataFrame:
    """The decisions of a .csv, one per sample, as ``SCHEMA``.

    Raises:
        ValueError: no such table, or rows that cannot be: one error that names all of them with their lines.
    """
    faults: list[str] = []
    return collected(file, _rows(file, faults), faults, about)


def collected(file: Path, said: Iterable[tuple[int, Decision]], faults: list[str], about: Reviewable) -> pl.DataFrame:
    """Decisions by line, one per sample, as ``SCHEMA``; errors as of `read`, among them ``faults``."""
    accepted: dict[str, tuple[int, Decision]] = {}
    rows = 0
    for line, row in said:
        rows += 1
        try:
            decision = checked(row, about)
            _agree(accepted.get(decision.sample_id), decision)
            accepted[decision.sample_id] = (line, decision)
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise ValueError(
            f"{file} must hold valid decisions alone, got {len(faults)} bad of {max(rows, len(faults))} rows; none was "
            f"taken. Correct these:\n{lines}"
        )
    if not accepted:
        raise ValueError(f"{file} must hold at least one decision, got the header alone.")
    return tables.conform(frame(decision for _, decision in accepted.values()), SCHEMA, str(file))


def _agree(before: tuple[int, Decision] | None, decision: Decision) -> None:
    """Refuse a second, different decision on a sample."""
    if before is None:
        return
    line, first = before
    if (first.decision, first.label) != (decision.decision, decision.label):
        said, now = (f"{each.decision} {shown(each.label or '')}".removesuffix(" ''") for each in (first, decision))
        raise ValueError(
            f"decision must be that of line {line} on the same sample, {said}, got {now}; keep one of them."
        )


def _rows(file: Path, faults: list[str]) -> Iterator[tuple[int, Decision]]:
    """Rows with their lines; those that are no rows of the table become faults."""
    text = _text(file)
    first = text.partition("\n")[0]
    separator = "\t" if "\t" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    places: list[int] = []
    width, line = 0, 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:  # what follows cannot be told apart
            faults.append(f"line {line}: the row must be readable CSV, got {error}; quote it, or write it anew.")
            return
        if cells is None:
            return
        if not places:
            places, width = _places(file, cells), len(cells)
        elif len(cells) not in (0, width):
            faults.append(
                f"line {line}: the row must have {width} cells, as the header has, got {len(cells)}; quote cells with "
                "separators."
            )
        elif any(cell.strip() for cell in cells):
            yield line, Decision(*(cells[column] for column in places))
        line = reader.line_num + 1


def _places(file: Path, header: list[str]) -> list[int]:
    """Where in a row the columns stand."""
    names = [name.strip().lower() for name in header]
    missing = [name for name in SCHEMA if names.count(name) not in ((1,) if name in COLUMNS else (0, 1))]
    if missing:
        got = shown(", ".join(header))
        raise ValueError(
            f"{file} must have the columns {', '.join(COLUMNS)} once each, separated by commas or tabs, got {got}; "
            f"missing or repeated: {', '.join(missing)}."
        )
    return [names.index(name) for name in SCHEMA if name in names]


def _text(file: Path) -> str:
    try:
        text = tables.decoded(file)
    except OSError as error:
        raise ValueError(f"{file} must be a readable .csv, got {error.strerror or error}.") from None
    if not text.strip():
        raise ValueError(f"{file} must have the columns {', '.join(COLUMNS)}, got an empty file.")
    return text
