"""The page in a real browser: nothing asked of the network, nothing run but its own script, the review by keyboard."""

import base64
import gzip
import json
import math
import re
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import pytest

from diva.report import page
from diva.report.data import samples
from diva.report.gallery import figures
from diva.store import curated, digests, evaluation, index, ledger, manifest, paths, suggested, tables
from diva.versions import labelling, reviews
from stages import report
from tests.projects.finished_run import CALLED, draw, finish, indexed
from tests.report.browser import Reader, applied, chromium
from tests.report.test_slice_tables import plant
from tests.review.conftest import Served, start

pytestmark = pytest.mark.xdist_group("chromium")
HOSTILE = (
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "🦉 owl",
    "\u202eedud",
    "بومة",
    '"><img src=x onerror=alert(2)>',
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def written(change: Any = None, megabytes: float = 9) -> str:
    """The address of a page made here, of a made-up run."""
    data = report.read()
    html = page.render(data if change is None else change(data), page.PageLimits(30, 96, 1000, megabytes))
    paths.REPORT.parent.mkdir(parents=True, exist_ok=True)
    paths.REPORT.write_text(html, encoding="utf-8")
    return paths.REPORT.absolute().as_uri()


def test_the_page_loads_whole_and_quiet_and_asks_for_nothing(place: Path, browser: Any) -> None:
    finish()
    with Reader(browser, written()) as reader:
        reader.see_everything()
        assert reader.labels()[:2] == ["cat→ dog", "dog→ owl"]
        assert reader.page.locator(".plot .main-svg").count() >= 9
        assert reader.complaints == []
        assert reader.outside == []
        assert all(source.startswith("data:image/") for source in pictures(reader))


def test_the_summary_prints_on_two_pages_with_its_chart(place: Path, browser: Any) -> None:
    plant()
    with Reader(browser, written()) as reader:
        reader.see_everything()
        printed = reader.page.pdf()
        assert 1 <= len(re.findall(rb"/Type /Page\b", printed)) <= 2
        reader.page.emulate_media(media="print")
        for name in ("summary", "slices"):
            assert reader.page.locator(f"#{name}").is_visible()
        assert not reader.page.locator("#gallery").is_visible()
        assert reader.complaints == []


def test_a_bad_slice_leads_to_its_samples_and_words_of_a_delivery_are_shown(place: Path, browser: Any) -> None:
    plant()
    with Reader(browser, written()) as reader:
        assert reader.page.locator("[data-slices] button").count() == 0, "no sample here is of that delivery"
    finish()
    state = curated.read("r001").select("sample_id", iso=pl.int_range(pl.len()) % 5, site=pl.lit("</script>north"))
    evaluation.write("columns", state)
    bad = {
        "of": "labels",
        "column": "iso",
        "value": "3",
        "samples": 6,
        "wrong": 5,
        "rate": 0.9,
        "low": 0.6,
        "high": 1.0,
    }
    bad |= {"rest": 0.1, "p": 0.001, "q": 0.01, "error": 0.5, "weight": None}
    evaluation.write("slices", pl.DataFrame([bad], evaluation.SLICES))
    train = pl.read_parquet(paths.TRAIN)
    sound = paths.raw("core") / "purr #1.wav"
    with wave.open(sound.as_posix(), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 4000))
    outside = pl.col("sample_id") == state["sample_id"][8]
    heard = pl.when(outside).then(pl.lit("../secret.wav")).otherwise(pl.lit(sound.as_posix()))
    train.with_columns(text=pl.lit("a cat on a <b>mat"), audio=heard).write_parquet(paths.TRAIN)
    shown = curated.read("r001").with_columns(path=pl.lit("packs/core.npz"))
    curated.write(paths.curated("r001"), shown)
    with Reader(browser, written(megabytes=0)) as reader:
        reader.see_everything()
        reader.page.locator("[data-slices]").get_by_role("button", name="Show iso = 3").click()
        assert set(reader.rows()) == {row for row in range(len(state)) if row % 5 == 3}
        assert "a cat on a <b>mat" in reader.page.locator("#cards").inner_text()
        reader.press("j")
        facts = reader.page.locator("#panel dl").inner_text()
        assert "</script>north" in facts
        reader.page.locator('#cards [data-row="8"]').click()
        player = reader.page.locator("#panel audio")
        assert player.count() == 0, "outside of the data"
        reader.page.locator('#cards [data-row="3"]').click()
        reader.page.wait_for_function("(one) => one.duration > 0", arg=player.element_handle())
        assert player.evaluate("(one) => one.duration") == pytest.approx(0.5)
        assert reader.complaints == []


