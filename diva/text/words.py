"""Tables of text, and figures as text: what terminal and report have in common."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

NOTHING = "–"


class Column(NamedTuple):
    """A column.

    Attributes:
        title: its heading.
        number: whether it holds numbers.
        wide: whether a narrow terminal leaves it out.
        judged: whether the row's verdict is about this cell.
        sized: whether it holds the size of a set.
    """

    title: str
    number: bool = True
    wide: bool = False
    judged: bool = False
    sized: bool = False


class Row(NamedTuple):
    """A row of cells.

    Attributes:
        cells: one text per column.
        used: the release is this.
        best: no other row has a lower error.
        verdict: "better" or "worse" where the interval of the difference excludes 0.
    """

    cells: tuple[str, ...]
    used: bool = False
    best: bool = False
    verdict: str = ""


class Table(NamedTuple):
    """A titled table and what must be said beneath it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def few_of(names: Sequence[str]) -> str:
    """The first names, and how many there are besides."""
    return ", ".join(names[:3]) + ("" if len(names) <= 3 else f" and {len(names) - 3} more")


def installing(name: str) -> str:
    """How to install one of the optional parts."""
    return f"pip install 'diva-curation[{name}]'"


def with_interval(figures: Mapping[str, Any], key: str = "error") -> str:
    """``8.25 [6.1, 10.8]``: a fraction and its interval, in percent; differences bear their sign."""
    prefix = "" if key == "error" else f"{key}_"
    signed = key != "error"
    low, high = (percent(figures.get(f"{prefix}{end}"), 1, signed) for end in ("low", "high"))
    return f"{percent(figures.get(key), 2, signed)} [{low}, {high}]"


def percent(fraction: float | None, digits: int = 2, signed: bool = False) -> str:
    """A fraction in percent, without the sign of percent; a dash where it is undefined."""
    if fraction is None or not math.isfinite(fraction):
        return NOTHING
    value = round(100 * fraction, digits) + 0.0  # no minus before a zero
    return f"{value:{'+' if signed and value else ''}.{digits}f}".replace("-", "−")


def number(value: float | None) -> str:
    """A figure in few digits; a dash where it is undefined."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.4g}".replace("-", "−")


def count(value: int) -> str:
    """A count with its thousands set apart."""
    return f"{value:,}"


def amount(value: int, noun: str) -> str:
    """A count with its noun, of which the first word takes the plural: ``1 class of one sample``, ``2,000 samples``."""
    word, *rest = noun.split(" ")
    plural = word if value == 1 else word + ("es" if word.endswith(("s", "ch")) else "s")
    return " ".join([count(value), plural, *rest])
