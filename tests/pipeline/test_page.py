"""The report of the embedded default, in a real browser."""

import polars as pl
import pytest

from tests.report.browser import Reader, applied, chromium, walk

pytestmark = pytest.mark.xdist_group("embedded")


def test_a_reader_walks_through_the_page_of_the_digits_and_the_next_set_obeys(embedded):
    page = embedded.root / "data/report/index.html"
    assert page.stat().st_size < 15e6
    with chromium() as browser, Reader(browser, page.as_uri()) as reader:
        decided = walk(reader)
    applied(pl.read_parquet(embedded.root / "data/curated/r003.parquet"), decided)


def test_what_extend_gains_is_drawn_beside_uniform_choices_of_every_round(embedded):
    rounds = pl.read_csv(embedded.root / "data/metrics/plots/rounds.csv")
    assert rounds["uniform"].null_count() == 1  # of r000, the core itself
    assert pl.read_csv(embedded.root / "data/metrics/plots/steps.csv")["loss"].is_sorted(descending=True)
    classes = pl.read_csv(embedded.root / "data/metrics/plots/classes.csv")
    assert classes["samples"].sum() == 497
