"""Charts with a row a class: two dots, before and after, and the line between them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from diva.report.charts import GREY, MAIN, SOFT, Chart, Figure, axis, plain
from diva.report.gallery import natural
from diva.text.words import amount, count

MOST_CLASSES = 40  # rows of a chart; the greatest changes where there are more


class Pair(NamedTuple):
    """A class before and after."""

    label: str
    before: float
    after: float


def dumbbells(
    pairs: Sequence[Pair], names: tuple[str, str], x: dict[str, Any], digits: str
) -> tuple[Figure, int, bool]:
    """Two dots a class, joined; the greatest changes where there are many classes. Figure, height, whether cut."""
    cut = len(pairs) > MOST_CLASSES
    if cut:
        wide = sorted(range(len(pairs)), key=lambda index: (-abs(pairs[index].after - pairs[index].before), index))
        pairs = [pairs[index] for index in sorted(wide[:MOST_CLASSES])]
    labels = [plain(pair.label) for pair in pairs]
    joints = {
        "type": "scatter", "mode": "lines", "line": {"color": GREY, "width": 3}, "hoverinfo": "skip",
        "x": [value for pair in pairs for value in (pair.before, pair.after, None)],
        "y": [label for label in labels for _ in range(3)], "showlegend": False,
    }  # fmt: skip
    dots = [
        {
            "type": "scatter", "mode": "markers", "name": name, "y": labels,
            "x": [getattr(pair, side) for pair in pairs],
            "marker": {"size": 9, "color": color, "symbol": symbol, "line": {"width": 1.5, "color": edge}},
            "hovertemplate": f"%{{y}}: %{{x:{digits}}} {name}<extra></extra>",
        }
        for name, side, color, edge, symbol in zip(
            names, ("before", "after"), ("var(--ground)", MAIN), (SOFT, MAIN), ("circle", "circle"), strict=True
        )
    ]  # fmt: skip
    layout = {
        "xaxis": x,
        "yaxis": {
            "automargin": True,
            "range": [len(pairs) - 0.4, -0.6],
            "type": "category",
            "dtick": 1,
            "showgrid": False,
        },
    }
    return {"data": [joints, *dots], "layout": layout}, 110 + 19 * len(pairs), cut


def balance(before: Mapping[str, int], after: Mapping[str, int]) -> Chart:
    """Samples by class: the core as given, and the release."""
    labels = sorted({*before, *after}, key=natural)
    pairs = [Pair(label, before.get(label, 0), after.get(label, 0)) for label in labels]
    figure, height, cut = dumbbells(pairs, ("core as given", "release"), axis("samples", rangemode="tozero"), ",d")
    caption = "Samples of each class, before and after." + _said(cut, len(pairs))
    return Chart("balance", "Class balance", caption, figure, height)


def errors(frame: pl.DataFrame, used: str) -> Chart | None:
    """Test error by class: the core's and the release's, the greatest gain first."""
    if frame.is_empty():
        return None
    rows = frame.sort(pl.col(used) - pl.col("core"), pl.col("label"))
    pairs = [Pair(*row) for row in rows.select("label", pl.col("core") * 100, pl.col(used) * 100).iter_rows()]
    percents = axis("test error, %", rangemode="tozero")
    figure, height, cut = dumbbells(pairs, ("core", "release"), percents, ".1f")
    better, worse = (sum((pair.after - pair.before) * sign > 0 for pair in pairs) for sign in (-1, 1))
    caption = f"Lower error than the core in {amount(better, 'class')}, higher in {worse}." + _said(cut, len(pairs))
    return Chart("classes", "Error by class", caption, figure, height)


def _said(cut: bool, classes: int) -> str:
    return f" The {MOST_CLASSES} greatest changes of {count(classes)} classes." if cut else ""
