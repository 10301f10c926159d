"""The page's charts, as Plotly figures: plain mappings, whose colours are names of the page's own (``var(--main)``).

The page's script puts colours and fonts in, so that charts follow the reader's choice of light or dark.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from diva.report import claims
from diva.report.run_metrics import RunMetrics
from diva.text.words import count, percent, with_interval

Numbers = npt.NDArray[np.float64]
Figure = dict[str, Any]
BINS = 40
CELLS = 36  # of a side of a density
SPREAD = 1.2  # cells, the deviation of what smooths it
MARGIN = 0.08  # of its width, around what most points take
MAIN, MARK, SOFT, WASH, GREY = (f"var(--{name})" for name in ("main", "mark", "soft", "wash", "grey"))


class Chart(NamedTuple):
    """A chart.

    Attributes:
        name: its id in the page.
        title: heading.
        caption: what to look for, for those who cannot see it too.
        figure: data and layout.
        height: pixels.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    height: int = 320


def plain(text: str) -> str:
    """A name as Plotly shows it letter by letter; it would take ``<b>`` for bold."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def axis(title: str, **more: Any) -> dict[str, Any]:
    """A titled axis."""
    return {"title": {"text": title}, **more}


def band(x: Sequence[Any], ends: Sequence[Sequence[float]], color: str) -> Figure:
    """An interval around a curve: its lower and its upper ends."""
    low, high = ends
    around = [*high, *reversed(low)]
    return {
        "type": "scatter", "x": [*x, *reversed(x)], "y": around, "fill": "toself", "fillcolor": color, "opacity": 0.5,
        "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip


def curve(x: Sequence[Any], y: Sequence[Any], name: str, color: str, **more: Any) -> Figure:
    """A line with its points."""
    look = {"line": {"color": color, "width": 2}, "marker": {"color": color, "size": 8}}
    return {"type": "scatter", "mode": "lines+markers", "x": list(x), "y": list(y), "name": name, **look, **more}


def points(
    names: Sequence[str], ends: Sequence[tuple[float, float, float]], texts: Sequence[str], marker: Figure
) -> Figure:
    """A dot a row, with its interval: (middle, low, high) as fractions, drawn in percent."""
    middle, low, high = ([100 * value for value in values] for values in zip(*ends, strict=True))
    return {
        "type": "scatter", "mode": "markers", "x": middle, "y": list(names), "showlegend": False,
        "marker": {"size": 11, "line": {"width": 2}} | marker,
        "error_x": {
            "type": "data", "symmetric": False, "thickness": 2, "width": 0, "color": GREY,
            "array": [end - value for end, value in zip(high, middle, strict=True)],
            "arrayminus": [value - end for end, value in zip(low, middle, strict=True)],
        },
        "text": list(texts), "hovertemplate": "%{y}: %{text}<extra></extra>",
    }  # fmt: skip


def sets(run: RunMetrics) -> Chart:
    """Test error of each training set, with its interval; the release stands out."""
    results = run.evaluate["sets"]
    names = list(reversed(claims.order(run)))
    figures = [results[name] for name in names]
    texts = [f"{percent(figure['error'])} %, {count(figure['size'])} samples" for figure in figures]
    ends = [(figure["error"], figure["low"], figure["high"]) for figure in figures]
    colors = [MAIN if name == run.used else SOFT for name in names]
    dots = points(list(map(claims.shown, names)), ends, texts, {"color": colors, "line": {"width": 0}})
    layout = {"xaxis": axis("test error, %"), "yaxis": {"automargin": True}}
    caption = "A dot is the test error of a head trained on the set, the line its interval of 95 %; less is better."
    return Chart("sets", "Test error", caption, {"data": [dots], "layout": layout}, 60 + 38 * len(names))


def panel(run: RunMetrics) -> Chart | None:
    """Difference in error to the core's: of each training set, the mean over learners; of the release, each learner."""
    results = claims.panels(run)
    if not results:
        return None
    learners = results[run.used]["learners"]
    rows = [(f"release: {name}", each, MAIN, "circle-open") for name, each in learners.items()]
    compared = [name for name in reversed(results) if name != "core"]
    rows += [
        (claims.shown(name), results[name]["mean"], MAIN if name == run.used else SOFT, "circle") for name in compared
    ]
    names, figures, colors, symbols = map(list, zip(*rows, strict=True))
    ends = [(each["difference"], each["difference_low"], each["difference_high"]) for each in figures]
    texts = [f"{with_interval(each, 'difference')} points" for each in figures]
    zero = {"type": "line", "xref": "x", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1}
    layout = {
        "xaxis": axis("points of test error"), "yaxis": {"automargin": True},
        "shapes": [zero | {"line": {"color": MARK, "width": 1.5, "dash": "dash"}}],
    }  # fmt: skip
    caption = (
        "Left of the dashed line is better than the core. Above, each training set: the mean over "
        f"{len(learners)} learners; below, each learner on the release. Lines are intervals of 95 %, of differences "
        "on the same test samples."
    )
    dots = points(names, ends, texts, {"color": colors, "symbol": symbols})
    figure = {"data": [dots], "layout": layout}
    return Chart("panel", "Better or worse than the core", caption, figure, 60 + 30 * len(rows))