def pictures(reader: Reader) -> list[str]:
    found: list[str] = reader.page.evaluate("() => [...document.images].map((one) => one.src)")
    assert found
    return found


def test_views_filters_and_order_show_the_samples_they_name(place: Path, browser: Any) -> None:
    finish()
    with Reader(browser, written()) as reader:
        amounts = {}
        for view in ("called", "added", "removed", "left", "all"):
            reader.view(view)
            amounts[view] = reader.found()
        assert amounts == {"called": CALLED, "added": 6, "removed": 0, "left": 6, "all": 36}
        reader.pick("label", "1")
        dogs = reader.labels()
        assert dogs
        assert all("dog" in text for text in dogs)
        reader.page.locator('[name="low"]').fill("0.9")
        assert 0 < reader.found() < len(dogs)
        reader.view("called")
        assert reader.rows() == list(range(CALLED))
        reader.pick("sort", "trusted")
        assert reader.rows() == list(reversed(range(CALLED)))
        reader.view("left")
        reader.pick("reason", reader.page.locator('[name="reason"] option').nth(1).get_attribute("value") or "")
        assert reader.found() in (2, 4)


ORDERS = {
    "suspicious": ("score", -1), "trusted": ("score", 1), "wanted": ("derivative", 1), "harmful": ("derivative", -1),
    "heavy": ("weight", -1), "light": ("weight", 1), "margin": ("margin", 1),
}  # fmt: skip


def drag(reader: Reader, *corners: tuple[float, float]) -> None:
    """Drag the pointer over the map, by shares of its size."""
    reader.page.locator("#map-canvas").scroll_into_view_if_needed()
    box, mouse = reader.page.locator("#map-canvas").bounding_box(), reader.page.mouse
    assert box
    places = [(box["x"] + left * box["width"], box["y"] + top * box["height"]) for left, top in corners]
    mouse.move(*places[0])
    mouse.down()
    for place in places:
        mouse.move(*place, steps=3)
    mouse.up()


def test_the_map_shows_every_sample_and_the_gallery_follows_what_is_chosen_on_it(place: Path, browser: Any) -> None:
    finish()
    further = curated.read("r001").select("sample_id", site=pl.lit(HOSTILE[0]), iso=pl.int_range(pl.len()))
    further = further.with_columns(site=pl.when(pl.col("iso") < 10).then(pl.lit(HOSTILE[5])).otherwise("site"))
    evaluation.write("columns", further)
    for batch, shift in (("core", 0), ("b001", 3)):
        with h5py.File(paths.features(batch), "a") as file:
            rows = np.arange(len(file["features"]))
            file["features"][:] = np.stack([rows + shift, np.cos(rows), 0 * rows], 1)
    with Reader(browser, written()) as reader:
        found = json.loads(gzip.decompress(base64.b64decode(reader.page.locator("#known").text_content() or "")))
        points = np.array([found["x"], found["y"]], float)
        assert [one["name"] for one in found["charts"]["density"]["data"]] == ["core", "added"]
        reader.see_everything()
        reader.view("all")
        drag(reader, (0.01, 0.01), (0.5, 0.01), (0.5, 0.99), (0.01, 0.99))  # a lasso around the left half
        middle = (points[0].max() + points[0].min()) / 2
        assert reader.found() == (points[0] < middle).sum()
        assert set(reader.rows()) == set(np.flatnonzero(points[0] < middle).tolist())
        assert "chosen on the map" in reader.page.locator("#found").inner_text()
        reader.page.locator("#map-tools").get_by_role("button", name="Box").click()
        drag(reader, (0.5, 0.01), (0.99, 0.99))
        assert set(reader.rows()) == set(np.flatnonzero(points[0] > middle).tolist())
        reader.page.locator("#map-tools").get_by_role("button", name="All").click()
        assert reader.found() == 36
        for title in ("Called wrong", "Weight", "site"):
            reader.page.locator("#map-colour").select_option(title)
        assert HOSTILE[5] in reader.page.locator("#map-legend").inner_text()
        reader.page.locator("#map-legend button").first.focus()
        reader.press("Enter")  # the list of colours is the map's keyboard
        assert reader.found() == 6  # others: what is left in the pool has no site here
        reader.page.locator('#filters button[type="reset"]').click()
        reader.page.wait_for_function("() => document.querySelector('#found').textContent.startsWith('36')")
        reader.page.locator('#filters [name="column"]').select_option("site")
        reader.page.locator('#filters [name="value"]').select_option(HOSTILE[5])
        assert reader.rows() == list(range(10))
        reader.page.locator('#filters [name="column"]').select_option("delivery")
        assert reader.found() == 36
        reader.page.locator("#map-canvas").scroll_into_view_if_needed()
        reader.page.wait_for_timeout(100)
        reader.page.locator("#map-canvas").hover(position=spot(reader, points, 0))
        assert reader.page.locator("#map-tip img").count() == 1
        assert reader.complaints == []
        assert reader.outside == []


