import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diva.report import charts, page
from diva.report.thumbnails import thumbnail
from diva.store import curated, paths
from stages import report
from tests.finished import CALLED, CLASSES, finish

VOID = {"meta", "img", "br"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Outline(HTMLParser):
    """Checks that tags close in order; keeps what a reader of the page meets."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return [name for name, _ in self.tags].count(tag)


def parsed(html: str) -> Outline:
    outline = Outline()
    outline.feed(html)
    assert outline.open == []
    return outline


def rendered(calls: int = 30, side: int = 96) -> str:
    return page.render(report.read("soft"), calls, side)


def test_the_page_is_whole_and_names_every_section(place: Path) -> None:
    finish()
    outline = parsed(rendered())
    assert outline.count("h1") == 1
    for heading in ("What each training set is worth", "Rounds", "Labels called wrong", "Set aside", "Provenance"):
        assert heading in outline.text
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = [attributes["aria-labelledby"] for _, attributes in outline.tags if "aria-labelledby" in attributes]
    assert set(labelled) == set(ids)


def test_nothing_is_fetched_and_nothing_runs(place: Path) -> None:
    finish()
    outline = parsed(rendered())
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in outline.tags}
    targets = [attributes[name] for _, attributes in outline.tags for name in ("src", "href") if name in attributes]
    assert targets
    assert all(target and target.startswith("data:image/") for target in targets)
    assert "default-src 'none'" in rendered()
    assert not re.search(r"url\(|@import", rendered())


def test_each_call_shows_its_image_labels_score_and_the_planted_truth(place: Path) -> None:
    finish()
    outline = parsed(rendered())
    images = [attributes for tag, attributes in outline.tags if tag == "img"]
    assert [image["alt"] for image in images[:2]] == [
        "Sample labelled cat, suggested dog",
        "Sample labelled dog, suggested owl",
    ]
    assert len(images) == CALLED
    assert outline.text.count("planted, truly") == 4
    assert outline.text.count("false alarm, truly") == CALLED - 4


def test_calls_are_the_flagged_samples_by_falling_score(place: Path) -> None:
    finish()
    data = report.read("soft")
    found = page.strongest(data.state, data.truth, 4)
    assert found["score"].to_list() == sorted(found["score"], reverse=True)
    assert len(found) == 4
    assert found["flagged"].all()
    assert page.strongest(data.state, data.truth, 100).height == CALLED


def test_what_was_dropped_or_relabelled_is_still_a_call(place: Path) -> None:
    for action in ("drop", "relabel"):
        finish(action=action)
        data = report.read("soft")
        found = page.strongest(data.state, data.truth, 100)
        assert len(found) == CALLED
        outcomes = {page.call(row, 96).outcome for row in found.iter_rows(named=True)}
        assert outcomes == ({"removed"} if action == "drop" else {f"relabelled {name}" for name in CLASSES})


def test_equal_data_give_an_equal_page(place: Path) -> None:
    finish()
    assert rendered() == rendered()


def test_hostile_labels_and_paths_are_text(place: Path) -> None:
    finish(images=False)
    hostile = "<script>alert(1)</script>"
    state = curated.read("r001").with_columns(
        suggested_label=pl.lit(hostile), path=pl.lit('../../etc/passwd"><img src=x onerror=alert(1)>')
    )
    curated.write(paths.curated("r001"), state)
    outline = parsed(rendered())
    assert hostile in outline.text
    assert "script" not in {tag for tag, _ in outline.tags}
    assert outline.count("img") == 0


def test_samples_without_images_show_their_path(place: Path) -> None:
    finish(images=False)
    outline = parsed(rendered())
    assert outline.count("img") == 0
    assert "data/raw/core/00000.png" in outline.text


def test_without_truth_nothing_is_said_of_planted_labels(place: Path) -> None:
    finish(truth=False)
    assert "planted" not in parsed(rendered()).text


def test_without_a_pool_the_core_alone_is_shown(place: Path) -> None:
    finish(pool=False)
    text = parsed(rendered()).text
    assert "No rounds: nothing was added to the core." in text
    assert "r001" not in text


def test_no_calls_asked_for_is_no_error(place: Path) -> None:
    finish()
    assert parsed(rendered(calls=0)).count("img") == 0


def test_what_was_set_aside_is_counted_with_reason_and_remedy(place: Path) -> None:
    finish()
    found = page.set_aside(report.read("soft").quarantine)
    assert [(one.batch, one.stage, one.kind, one.samples) for one in found] == [
        ("core", "download", "zero bytes", 1),
        ("test", "download", "zero bytes", 1),
        ("b001", "download", "zero bytes", 1),
    ]
    assert found[0].remedy == "Copy the file again."


def test_provenance_names_network_fit_batches_and_settings(place: Path) -> None:
    finish()
    groups = {group.title: dict(group.facts) for group in page.provenance(report.read("soft"))}
    assert groups["Features"]["backbone"] == "resnet18, untrained: random weights from seed 0"
    assert groups["Fit"]["ridge λ"] == "0.1"
    assert groups["Batches"]["b001"].startswith("more · sha256:")
    assert groups["Settings of r001"]["extend.budget"] == "null"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(1, 50))
def test_bars_hold_every_value_once(values: list[float], bins: int) -> None:
    flagged = np.array([value > 0.5 for value in values])
    found = charts.histogram(np.array(values), flagged, bins)
    assert sum(bar.samples for bar in found.bars) == len(values)
    assert sum(bar.flagged for bar in found.bars) == flagged.sum()
    assert max(bar.height for bar in found.bars) == 100


def test_a_histogram_of_nothing_has_no_bars() -> None:
    assert charts.histogram(np.array([np.nan]), np.array([True])).bars == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_an_axis_holds_its_values_between_round_ticks(values: list[float]) -> None:
    axis = charts.axis(values)
    assert all(-0.01 <= axis.place(value) <= 100.01 for value in values)
    assert (axis.ticks[0][0], axis.ticks[-1][0]) == (0, 100)
    assert 2 <= len(axis.ticks) <= 8


def test_classes_that_are_numbers_are_sorted_as_numbers() -> None:
    found = charts.balance({"10": 1, "2": 4}, {"2": 2, "a": 1})
    assert [(one.label, one.before, one.after) for one in found] == [("2", 4, 2), ("10", 1, 0), ("a", 0, 1)]
    assert found[0].before_width == 100


def decoded(uri: str) -> Image.Image:
    kind, data = uri.split(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == f"data:image/{(image.format or '').lower()}"
    return image


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16", "CMYK", "1"])
def test_thumbnails_of_any_mode_keep_their_proportions(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.tiff"
    Image.new(mode, (400, 200)).save(path)
    assert decoded(thumbnail(str(path), 96) or "").size == (96, 48)


def test_small_images_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)
    image = decoded(thumbnail(str(path), 96) or "")
    assert (np.asarray(image.convert("L")) == np.arange(64).reshape(8, 8)).all()


def test_what_is_transparent_shows_white(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(path)
    assert decoded(thumbnail(str(path), 96) or "").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("content", [None, b"", b"no image", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_image_has_no_thumbnail(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "file.png"
    if content is not None:
        path.write_bytes(content)
    assert thumbnail(str(path), 96) is None
    assert thumbnail(str(tmp_path), 96) is None