def extension(run: RunMetrics) -> Chart | None:
    """Test error over the size of the set, round by round, with uniform choices beside it (the paper's Fig. 4)."""
    rounds = run.evaluate["rounds"]
    if len(rounds) < 2:
        return None
    size = [entry["size"] for entry in rounds]
    bands = [band(size, [[100 * entry[end] for entry in rounds] for end in ("low", "high")], WASH)]
    names, error = [entry["round"] for entry in rounds], [100 * entry["error"] for entry in rounds]
    data = [curve(size, error, "Extend", MAIN, text=names)]
    beside = [rounds[0], *(entry for entry in rounds[1:] if entry.get("uniform") is not None)]
    if len(beside) > 1:
        size = [entry["size"] for entry in beside]
        ends = [[100 * entry.get(f"uniform_{end}", entry[end]) for entry in beside] for end in ("low", "high")]
        bands.insert(0, band(size, ends, "var(--haze)"))
        dotted = {"color": SOFT, "width": 2, "dash": "dot"}
        uniform = [100 * entry.get("uniform", entry["error"]) for entry in beside]
        data.insert(0, curve(size, uniform, "uniform choice", SOFT, line=dotted))
    everything = run.evaluate["sets"].get("everything")
    if everything:
        data.append(curve([everything["size"]], [100 * everything["error"]], "everything", MARK, mode="markers"))
    layout = {"xaxis": axis("samples"), "yaxis": axis("test error, %")}
    caption = (
        "Each point is the set after a round, without weights; the dotted line is the core and a uniform choice from "
        "the pool of the same size, averaged over draws. Bands are intervals of 95 %."
    )
    figure = {"data": bands + data, "layout": layout}
    return Chart("extension", "What Extend gains over a uniform choice", caption, figure, 360)


def histogram(values: Numbers, marked: npt.NDArray[np.bool_], bins: int = BINS) -> dict[str, list[float]]:
    """Bins over ``values`` (n,): left edges, width, how many, how many ``marked`` (n,); only finite values count."""
    finite = np.isfinite(values)
    values, marked = values[finite], marked[finite]
    if not len(values):
        return {"low": [], "width": [], "all": [], "marked": []}
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    every, part = np.histogram(values, edges)[0], np.histogram(values[marked], edges)[0]
    return {
        "low": edges[:-1].tolist(), "width": np.diff(edges).tolist(), "all": every.tolist(), "marked": part.tolist(),
    }  # fmt: skip


def density(points: Numbers, sides: Mapping[str, npt.NDArray[np.bool_]]) -> Chart | None:
    """Where each side's samples (n,) lie among ``points`` (n, 2): its smoothed shares of one grid, side by side."""
    if not all(side.any() for side in sides.values()):
        return None
    ends = np.quantile(points[np.any([*sides.values()], 0)], (0.005, 0.995), 0)
    if (ends[0] >= ends[1]).any():
        return None
    ends += np.outer((-MARGIN, MARGIN), ends[1] - ends[0])
    middle = [np.linspace(low, high, CELLS + 1)[:-1] + (high - low) / CELLS / 2 for low, high in ends.T]
    kernel = np.exp(-((np.arange(CELLS)[:, None] - np.arange(CELLS)) ** 2) / (2 * SPREAD**2))
    kernel /= kernel.sum(0)
    data, layout, bare = [], dict[str, Any](), {"showticklabels": False, "ticks": "", "showgrid": False}
    for number, (name, side) in enumerate(sides.items(), 1):
        counts = np.histogramdd(points[side], CELLS, [(low, high) for low, high in ends.T])[0]
        shares = 100 * (kernel @ counts @ kernel.T).T / max(counts.sum(), 1)
        data.append({
            "type": "heatmap", "name": name, "x": middle[0].round(3).tolist(), "y": middle[1].round(3).tolist(),
            "z": shares.round(3).tolist(), "xaxis": f"x{number}", "coloraxis": "coloraxis", "zsmooth": "best",
            "hovertemplate": f"%{{z:.2f}} % of {name}<extra></extra>",
        })  # fmt: skip
        ends_of_axis = [(number - 1) / len(sides) + 0.01 * (number > 1), number / len(sides) - 0.01]
        layout[f"xaxis{number}".removesuffix("1")] = axis(name, domain=ends_of_axis, **bare)
    layout["yaxis"] = bare
    layout["coloraxis"] = {"colorscale": [[0, "var(--card)"], [0.25, "var(--wash)"], [1, MAIN]], "showscale": False}
    caption = (
        "Each side's share of its samples by place on the map, in one scale: strong on the right and faint on the left "
        "is where what was added lies and the core hardly does."
    )
    return Chart("density", "Where what was added lies, beside the core", caption, {"data": data, "layout": layout})