def spot(reader: Reader, points: Any, row: int) -> Any:
    """Where on the canvas a sample's point lies: the whole map fills 92 % of it, in one scale."""
    box = reader.page.locator("#map-canvas").bounding_box()
    assert box
    low, high = points.min(1), points.max(1)
    scale = 0.92 * min(box["width"] / (high[0] - low[0]), box["height"] / (high[1] - low[1]))
    left, top = (points[:, row] - (low + high) / 2) * scale
    return {"x": left + box["width"] / 2, "y": box["height"] / 2 - top}


def test_each_order_is_that_of_the_values_with_missing_ones_last(place: Path, browser: Any) -> None:
    finish()
    values = [0.0, -0.0, 1e-9, -1e-9, None, 3.0, -3.0, 2.5, 2.501, 1e12, -1e12, float("nan")]
    mixed = pl.Series([values[(5 * row) % len(values)] for row in range(30)])
    state = curated.read("r001").with_columns(score=mixed, derivative=mixed.reverse(), margin=mixed)
    curated.write(paths.curated("r001"), state)
    data = report.read()
    frame = samples(data)
    with Reader(browser, written(lambda _: data)) as reader:
        reader.view("all")
        for sort, (column, direction) in ORDERS.items():
            reader.pick("sort", sort)
            known = [math.inf if value is None else direction * value for value in figures(frame[column])]
            assert reader.rows() == sorted(range(len(frame)), key=lambda row: (known[row], row)), sort


def test_another_method_brings_its_own_scores_and_calls(place: Path, browser: Any) -> None:
    finish()
    own = pl.read_parquet(paths.scores("soft"))
    other = own.with_columns(score=1 - pl.col("score"), flagged=pl.int_range(pl.len()) == 20)

    def with_margin(data: Any) -> Any:
        data.scores["margin"] = other
        return data

    with Reader(browser, written(with_margin)) as reader:
        reader.pick("method", "margin")
        assert reader.rows() == [20]
        reader.pick("method", "soft")
        assert len(reader.rows()) == CALLED


def test_the_walk_with_the_keyboard_changes_the_next_set_exactly_so(place: Path, browser: Any) -> None:
    finish()
    with Reader(browser, written()) as reader:
        reader.press("j", "a", "a", "a", "r", "r")
        decided = reader.export()
    state = curated.read("r001")
    ids = state["sample_id"].to_list()
    assert {row["sample_id"]: row["decision"] for row in decided} == dict(
        zip(ids[:5], ["accept"] * 3 + ["reject"] * 2, strict=True)
    )
    applied(state, decided)


