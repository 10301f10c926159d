"""A real Chromium, and a reader who walks through a report page with the keyboard."""

import csv
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from diva.store import curated, tables


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; skips where there is none on this machine."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on PATH: `apt-get install chromium` brings one")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Reader:
    """A page as a reader opens it, and all that it did.

    Attributes:
        page: Playwright's.
        complaints: what its console and its errors said.
        asked: addresses that it asked for, but for data within itself.
    """

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}} | context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready]", timeout=60_000)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    @property
    def outside(self) -> list[str]:
        """Addresses asked for that are neither the page itself nor within it."""
        return [url for url in self.asked if not url.startswith(("data:", "blob:", self.page.url.split("#")[0]))]

    def labels(self) -> list[str]:
        """What stands beneath the pictures of this page of the gallery."""
        return [text.strip() for text in self.page.locator("#cards .labels").all_inner_texts()]

    def rows(self) -> list[int]:
        """Rows of the samples on this page of the gallery."""
        return [int(card.get_attribute("data-row") or -1) for card in self.page.locator("#cards .card").all()]

    def found(self) -> int:
        """How many samples pass the filters."""
        first = self.page.locator("#found").inner_text().split()[0]
        return 0 if first == "No" else int(first.replace(",", ""))

    def view(self, name: str) -> None:
        """Choose a view."""
        self.page.locator(f'#views [data-view="{name}"]').click()

    def pick(self, field: str, value: str) -> None:
        """Choose in a filter."""
        self.page.locator(f'#filters [name="{field}"]').select_option(value)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def see_everything(self) -> None:
        """Scroll through the whole page, until every chart is drawn."""
        for chart in self.page.locator("[data-chart]").all():
            chart.scroll_into_view_if_needed()
            self.page.wait_for_function(
                "(place) => 'drawn' in place.dataset", arg=chart.element_handle(), timeout=60_000
            )

    def export(self) -> list[dict[str, str]]:
        """The review as exported."""
        with self.page.expect_download() as waited:
            self.page.locator("#export").click()
        assert waited.value.suggested_filename == "review.csv"
        text = Path(waited.value.path()).read_bytes().decode("utf-8")
        return list(csv.DictReader(io.StringIO(text, newline="")))


def walk(reader: Reader) -> list[dict[str, str]]:
    """Filter, page, accept three and reject two with the keyboard, export; the exported decisions, in their order."""
    page = reader.page
    reader.see_everything()
    reader.view("all")
    every = reader.found()
    label = page.locator('#filters [name="label"] option').nth(1).get_attribute("value")
    reader.pick("label", label or "")
    assert 0 < reader.found() < every
    page.locator('#filters button[type="reset"]').click()
    page.wait_for_function("(n) => document.querySelector('#found').textContent.startsWith(n)", arg=f"{every:,}")
    first = reader.rows()
    reader.press("]")
    assert not set(reader.rows()) & set(first)
    reader.view("called")
    assert 5 <= reader.found() < every
    reader.press("Escape", "j", "a", "a", "a", "r", "r")
    assert page.locator("#progress").inner_text().startswith("3 kept, 2 left out, 0 relabelled")
    decided = reader.export()
    assert sorted(row["decision"] for row in decided) == ["accept"] * 3 + ["reject"] * 2
    assert reader.complaints == []
    assert reader.outside == []
    return decided


def applied(state: pl.DataFrame, decided: list[dict[str, str]]) -> None:
    """The next round obeys the exported decisions above any score, and touches nothing else."""
    review = pl.DataFrame(
        [{name: value or None for name, value in row.items()} for row in decided], schema=dict(curated.REVIEW)
    )
    members = state.filter(pl.col("status") == "member").rename({"flagged": "called"})
    changes = members.with_columns(change=pl.when("called").then(pl.lit("flag")).otherwise(pl.lit("keep")))
    decisions = tables.conform(changes.select(list(curated.CHANGES)), curated.CHANGES, "decisions")
    plain, after = (curated.apply("r999", state, decisions, state, one) for one in (review.clear(), review))
    assert plain.equals(state)
    told = {"accept": ("member", False), "reject": ("removed", False)}
    judged = after.join(review, on="sample_id", how="semi", maintain_order="left")
    found = {
        name: (status, flagged) for name, status, flagged in judged.select("sample_id", "status", "flagged").rows()
    }
    assert found == {row["sample_id"]: told[row["decision"]] for row in decided}
    others = pl.col("sample_id").is_in(review["sample_id"].implode())
    assert after.filter(~others).equals(state.filter(~others))
