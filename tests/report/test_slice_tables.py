"""What was planted in a run is named by summary and page, each at the top of its table."""

import re
from pathlib import Path

import numpy as np
import polars as pl

from diva.curation import slices
from diva.curation.drift import drifts
from diva.numerics.chunks import InMemory
from diva.report import page, run_metrics, summary
from diva.store import evaluation, manifest, paths, tables
from diva.text.words import Table
from stages import report
from tests.curation.test_slices import N, rows
from tests.projects.finished_run import finish

GROUPS = [f"patient {number}" for number in range(5)]


def plant() -> None:
    """A delivery of 40 % wrong labels that drifts, a bad site, a confused pair, ten wrong test labels, five groups."""
    finish()
    frame, draw = rows(0)
    bad = pl.Series(((frame["batch"] == "b002") & (pl.Series(draw.random(N)) < 0.4)).to_numpy())
    confused = pl.Series((frame["label"] == "3").to_numpy() & (draw.random(N) < 0.3))
    east = pl.Series((frame["site"] == "east").to_numpy() & (draw.random(N) < 0.3))
    noisy = slices.ranked(frame.with_columns(wrong=pl.col("wrong") | bad))
    tested = slices.ranked(frame.with_columns(wrong=pl.col("wrong") | east))
    every = [part.select(pl.lit(of).alias("of"), pl.all()) for of, part in (("labels", noisy), ("test", tested))]
    evaluation.write("slices", pl.concat(every).select(list(evaluation.SLICES)))
    other = pl.when(confused).then(pl.lit("<b>5")).otherwise("suggested_label")
    evaluation.write("pairs", slices.pairs(frame.with_columns(wrong=pl.col("wrong") | confused, suggested_label=other)))
    core, shifts = draw.normal(size=(200, 6)), {"b001": 0, "b002": 1, "b003": 0}
    new = {name: draw.normal(size=(99, 6)) + shift for name, shift in shifts.items()}
    drift = drifts(InMemory(core, np.zeros(200)), {name: InMemory(part, np.zeros(99)) for name, part in new.items()})
    evaluation.write("deliveries", slices.deliveries(noisy, drift, (0.25, 0.1)))
    wrong = {"sample_id": [f"{row:032x}" for row in range(10)], "path": [f"test/{row}.png" for row in range(10)]}
    named = pl.DataFrame(wrong).with_columns(label=pl.lit("cat"), suggested_label=pl.lit("dog"), score=0.9, margin=-0.5)
    evaluation.write("audit", named)
    shared = [
        manifest.Refused(
            f"{row:032x}", f"{row}.png", "cat", f"group of the test set: {GROUPS[row % 5]}", "Nothing to do."
        )
        for row in range(10)
    ]
    tables.write(paths.quarantine("fit", "core"), manifest.refusals(shared), manifest.QUARANTINE)


def first(found: dict[str, Table], title: str) -> list[str]:
    return [row.cells[0] for row in found[title].rows]


def test_what_was_planted_is_named_by_summary_and_page(place: Path) -> None:
    plant()
    said = summary.summarise(run_metrics.read())
    found = {table.title: table for table in said.tables}
    bad = found["Slices that are worse than the rest"]
    assert {row.cells[:2] for row in bad.rows[:2]} == {
        ("delivery = b002", "labels called wrong"), ("site = east", "test errors of the release"),
    }  # fmt: skip
    assert first(found, "Pairs of classes that are confused more than others") == ["3 → <b>5"]
    deliveries = {row.cells[0]: row.cells[-1] for row in found["Deliveries"].rows}
    assert deliveries == {"b001": "–", "b002": "labels and features", "b003": "–"}
    audited = next(table for title, table in found.items() if title.startswith("Labels of the test set"))
    assert [row.cells[0] for row in audited.rows] == [f"test/{row}.png" for row in range(10)]
    alert, groups = (
        next(text for text in said.caveats if text.startswith(start)) for start in ("Delivery b002", "5 groups")
    )
    assert re.search(r"% of its \d+ labels are called wrong and its features lie \d\.\d\d of the core", alert)
    assert all(name in groups for name in GROUPS)
    html = page.render(report.read(), page.PageLimits(30, 96, 1000, 9))
    for text in ("delivery = b002", "site = east", "3 → &lt;b&gt;5", "labels and features", "test/9.png", *GROUPS):
        assert text in html
    assert "<b>5" not in html


def test_where_nothing_stands_out_that_is_said(place: Path) -> None:
    finish()
    html = page.render(report.read(), page.PageLimits(30, 96, 1000, 9))
    assert "No slice is worse than the rest." in html
    said = summary.summarise(run_metrics.read())
    assert not {"Deliveries", "Slices that are worse than the rest"} & {table.title for table in said.tables}