def test_decisions_stay_in_the_browser_and_can_be_undone_noted_and_relabelled(place: Path, browser: Any) -> None:
    finish()
    with Reader(browser, written()) as reader:
        reader.press("j", "s", "l")
        reader.page.keyboard.type("cat")
        reader.press("Enter", "k", "n")  # Enter goes on
        reader.page.keyboard.type('=no, "really", a cat')
        reader.press("Enter", "j", "a", "k", "k", "j", "j", "u")
        reader.page.reload()
        reader.page.wait_for_selector("html[data-ready]")
        reader.press("j", "u")
        decided = {row["sample_id"]: row for row in reader.export()}
        ids = curated.read("r001")["sample_id"].to_list()
        assert {name: (row["decision"], row["label"], row["note"]) for name, row in decided.items()} == {
            ids[1]: ("relabel", "cat", """'=no, "really", a cat""")  # no formula in a spreadsheet
        }
        reader.pick("decision", "relabel")
        assert reader.rows() == [1]


def test_ten_at_a_time_takes_what_stays_ticked_unless_the_counter_check_does(place: Path, browser: Any) -> None:
    finish()
    with Reader(browser, written()) as reader:
        page = reader.page
        reader.pick("label", "1")
        suggested = [row for row in reader.rows() if row in (0, 3)]  # of the labels called wrong, cat → dog
        reader.view("called")
        page.locator("#tens-open").click()
        assert page.locator("#tens-title").inner_text() == "Are all of them dog?"
        boxes = page.locator("#tens-list input")
        values = [int(boxes.nth(place).get_attribute("value") or -1) for place in range(boxes.count())]
        (check,) = set(values) - set(suggested)
        page.get_by_role("button", name="Relabel those ticked").click()
        assert "nothing was taken" in page.locator("#tens-said").inner_text()
        for row in (check, suggested[0]):
            page.locator(f'#tens-list input[value="{row}"]').uncheck()
        page.get_by_role("button", name="Relabel those ticked").click()
        assert page.locator("#tens-title").inner_text() == "Are all of them owl?"
        page.locator("#tens").get_by_role("button", name="Close").click()
        ids = curated.read("r001")["sample_id"].to_list()
        said = {row["sample_id"]: (row["decision"], row["label"], row["note"]) for row in reader.export()}
        assert said == {ids[suggested[1]]: ("relabel", "dog", "ten at a time")}
        assert reader.complaints == []


def test_undo_takes_the_last_decision_back_and_goes_there(place: Path, browser: Any) -> None:
    finish()
    with Reader(browser, written()) as reader:
        reader.press("j", "a", "r", "u")  # on the third sample, which has none
        ids = curated.read("r001")["sample_id"].to_list()
        assert reader.page.locator('[aria-current="true"]').get_attribute("data-row") == "1"
        assert [row["sample_id"] for row in reader.export()] == [ids[0]]
        reader.press("j", "j", "u", "u")
        assert reader.page.locator("#progress").inner_text().startswith("Nothing decided yet.")
        reader.press("k", "a", "k", "r", "k", "s", "k", "u")  # what was decided before stands again, step by step
        assert [row["decision"] for row in reader.export()] == ["reject"]
        reader.press("u")
        assert [row["decision"] for row in reader.export()] == ["accept"]
        reader.press("u")
        assert reader.page.locator("#progress").inner_text().startswith("Nothing decided yet.")
        reader.press("a")
        said = reader.page.locator("#progress").inner_text()
        assert said.startswith(f"1 kept, 0 left out, 0 relabelled · 1 of {CALLED} called wrong decided")


def test_views_filters_and_ten_at_a_time_are_reached_by_keys(place: Path, browser: Any) -> None:
    finish()
    with Reader(browser, written()) as reader:
        page = reader.page
        for place_, view in enumerate(page.locator("#views button").all(), 1):
            reader.press("Escape", str(place_))
            assert view.get_attribute("aria-pressed") == "true"
        reader.press("1", "f")
        assert page.evaluate("document.activeElement.name") == "label"
        reader.press("Escape", "t")
        assert page.locator("#tens").is_visible()
        values = [box.get_attribute("value") or "" for box in page.locator("#tens-list input").all()]
        (check,) = [value for value in values if int(value) >= CALLED]  # nobody doubts it
        page.locator(f'#tens-list input[value="{check}"]').focus()
        reader.press("Space", "Enter", "Escape")
        assert {row["note"] for row in reader.export()} == {"ten at a time"}
        assert reader.complaints == []


