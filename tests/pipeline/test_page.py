"""The report of the embedded default, in a real browser, and what becomes of the decisions made in it."""

import csv

import polars as pl
import pytest

from diva.store import ledger
from tests.report.browser import Reader, chromium, walk

pytestmark = pytest.mark.xdist_group("embedded")


def test_a_reader_walks_through_the_page_and_the_next_round_obeys(rerun):
    page = rerun.root / "data/report/index.html"
    assert page.stat().st_size < 15e6
    with chromium() as browser, Reader(browser, page.as_uri()) as reader:
        decided = walk(reader)
    rerun.run("git", "add", "--all")
    rerun.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "All")
    with (rerun.root / "review.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, list(decided[0]))
        rows.writeheader()
        rows.writerows(decided)
    before = next_set(rerun)
    rerun.run("git", "checkout", "--quiet", "data/ledger.yaml")
    rerun.diva("review", "--apply", "review.csv")
    after = next_set(rerun)
    told = {"accept": ("member", False), "reject": ("removed", False)}
    judged = after.join(pl.DataFrame(decided).select("sample_id"), on="sample_id", how="semi")
    found = {
        name: (status, flagged) for name, status, flagged in judged.select("sample_id", "status", "flagged").rows()
    }
    assert found == {row["sample_id"]: told[row["decision"]] for row in decided}
    assert set(judged["reason"]) == {"review: accept", "review: reject"}
    given = ["sample_id", "given_label", "origin", "path"]
    core = pl.col("origin") == "core"
    assert after.filter(core).select(given).equals(before.filter(core).select(given))
    others = ~pl.col("sample_id").is_in(judged["sample_id"].implode()) & core
    assert after.filter(others)["status"].equals(before.filter(others)["status"])


def next_set(run) -> pl.DataFrame:
    """The set after one more round, which obeys the newest decisions."""
    path = run.root / ledger.paths.LEDGER
    book = ledger.read(path)
    ledger.write(path, ledger.plan_round(book, book.rounds[book.latest].settings))
    run.repro("curate@r004")
    return pl.read_parquet(run.root / "data/curated/r004.parquet")


def test_what_extend_gains_is_drawn_beside_uniform_choices_of_every_round(embedded):
    rounds = pl.read_csv(embedded.root / "data/metrics/plots/rounds.csv")
    assert rounds["uniform"].null_count() == 0
    assert rounds["uniform"][0] == rounds["error"][0], "both start at the core"
    steps = pl.read_csv(embedded.root / "data/metrics/plots/steps.csv")
    assert steps["step"].to_list() == list(range(7))
    assert steps["loss"].is_sorted(descending=True)
    classes = pl.read_csv(embedded.root / "data/metrics/plots/classes.csv")
    assert classes["samples"].sum() == 400
