"""Labels of several annotators: a column ``annotator_NAME`` each, or a long list of who said what, and when.

A sample's label is what most say until a model decides (`diva.curation.core_consensus`); of equally many the first in
the alphabet.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from diva.text.cells import is_missing
from diva.text.targets import delivered

PREFIX = "annotator_"
WHO, WHEN = "annotator", "time"
Lines = list[tuple[int, list[Any]]]


def plurality(votes: Iterable[Any]) -> str | None:
    """What most say; None where nobody says anything."""
    counts = Counter(filter(None, map(delivered, votes)))
    return min(counts, key=lambda label: (-counts[label], label), default=None)


def with_labels(lines: Lines, path: str, label: str) -> Lines:
    """A header and rows in which several annotators label a sample, with a row a sample and its label.

    Args:
        lines: header first, each with its number; as they are where nobody is named.
        path: the column that tells samples.
        label: the column of labels: of a long list what one said, else the one that is added.
    """
    header = lines[0][1]
    if WHO in header and {path, label} <= set(header):
        lines = _widened(lines, path, label)
        header = lines[0][1]
    columns = [number for number, name in enumerate(header) if str(name).startswith(PREFIX)]
    if label in header or not columns:
        return lines
    voted = [(line, [*row, plurality(row[column] for column in columns)]) for line, row in lines[1:]]
    return [(lines[0][0], [*header, label]), *voted]


def _widened(lines: Lines, path: str, label: str) -> Lines:
    """A row a sample, where it first stood; what an annotator said last counts."""
    header = lines[0][1]
    key, who, what = (header.index(name) for name in (path, WHO, label))
    when = header.index(WHEN) if WHEN in header else None
    stays = [number for number in range(len(header)) if number not in (who, what, when)]
    names = sorted({str(row[who]).strip() for _, row in lines[1:]})
    first: dict[Any, tuple[int, list[Any]]] = {}
    for line, row in lines[1:]:
        first.setdefault(row[key], (line, [row[number] for number in stays]))
    said: dict[Any, dict[str, Any]] = {}
    for _, row in lines[1:] if when is None else _in_order(lines[1:], when):
        said.setdefault(row[key], {})[str(row[who]).strip()] = row[what]
    wide = [(line, [*row, *(said[name].get(voter) for voter in names)]) for name, (line, row) in first.items()]
    return [(lines[0][0], [*(header[number] for number in stays), *(PREFIX + name.lower() for name in names)]), *wide]


def _in_order(lines: Lines, when: int) -> Lines:
    """Rows by their time, the earliest first; ValueError on one that is none: its line is named."""
    moments = []
    for line, row in lines:
        try:
            moments.append(moment(row[when]))
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from None
    return [lines[number] for number in sorted(range(len(lines)), key=moments.__getitem__)]


def moment(time: Any) -> float:
    """A time in seconds: a number as it is, a date, or what ISO 8601 writes; the beginning where there is none.

    Raises:
        ValueError: on a text of another form, in which days and months cannot be told.
    """
    if is_missing(time) or time == "":
        return -math.inf
    if isinstance(time, np.datetime64):
        return float(time.astype("datetime64[us]").astype(np.int64)) / 1e6
    with suppress(ValueError):
        return float(time)
    try:
        read = time if isinstance(time, date) else datetime.fromisoformat(str(time).strip())
    except ValueError:
        raise ValueError(
            f"time must be a number, or a date as ISO 8601 writes it (2026-02-03 10:00), got {str(time)!r}; write it so"
        ) from None
    whole = read if isinstance(read, datetime) else datetime(read.year, read.month, read.day)
    return (whole if whole.tzinfo else whole.replace(tzinfo=UTC)).timestamp()


def votes_in(names: Sequence[str]) -> list[str]:
    """Columns of annotators."""
    return [name for name in names if name.startswith(PREFIX)]


def words_of(frame: Any) -> set[str]:
    """Every label that an annotator of a polars frame gave: who is outvoted spells them, too. None of None."""
    columns = [] if frame is None else [frame[name] for name in votes_in(frame.columns)]
    return {word for column in columns for label in column.unique() if (word := delivered(label))}