@pytest.mark.parametrize("place_of_focus", ["#theme", "#weights-title", "nav a"])
def test_keys_act_wherever_the_focus_is(place: Path, browser: Any, place_of_focus: str) -> None:
    finish()
    with Reader(browser, written()) as reader:
        reader.see_everything()
        reader.page.locator(place_of_focus).first.click()
        reader.press("j", "a")
        assert reader.page.locator("#progress").inner_text().startswith("1 kept")
        assert reader.page.locator("#panel").evaluate(
            "(one) => one.getBoundingClientRect().top < innerHeight && one.getBoundingClientRect().bottom > 0"
        )


def test_ready_features_show_their_ids_where_others_have_images(place: Path, browser: Any) -> None:
    finish()
    state = curated.read("r001").with_columns(path=pl.lit("packs/core.npz"))
    curated.write(paths.curated("r001"), state)
    with Reader(browser, written(megabytes=0)) as reader:
        reader.press("j")
        assert reader.page.locator("#panel .subject").inner_text().startswith(state["sample_id"][0])
        assert reader.page.locator("#cards img").count() == 0


EARLIER = """(id) => {
  const key = Object.keys(localStorage).find((one) => one.startsWith("diva-review"));
  const made = JSON.parse(localStorage[key]);
  localStorage[key] = JSON.stringify([...made, [id, { decision: "relabel", label: "", note: "" }]]);
}"""


def test_no_label_is_changed_to_none(place: Path, browser: Any) -> None:
    """Neither by a key, where nothing is suggested, nor by what a browser kept."""
    finish()
    state = curated.read("r001").with_columns(suggested_label=pl.lit(None, pl.String))
    curated.write(paths.curated("r001"), state)
    with Reader(browser, written()) as reader:
        reader.view("all")
        reader.press("j", "l", "Enter")
        assert reader.page.locator("#progress").inner_text() == "Nothing decided yet."
        reader.page.keyboard.type("dog")
        reader.press("Enter")
        reader.page.evaluate(EARLIER, state["sample_id"][9])
        reader.page.reload()
        reader.page.wait_for_selector("html[data-ready]")
        assert [(row["decision"], row["label"]) for row in reader.export()] == [("relabel", "dog")]


def test_keys_rest_while_the_reader_writes_and_help_lists_them(place: Path, browser: Any) -> None:
    finish()
    with Reader(browser, written()) as reader:
        reader.press("?")
        assert reader.page.locator("#keys").is_visible()
        reader.press("Escape")
        assert reader.page.locator("#keys").is_hidden()
        reader.press("j", "n")
        reader.page.keyboard.type("are rare")
        assert reader.page.locator("#progress").inner_text() == "Nothing decided yet."
        assert reader.page.locator("#export").is_disabled()


def test_evidence_shows_core_images_of_both_classes_beside_the_sample(place: Path, browser: Any) -> None:
    finish()
    with Reader(browser, written()) as reader:
        reader.press("j")
        panel = reader.page.locator("#panel")
        assert panel.locator("h4").all_inner_texts() == ["Nearest labelled cat", "Nearest labelled dog"]
        assert panel.locator(".evidence img").count() == 6
        assert panel.locator("a").get_attribute("href") == "../../data/raw/core/00000.png"


def test_what_is_left_in_the_pool_shows_its_evidence_and_is_decided_by_keys(place: Path, browser: Any) -> None:
    finish()
    with Reader(browser, written()) as reader:
        reader.see_everything()
        reader.page.locator("#left").get_by_role("button", name="Show all").first.click()
        reader.press("j", "a")
        assert reader.page.locator("#progress").inner_text().startswith("1 kept")
        reader.press("k")
        panel = reader.page.locator("#panel")
        assert "in the pool" in panel.inner_text()
        given, suggested = panel.locator("h4").all_inner_texts()
        assert given.startswith("Nearest labelled")
        assert suggested == "Nearest labelled owl"
        assert panel.locator(".evidence img").count() >= 3


