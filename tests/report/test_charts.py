import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diva.report import by_class, charts, page, run_metrics
from diva.report.data import samples
from stages import report
from tests.projects.finished_run import finish


def valid(value):
    """A figure with real colours in place of the page's names for them."""
    if isinstance(value, str):
        return "#123456" if value.startswith("var(--") else value
    if isinstance(value, list):
        return [valid(one) for one in value]
    return {key: valid(one) for key, one in value.items()} if isinstance(value, dict) else value


def test_every_figure_is_one_that_plotly_knows(place) -> None:
    finish()
    data = report.read()
    drawn = page.figures(data, samples(data))
    assert len(drawn) == 9
    for one in drawn:
        figure = go.Figure(valid(one.figure))  # refuses any key or value that it does not know
        assert len(figure.data)
        assert one.caption
        assert one.height >= 100


def test_the_curve_of_extend_has_uniform_choices_beside_it(place) -> None:
    finish()
    chart = charts.extension(run_metrics.read())
    assert chart
    curves = {trace["name"]: trace["y"] for trace in chart.figure["data"] if "name" in trace}
    assert curves["Extend"] == [20, 20]
    assert curves["uniform choice"] == [20, 25]
    assert curves["everything"] == pytest.approx([12])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(1, 50))
def test_bars_hold_every_value_once(values: list[float], bins: int) -> None:
    marked = np.array([value > 0.5 for value in values])
    found = charts.histogram(np.array(values), marked, bins)
    assert sum(found["all"]) == len(values)
    assert sum(found["marked"]) == marked.sum()
    assert len(found["low"]) == len(found["width"]) == bins


def test_a_histogram_of_nothing_has_no_bars() -> None:
    assert charts.histogram(np.array([np.nan]), np.array([True]))["all"] == []


def test_densities_hold_each_sides_samples_where_they_lie() -> None:
    draw = np.random.default_rng(0)
    core = np.arange(900) < 600
    points = draw.normal(size=(900, 2)) + np.where(core, 0, 6)[:, None] * [1, 0]
    chart = charts.density(points, {"core": core, "added": ~core})
    assert chart
    go.Figure(valid(chart.figure))
    for trace, place in zip(chart.figure["data"], (0, 6), strict=True):
        shares = np.array(trace["z"])
        assert shares.sum() == pytest.approx(100, abs=1)
        assert shares.sum(0) @ trace["x"] / shares.sum() == pytest.approx(place, abs=0.2)
        assert shares.sum(1) @ trace["y"] / shares.sum() == pytest.approx(0, abs=0.2)
    assert charts.density(points, {"core": core, "added": core & ~core}) is None
    assert charts.density(0 * points, {"core": core, "added": ~core}) is None


def test_classes_that_are_numbers_are_sorted_as_numbers() -> None:
    chart = by_class.balance({"10": 1, "2": 4}, {"2": 2, "a": 1})
    before, after = chart.figure["data"][1:]
    assert before["y"] == ["2", "10", "a"]
    assert (before["x"], after["x"]) == ([4, 1, 0], [2, 0, 1])


def test_of_many_classes_the_greatest_changes_are_shown() -> None:
    before = {str(name): 10 for name in range(100)}
    chart = by_class.balance(before, before | {"77": 90, "3": 0})
    assert {"77", "3"} <= set(chart.figure["data"][1]["y"])
    assert len(chart.figure["data"][1]["y"]) == by_class.MOST_CLASSES
    assert "greatest changes of 100 classes" in chart.caption


def test_names_in_charts_are_letters_never_markup() -> None:
    chart = charts.stacks("aside", "Set aside", "", {"<b>bold</b> & more": {"<a href='x'>core</a>": 1}})
    (bar,) = chart.figure["data"]
    assert bar["y"] == ["&lt;b&gt;bold&lt;/b&gt; &amp; more"]
    assert bar["name"].startswith("&lt;a href")


def test_the_overfitting_caption_names_the_best_step() -> None:
    frame = pl.DataFrame(
        {"step": [0, 1, 2], "loss": [3.0, 2.0, 1.0], "error": [0.2, 0.1, 0.3], "low": [0.0] * 3, "high": [1.0] * 3}
    )
    chart = charts.steps(frame, 2)
    assert chart
    assert "lowest after 2 steps, the test error after 1 step." in chart.caption
    assert charts.steps(frame.head(1), 0) is None
