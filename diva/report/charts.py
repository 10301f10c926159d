"""Geometry of the page's charts, in percent of their box: the template draws them as plain elements.

A histogram has bars of square-root height, so that a few wrong labels show beside thousands of right ones.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from diva.texts import number, percent, with_interval

BINS = 40
Numbers = npt.NDArray[np.float64]


class Bar(NamedTuple):
    """A bin: where it begins and ends, how many it holds, how many of these are flagged; heights in percent."""

    low: str
    high: str
    samples: int
    flagged: int
    height: float
    flagged_height: float


class Histogram(NamedTuple):
    """Bars from the lowest to the highest value; empty where there is no value."""

    bars: tuple[Bar, ...]
    low: str
    high: str
    tallest: int


def histogram(values: Numbers, flagged: npt.NDArray[np.bool_], bins: int = BINS) -> Histogram:
    """Bars over ``values`` (n,), split by ``flagged`` (n,); values that are not finite are left out."""
    finite = np.isfinite(values)
    values, flagged = values[finite], flagged[finite]
    if not len(values):
        return Histogram((), "", "", 0)
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    counts, marked = np.histogram(values, edges)[0], np.histogram(values[flagged], edges)[0]
    tallest = int(counts.max())
    bars = (
        _bar(float(edges[place]), float(edges[place + 1]), int(counts[place]), int(marked[place]), tallest)
        for place in range(bins)
    )
    return Histogram(tuple(bars), number(low), number(float(edges[-1])), tallest)


def _bar(low: float, high: float, count: int, flagged: int, tallest: int) -> Bar:
    height = 100 * math.sqrt(count / tallest)
    part = flagged / count if count else 0.0
    return Bar(number(low), number(high), count, flagged, round(height, 2), round(100 * part, 2))


class Span(NamedTuple):
    """A value and its interval on an axis: left end, width and point in percent; what it says in words."""

    left: float
    width: float
    point: float
    text: str


class Axis(NamedTuple):
    """Ticks as (place in percent, label), and the ends in units of the data."""

    ticks: tuple[tuple[float, str], ...]
    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a value lies, in percent of the axis."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)


def axis(values: Sequence[float], most: int = 6) -> Axis:
    """An axis over fractions, with round ticks in percent; both ends are ticks."""
    low, high = 100 * min(values), 100 * max(values)
    step = _round_step((high - low) / (most - 1))
    first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
    ticks = ((100 * (tick - first) / (last - first), f"{tick * step:.10g}") for tick in range(first, last + 1))
    return Axis(tuple((round(place, 2), label) for place, label in ticks), first * step / 100, last * step / 100)


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``least``."""
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def span(scale: Axis, figures: Mapping[str, Any]) -> Span:
    """An error with its interval, on an axis."""
    left, right = scale.place(figures["low"]), scale.place(figures["high"])
    return Span(left, round(right - left, 2), scale.place(figures["error"]), with_interval(figures))


class Share(NamedTuple):
    """A class before and after: counts, and their bars in percent of the largest."""

    label: str
    before: int
    after: int
    before_width: float
    after_width: float


def balance(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[Share, ...]:
    """Classes by name, as numbers where they are numbers."""
    labels = sorted(
        {*before, *after}, key=lambda label: (not label.isdigit(), int(label) if label.isdigit() else 0, label)
    )
    largest = max([*before.values(), *after.values(), 1])
    counts = ((label, before.get(label, 0), after.get(label, 0)) for label in labels)
    return tuple(
        Share(label, old, new, round(100 * old / largest, 2), round(100 * new / largest, 2))
        for label, old, new in counts
    )


def share(part: int, whole: int) -> str:
    """A part in percent of the whole."""
    return percent(part / whole if whole else None, 1)
