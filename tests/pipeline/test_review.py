"""The whole way of a review: the page, the server, a reader in a real browser, the decisions, the next round's set."""

import re

import polars as pl
import pytest

from diva.store import curated, tables
from tests.projects import versioned
from tests.projects.checkout import Project
from tests.report.browser import Reader, chromium
from tests.review.conftest import start

pytestmark = pytest.mark.xdist_group("embedded")

NEXT = """
from diva.store import ledger, paths
book = ledger.read()
ledger.write(paths.LEDGER, ledger.plan_round(book, book.rounds[book.latest].settings))
"""


def decide(project: Project) -> list[str]:
    """Serve the report, accept three and reject two with the keyboard; the ids, in that order."""
    served = start(project.root, [], project.root)
    try:
        with chromium() as browser, Reader(browser, served.address) as reader:
            reader.view("called")
            reader.press("Escape", "j", "a", "a", "a", "r", "r")
            saved = re.compile(r"3 kept, 2 left out, 0 relabelled · 5 of \d+ called wrong decided · saved")
            reader.page.locator("#progress", has_text=saved).wait_for()
            assert reader.complaints == []
            assert {
                address.split("/")[2] for address in reader.asked if not address.startswith(("data:", "blob:"))
            } == {f"127.0.0.1:{served.port}"}
            with Reader(browser, served.address) as again:  # another window finds them
                again.page.locator("#progress", has_text="3 kept, 2 left out").wait_for()
        said = served.end()
    finally:
        served.process.kill()
    assert "5 decisions; publish them: diva review --finish" in " ".join(said.split())
    return pl.read_csv(project.root / "data/reviews/pending.csv")["sample_id"].to_list()


def test_what_a_reader_decides_in_the_served_page_makes_the_next_set_exactly_so(rerun: Project) -> None:
    rerun.run("git", "add", "--all")
    rerun.run("git", "commit", "--quiet", "-m", "Run")
    ids = decide(rerun)
    rerun.diva("review", "--finish")
    rerun.run("python", "-c", NEXT)
    rerun.run("python", "-c", versioned.STAGES, "extend@r004", "curate@r004")
    data = rerun.root / "data"
    before, after = (curated.read(data / f"curated/{name}.parquet") for name in ("r003", "r004"))
    decisions = tables.read(data / "rounds/r004.parquet", curated.CHANGES)
    pool = pl.read_parquet(data / "pool/b002.parquet")
    alone = curated.apply("r004", before, decisions, pool, tables.empty(curated.REVIEW))
    judged = pl.col("sample_id").is_in(ids)
    assert after.filter(~judged).equals(alone.filter(~judged)), "nothing else changed"
    found = {row["sample_id"]: row for row in after.filter(judged).iter_rows(named=True)}
    told = [(found[name]["status"], found[name]["flagged"], found[name]["reason"]) for name in ids]
    assert told == [("member", False, "review: accept")] * 3 + [("removed", False, "review: reject")] * 2
    assert all(found[name]["label"] == found[name]["given_label"] for name in ids)
    assert before.filter(judged)["flagged"].all(), "the scores had called all five wrong"