def test_hostile_names_are_shown_as_text_and_never_run(place: Path, browser: Any) -> None:
    finish()
    labels = pl.Series([HOSTILE[row % len(HOSTILE)] for row in range(30)])
    state = curated.read("r001").with_columns(
        given_label=labels, suggested_label=labels.reverse(), reason=labels, path=pl.format("data/raw/core/{}", labels)
    )
    curated.write(paths.curated("r001"), state)
    with Reader(browser, written()) as reader:
        reader.see_everything()
        reader.view("all")
        shown = " ".join(reader.labels())
        assert all(name in shown for name in HOSTILE)
        reader.press("j", "j")
        assert HOSTILE[1] in reader.page.locator("#panel").inner_text()
        assert reader.complaints == []
        assert reader.outside == []


def test_a_forged_script_in_the_page_is_refused_by_its_policy(place: Path, browser: Any) -> None:
    finish()
    address = written()
    forged = paths.REPORT.read_text(encoding="utf-8").replace("<main>", "<main><script>window.forged = 1</script>")
    paths.REPORT.write_text(forged, encoding="utf-8")
    with Reader(browser, address) as reader:
        assert reader.page.evaluate("() => window.forged") is None
        assert any("Content Security Policy" in text for text in reader.complaints)


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen_and_colours_follow_the_reader(
    place: Path, browser: Any, width: int, scheme: str
) -> None:
    finish()
    view = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    with Reader(browser, written(), **view) as reader:
        reader.see_everything()
        assert reader.page.evaluate("() => document.documentElement.scrollWidth") == width
        dark = "() => getComputedStyle(document.body).backgroundColor"
        first = reader.page.evaluate(dark)
        reader.page.locator("#theme").click(click_count=2 if scheme == "light" else 1)
        assert reader.page.evaluate(dark) != first


def ends(reader: Reader, words: str) -> None:
    """Waits until what is said of the review ends so."""
    said = "(words) => document.querySelector('#progress').textContent.endsWith(words)"
    reader.page.wait_for_function(said, arg=words)


def test_a_page_that_is_served_saves_each_decision_and_says_what_the_server_refused(
    place: Path, browser: Any, project: Path
) -> None:
    finish()
    index.write(paths.CORE, indexed("core"))
    index.write(paths.pool("b001"), indexed("b001"))
    written()
    ids = curated.read("r001")["sample_id"].to_list()
    served = start(place, ids, project)
    try:
        assert served.put(ids[5], "reject", note="blurred") == 204
        with Reader(browser, served.address) as reader:
            ends(reader, "· saved")
            assert reader.page.locator("#progress").inner_text().startswith("0 kept, 1 left out")
            reader.press("j", "a", "s")
            ends(reader, "· saved")
            assert saved(served) == {ids[0]: ("accept", ""), ids[1]: ("relabel", "owl"), ids[5]: ("reject", "")}
            reader.press("k", "k", "u")
            ends(reader, "· saved")
            assert set(saved(served)) == {ids[1], ids[5]}
            reader.press("n")
            reader.page.keyboard.type("forgotten, perhaps")
            reader.press("Enter", "r")
            reader.page.wait_for_function("() => document.querySelector('#progress').textContent.includes('not saved')")
            assert "note must not begin with 'forgotten'" in reader.page.locator("#progress").inner_text()
            assert set(saved(served)) == {ids[1], ids[5]}
            assert all(f"127.0.0.1:{served.port}/" in url for url in reader.outside)
    finally:
        served.end()


def deliver_in_place(place: Path) -> None:
    """Let the core be a folder beside the project's data, named by its absolute path."""
    (place / "photos").mkdir()
    for file in paths.raw("core").iterdir():
        file.rename(place / "photos" / file.name)
    there = pl.col("path").str.replace("data/raw/core", f"{place}/photos", literal=True)
    state = curated.read("r001").with_columns(there)
    curated.write(paths.curated("r001"), state)
    core = manifest.read(paths.manifest("core")).with_columns(there)
    manifest.write(paths.manifest("core"), core)
    index.write(paths.CORE, indexed("core"))
    index.write(paths.pool("b001"), indexed("b001"))