def bars(name: str, title: str, caption: str, what: str, marked: str, counts: Mapping[str, list[float]]) -> Chart:
    """A histogram on a logarithmic axis, what is marked in front."""
    centre = [low + width / 2 for low, width in zip(counts["low"], counts["width"], strict=True)]
    data = [
        {
            "type": "bar", "name": label, "x": centre, "y": counts[key], "width": counts["width"],
            "marker": {"color": color, "line": {"width": 0}},
            "hovertemplate": f"{what} %{{x:.3g}}: %{{y}} {label}<extra></extra>",
        }
        for label, key, color in (("all samples", "all", GREY), (marked, "marked", MARK))
    ]  # fmt: skip
    layout = {
        "barmode": "overlay", "bargap": 0.06, "xaxis": axis(what),
        "yaxis": axis("samples", type="log", dtick=1, rangemode="tozero"),
    }  # fmt: skip
    return Chart(name, title, caption, {"data": data, "layout": layout})


def scores(frame: pl.DataFrame, method: str) -> Chart:
    """How suspicious the core's labels are (the paper's Fig. 3)."""
    counts = histogram(frame["score"].to_numpy(), frame["flagged"].to_numpy())
    caption = "Right labels gather at the left, wrong ones at the right; the axis of counts is logarithmic."
    return bars("scores", "Scores of the core", caption, f"score ({method})", "called wrong", counts)


def weights(frame: pl.DataFrame) -> Chart:
    """Weights of what was weighed."""
    weight, flagged = frame["weight"].to_numpy(), frame["flagged"].to_numpy()
    zero = int((weight == 0).sum())
    caption = f"1 is the weight of an untouched sample; {count(zero)} have weight 0. The axis of counts is logarithmic."
    return bars("weights", "Weights", caption, "weight", "called wrong", histogram(weight, flagged))


def steps(frame: pl.DataFrame, taken: int) -> Chart | None:
    """Leave-one-out loss and test error over steps of Reweight: where they part, the weights overfit."""
    if len(frame) < 2:
        return None
    x = frame["step"].to_list()
    error, low, high = ((100 * frame[name]).to_list() for name in ("error", "low", "high"))
    data = [
        curve(x, frame["loss"].to_list(), "leave-one-out loss", SOFT),
        band(x, [low, high], WASH) | {"yaxis": "y2"},
        curve(x, error, "test error, %", MAIN, yaxis="y2"),
    ]
    line = {"type": "line", "xref": "x", "yref": "paper", "x0": taken, "x1": taken, "y0": 0, "y1": 1}
    layout = {
        "xaxis": axis("steps of Reweight", dtick=1, anchor="y2"),
        "showlegend": False,
        "yaxis": axis("loss", domain=[0.54, 1], nticks=4),
        "yaxis2": axis("error, %", domain=[0, 0.48], nticks=4),
        "shapes": [line | {"line": {"color": MARK, "width": 1.5, "dash": "dash"}}],
    }
    lowest = x[frame["loss"].arg_min() or 0]
    caption = (
        f"The loss that the weights are fitted to is lowest after {_steps(lowest)}, the test error after "
        f"{_steps(x[int(np.argmin(error))])}. The dashed line: the {taken} that Reweight took."
    )
    return Chart("steps", "Validation overfitting", caption, {"data": data, "layout": layout}, 320)


def _steps(amount: int) -> str:
    return f"{amount} {'step' if amount == 1 else 'steps'}"


def stacks(name: str, title: str, caption: str, rows: Mapping[str, Mapping[str, int]]) -> Chart:
    """Horizontal bars: a row a kind, its parts side by side."""
    parts = list(dict.fromkeys(part for counts in rows.values() for part in counts))
    colors = (MAIN, MARK, SOFT, GREY)
    whole = {"dtick": 1} if max((sum(row.values()) for row in rows.values()), default=0) < 6 else {}
    data = [
        {
            "type": "bar", "orientation": "h", "name": plain(part), "y": [plain(row) for row in rows],
            "x": [row.get(part, 0) for row in rows.values()],
            "marker": {"color": colors[index % len(colors)]}, "showlegend": len(parts) > 1,
            "hovertemplate": "%{y}: %{x:,d} %{fullData.name}<extra></extra>",
        }
        for index, part in enumerate(parts)
    ]  # fmt: skip
    layout = {
        "barmode": "stack", "bargap": 0.5, "xaxis": axis("samples", rangemode="tozero", **whole),
        "yaxis": {"automargin": True, "autorange": "reversed", "showgrid": False},
    }  # fmt: skip
    return Chart(name, title, caption, {"data": data, "layout": layout}, 120 + 34 * len(rows))
