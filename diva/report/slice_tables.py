"""Where a set is bad, in words, as tables and as a chart: slices, pairs of classes, deliveries."""

import json

import polars as pl

from diva.curation.slices import CLASS, LEVEL
from diva.report.charts import Chart, axis, plain
from diva.report.gallery import natural
from diva.text.words import NOTHING, Column, Row, Table, amount, count, percent

FIRST = 8  # slices and pairs that the summary names
MOST_CLASSES = 30  # of the matrix, those with the most labels called wrong
MOST_VALUES = 20  # of a column
KINDS = {"labels": "labels called wrong", "test": "test errors of the release"}


def share(row: dict[str, float]) -> str:
    """A rate with its interval, in percent."""
    return f"{percent(row['rate'], 1)} [{percent(row['low'], 0)}, {percent(row['high'], 0)}]"


def worst(slices: pl.DataFrame) -> Table:
    """Slices that are worse than the rest beyond the false discovery rate, the least likely by chance first."""
    columns = (
        Column("slice", number=False), Column("of", number=False, wide=True), Column("samples"), Column("wrong, %"),
        Column("rest, %"), Column("mispredicted, %", wide=True), Column("weight", wide=True),
    )  # fmt: skip
    above = outstanding(slices)
    notes = [f"{amount(len(slices), 'slice')} looked at, of which {count(len(above))} stand out; of those that do, "
             f"{percent(LEVEL, 0)} % are expected to do so by chance."]  # fmt: skip
    rows = [
        Row((f"{row['column']} = {row['value']}", KINDS[row["of"]], *_figures(row)))
        for row in above.head(FIRST).iter_rows(named=True)
    ]
    return Table("Slices that are worse than the rest", columns, tuple(rows), tuple(notes * bool(len(slices))))


def outstanding(slices: pl.DataFrame) -> pl.DataFrame:
    """Slices that are worse than the rest beyond the false discovery rate."""
    return slices.filter((pl.col("q") <= LEVEL) & (pl.col("rate") > pl.col("rest"))).sort("p", "column", "value")


def filters(slices: pl.DataFrame) -> str:
    """Column and value of those that the gallery can show, as JSON."""
    own = outstanding(slices).head(FIRST).filter((pl.col("of") == "labels") & (pl.col("column") != CLASS))
    return json.dumps(own.select("column", "value").rows())


def _figures(row: dict[str, float]) -> tuple[str, ...]:
    weight = NOTHING if row["weight"] is None else f"{row['weight']:.2f}"
    return count(int(row["samples"])), share(row), percent(row["rest"], 1), percent(row["error"], 1), weight


def by_column(slices: pl.DataFrame) -> tuple[Table, ...]:
    """Every column with its values, the worst first."""
    titles = ("samples", "wrong, %", "rest, %", "mispredicted, %", "weight")
    listed = []
    for (of, name), part in slices.partition_by("of", "column", as_dict=True, maintain_order=True).items():
        rows = [Row((row["value"], *_figures(row))) for row in part.head(MOST_VALUES).iter_rows(named=True)]
        more = (f"{count(len(part) - MOST_VALUES)} more.",) if len(part) > MOST_VALUES else ()
        columns = (Column(str(name), number=False), *map(Column, titles))
        listed.append(Table(f"{name}: {KINDS[str(of)]}", columns, tuple(rows), more))
    return tuple(listed)


def pairs(frame: pl.DataFrame) -> Table:
    """Pairs of classes that are confused more than others beyond the false discovery rate."""
    columns = (
        Column("given → suggested", number=False), Column("called wrong"), Column("of"), Column("of these, %"),
    )  # fmt: skip
    rows = [
        Row((f"{row['given']} → {row['suggested']}", count(row["called"]), count(row["samples"]), share(row)))
        for row in frame.filter(pl.col("q") <= LEVEL).head(FIRST).iter_rows(named=True)
    ]
    return Table("Pairs of classes that are confused more than others", columns, tuple(rows))


def deliveries(frame: pl.DataFrame) -> Table:
    """Each delivery: its labels, how far its features lie from the core's, and the alert that this raises."""
    columns = (
        Column("delivery", number=False), Column("samples"), Column("wrong, %"), Column("drift"),
        Column("alert", number=False),
    )  # fmt: skip
    rows = []
    for row in frame.iter_rows(named=True):
        wrong = NOTHING if row["rate"] is None else share(row)
        ends = [row[name] for name in ("drift", "drift_low", "drift_high")]
        drift = NOTHING if None in ends else "{:.3f} [{:.3f}, {:.3f}]".format(*ends).replace("-", "−")
        samples = NOTHING if row["samples"] is None else count(row["samples"])
        rows.append(Row((row["batch"], samples, wrong, drift, row["alert"] or NOTHING)))
    note = "Drift: squared distance of its features' mean to the core's, in shares of the core's variance; 0 is none."
    return Table("Deliveries", columns, tuple(rows), (note,))


def alerts(frame: pl.DataFrame) -> list[str]:
    """What nobody may miss of the deliveries."""
    said = []
    for row in frame.filter(pl.col("alert") != "").iter_rows(named=True):
        parts = []
        if "labels" in row["alert"]:
            parts.append(f"{share(row)} % of its {count(row['samples'])} labels are called wrong")
        if "features" in row["alert"]:
            parts.append(f"its features lie {row['drift']:.2f} of the core's variance from the core")
        said.append(f"Delivery {row['batch']}: {' and '.join(parts)}.")
    return said


def confusion(frame: pl.DataFrame) -> Chart | None:
    """Labels called wrong, given by suggested."""
    if frame.is_empty():
        return None
    sides = pl.concat([frame.select("called", name=side) for side in ("given", "suggested")])
    totals = sides.group_by("name").agg(pl.col("called").sum()).sort("called", "name", descending=[True, False])
    names = sorted(totals["name"].head(MOST_CLASSES), key=natural)
    counts = {
        (given, suggested): called for given, suggested, called in frame.select("given", "suggested", "called").rows()
    }
    labels = [plain(name) for name in names]
    cells = {
        "type": "heatmap", "x": labels, "y": labels, "xgap": 1, "ygap": 1, "showscale": False,
        "z": [[counts.get((given, suggested)) for suggested in names] for given in names],
        "colorscale": [[0, "var(--wash)"], [1, "var(--main)"]],
        "hovertemplate": "%{y} → %{x}: %{z} called wrong<extra></extra>",
    }  # fmt: skip
    flat = {"type": "category", "showgrid": False, "dtick": 1}
    layout = {
        "xaxis": axis("suggested", **flat), "yaxis": axis("given", **flat, autorange="reversed"),
    }  # fmt: skip
    cut = f" The {MOST_CLASSES} classes with the most." if len(totals) > MOST_CLASSES else ""
    caption = f"Rows: the label as given; columns: the one suggested for it; the stronger the colour, the more.{cut}"
    figure = {"data": [cells], "layout": layout}
    return Chart("confusion", "Labels called wrong, by pair", caption, figure, 120 + 22 * len(names))