def test_samples_of_an_absolute_source_are_shown_from_their_files_on_disk_and_served(
    place: Path, browser: Any, project: Path
) -> None:
    finish()
    deliver_in_place(place)
    images = "[...document.querySelectorAll('#panel img')]"
    address = written(megabytes=0)  # no room for thumbnails
    served = start(place, [], project)
    try:
        for where, prefix in ((address, "file:///"), (served.address, f"http://127.0.0.1:{served.port}/")):
            with Reader(browser, where) as reader:
                reader.press("j")
                reader.page.wait_for_function(f"() => {images}.every((one) => one.naturalWidth > 0)")
                sources = reader.page.evaluate(f"() => {images}.map((one) => one.src)")
                assert len(sources) == 7
                assert all(one.startswith(prefix) and "/photos/" in one for one in sources)
                link = reader.page.locator("#panel dd a").evaluate("(one) => one.href")
                assert link.startswith(prefix)
                assert link.endswith(f"{place}/photos/00000.png")
    finally:
        served.end()


def saved(served: Served) -> dict[str, tuple[str, str]]:
    """Decision and label by sample, as the server holds them."""
    rows = json.loads(served.ask("GET", "/decisions").body)
    return {row["sample_id"]: (row["decision"], row["label"] or "") for row in rows}


def test_what_to_label_next_is_a_queue_by_keyboard_whose_labels_become_a_batch(
    place: Path, browser: Any, project: Path
) -> None:
    finish()
    index.write(paths.CORE, indexed("core"))
    names = [paths.DATA / "raw" / "b001" / f"new {number}.png" for number in range(4)]
    draw(names, 77)
    new = [digests.sha256(name)[: manifest.ID_LENGTH] for name in names]
    rows = pl.DataFrame({"sample_id": new, "path": [name.as_posix() for name in names]}).with_row_index("row", 100)
    others = {"batch": "b001", "features": "data/features/b001.h5", "checksum": "none", "label": None}
    waiting = tables.conform(
        rows.with_columns(**{key: pl.lit(value) for key, value in others.items()}), index.SCHEMA, ""
    )
    index.write(paths.pool("b001"), pl.concat([indexed("b001"), waiting]))
    written()
    about = {"rank": [1, 2, 3, 4], "reason": "</script>", "suggested_label": ["cat", "dog", None, "owl"]}
    table = pl.DataFrame(
        {**rows.reverse().select("sample_id", "path").to_dict(), **about, "probability": 0.75, "gain": 1.0}
    )
    tables.write(paths.suggested("pool"), table, suggested.SCHEMA)
    asked = new[::-1]
    served = start(place, [], project)
    try:
        assert served.put(asked[2], "accept") == 422, "there is no label to accept"
        with Reader(browser, served.address) as reader:
            reader.view("added")
            assert reader.found() == 6
            reader.view("next")
            assert (reader.found(), reader.labels()) == (4, ["–→ cat", "–→ dog", "–", "–→ owl"])
            reader.press("j")
            image = "document.querySelector('#panel img')"
            reader.page.wait_for_function(f"() => {image}.naturalWidth > 0")
            reader.press("a", "s", "a")  # the third has no suggestion, and stays chosen
            reader.press("l")
            reader.page.locator("#panel select").select_option("cat")
            reader.press("Enter", "r")
            ends(reader, "· saved")
            said = [("relabel", "cat"), ("relabel", "dog"), ("relabel", "cat"), ("reject", "")]
            assert saved(served) == dict(zip(asked, said, strict=True))
            assert reader.complaints == []
    finally:
        served.end()
    record, rest = labelling.reviewed(ledger.read(), reviews.reviewed(ledger.read(), paths.PENDING))
    assert record.select("sample_id", "label", "suggested_label").sort("label", "sample_id").rows() == sorted(
        [(asked[0], "cat", "cat"), (asked[1], "dog", "dog"), (asked[2], "cat", None)], key=lambda row: (row[1], row[0])
    )
    assert rest["decision"].to_list() == ["reject"]
    assert set(pl.concat([record["sample_id"], rest["sample_id"]])) == set(new)


def test_labels_of_the_test_set_that_look_wrong_are_decided_like_others_and_kept_apart(
    place: Path, browser: Any, project: Path
) -> None:
    finish()
    index.write(paths.CORE, indexed("core"))
    index.write(paths.pool("b001"), indexed("b001"))
    suspicious = (
        indexed("test")
        .head(2)
        .select(
            "sample_id",
            "path",
            "label",
            suggested_label=pl.lit("owl"),
            score=pl.Series([0.9, 0.8]),
            margin=pl.lit(-0.5),
        )
    )
    evaluation.write("audit", suspicious)
    metrics = tables.read_json(paths.metrics("evaluate"))
    figures = {"mean": 0.2, "low": 0.1, "high": 0.3}
    metrics["audit"] = {"suspicious": 2, "message": "", "with": figures, "without": figures}
    tables.write_json(paths.metrics("evaluate"), metrics)
    written()
    served = start(place, [], project)
    try:
        with Reader(browser, served.address) as reader:
            reader.see_everything()
            assert "under Test labels" in reader.page.locator("#summary, .split").all_inner_texts()[1]
            reader.view("all")
            every = reader.found()
            reader.page.get_by_role("link", name="Test labels").click()
            assert (reader.found(), reader.labels()) == (2, ["cat→ owl", "dog→ owl"])
            assert "test set, never trains" in panel_of(reader, "j")
            reader.press("s", "r")
            ends(reader, "· saved")
            assert saved(served) == dict(
                zip(suspicious["sample_id"], [("relabel", "owl"), ("reject", "")], strict=True)
            )
            assert every == len(samples(report.read())) + 2
            assert reader.complaints == []
    finally:
        served.end()
    said, of_test = reviews.separated(ledger.read(), reviews.reviewed(ledger.read(), paths.PENDING))
    assert said.is_empty()
    assert set(of_test["sample_id"]) == set(suspicious["sample_id"])


def panel_of(reader: Reader, key: str) -> str:
    """What the panel says of a sample after a key."""
    reader.press(key)
    return str(reader.page.locator("#panel dl").inner_text())


def test_buttons_say_which_label_a_sample_will_have_and_badges_which_it_has(place: Path, browser: Any) -> None:
    """By the pointer alone, of long names too, which are cut to the panel; what is stored are the old words."""
    finish()
    long = "a very long name of a class, " * 4
    given = pl.when(pl.int_range(pl.len()) == 1).then(pl.lit(long)).otherwise("given_label")
    state = curated.read("r001").with_columns(given_label=given)
    curated.write(paths.curated("r001"), state)
    with Reader(browser, written()) as reader:
        panel, badges = reader.page.locator("#panel"), reader.page.locator("#cards .chip")
        reader.page.locator("#cards .card").first.click()
        buttons = panel.locator(".choices button")
        assert [one.get_attribute("title") for one in buttons.all()] == ["Keep cat", "Make it dog", None, None]
        assert [one.get_attribute("aria-keyshortcuts") for one in buttons.all()] == ["a", "s", "l", "r"]
        said = []
        for words in ("Keep cat", "Make it dog", "Leave out"):
            panel.locator(".choices").get_by_role("button", name=words).click()
            said.append((panel.locator(".said").inner_text(), badges.all_inner_texts()))
        assert said == [(text, [text]) for text in ("kept: cat", "now: dog", "left out")]
        assert panel.locator("select").is_hidden()
        panel.get_by_role("button", name="Other label…").click()
        panel.locator("select").select_option("owl")
        panel.get_by_role("button", name="Make it this").click()
        assert badges.all_inner_texts() == ["now: owl"]
        keep = panel.locator('[aria-keyshortcuts="a"]')  # of the next sample
        assert keep.get_attribute("title") == f"Keep {long}"
        assert keep.locator("bdi").evaluate("(one) => one.scrollWidth > one.clientWidth")
        assert panel.evaluate("(one) => one.scrollWidth <= one.clientWidth")
        keep.click()
        stored = {row["sample_id"]: (row["decision"], row["label"]) for row in reader.export()}
        ids = state["sample_id"].to_list()
        assert stored == {ids[0]: ("relabel", "owl"), ids[1]: ("accept", "")}
        assert reader.complaints == []
