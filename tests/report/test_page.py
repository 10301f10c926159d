import base64
import dataclasses
import gzip
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from diva.report import assets, claims, page, run_metrics, summary
from diva.report.data import ReportData
from diva.review import current
from diva.store import curated, paths
from diva.store.decisions import FORGOTTEN
from diva.versions import takedowns
from stages import report
from tests.projects.finished_run import CALLED, finish

VOID = {"meta", "img", "br", "input", "link"}


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
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def count(self, tag: str) -> int:
        return [name for name, _ in self.tags].count(tag)


def parsed(html: str) -> Outline:
    outline = Outline()
    outline.feed(html)
    assert outline.open == []
    return outline


def rendered(data: ReportData | None = None, **limits: Any) -> str:
    return page.render(
        data or report.read(), page.PageLimits(**{"calls": 30, "thumbnail": 96, "rows": 1000, "megabytes": 9} | limits)
    )


def block(html: str, name: str) -> str:
    found = re.search(rf'<script type="application/octet-stream" id="{name}">(.*?)</script>', html, re.DOTALL)
    assert found
    return found[1]


def known(html: str) -> dict[str, Any]:
    """What the page's script unpacks."""
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(block(html, "known"))))
    return content


def test_the_page_is_whole_and_names_every_section(place: Path) -> None:
    finish()
    outline = parsed(rendered())
    assert outline.count("h1") == 1
    for heading in ("What each training set is worth", "Samples", "Weights", "Rounds", "Set aside", "Provenance"):
        assert heading in outline.text
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes["aria-labelledby"] for _, attributes in outline.tags if "aria-labelledby" in attributes}
    assert labelled <= set(ids)
    targets = {attributes["href"] for tag, attributes in outline.tags if tag == "a"}
    assert targets <= {f"#{name}" for name in ids}


def test_the_policy_lets_in_two_scripts_by_their_hash_and_no_origin(place: Path) -> None:
    finish()
    html = rendered()
    outline = parsed(html)
    (policy,) = [tag["content"] for _, tag in outline.tags if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy == assets.policy(assets.script(), assets.plotly())
    rules = dict(rule.split(" ", 1) for rule in str(policy).split("; "))
    assert rules["default-src"] == "'none'"
    assert len(rules["script-src"].split()) == 2
    assert all(part.startswith("'sha256-") for part in rules["script-src"].split())
    assert rules["connect-src"] == "'self'"
    assert set(rules["img-src"].split()) == {"'self'", "data:", "file:"}
    run = [tag for name, tag in outline.tags if name == "script" and tag["type"] != "application/octet-stream"]
    assert run == [{"type": "module", "async": None}]
    assert f'<script type="module" async>{assets.script()}</script>' in html
    assert not {"iframe", "object", "img"} & {tag for tag, _ in outline.tags}


def test_the_script_is_all_modules_without_imports_and_exports() -> None:
    text = assets.script()
    assert not re.search(r"^(import|export) ", text, re.MULTILINE)
    assert "</script" not in text
    for name in assets.MODULES:
        assert max(assets.read(f"{name}.js").splitlines(), key=len).strip().removeprefix("export ") in text


def test_every_sample_is_in_the_page_with_its_labels_and_what_was_said_of_it(place: Path) -> None:
    finish()
    found = known(rendered())
    assert len(found["ids"]) == len(set(found["ids"])) == 24 + 12
    assert sum(found["called"]) == CALLED
    assert found["status"].count(2) == 6  # left in the pool
    first = {name: found["labels"][found[name][0]] for name in ("given", "suggested", "true")}
    assert first == {"given": "cat", "suggested": "dog", "true": "dog"}
    names = zip(found["status"], found["given"], found["suggested"], strict=True)
    doubted = {str(row) for row, (at, given, other) in enumerate(names) if at == 2 and other not in (-1, given)}
    called = {str(row) for row, call in enumerate(found["called"]) if call}
    assert doubted
    assert set(found["evidence"]) == called | doubted
    assert set(found["charts"]) == {
        "sets", "extension", "scores", "weights", "balance", "classes", "steps", "left", "aside",
    }  # fmt: skip


def test_fewer_rows_keep_the_labels_called_wrong(place: Path) -> None:
    finish()
    html = rendered(rows=8)
    found = known(html)
    assert len(found["ids"]) == 8
    assert sum(found["called"]) == CALLED
    assert "The page lists 8 samples" in parsed(html).text


def test_the_page_begins_with_the_verdict_that_the_summary_prints(place: Path) -> None:
    finish()
    run = run_metrics.read()
    before, text = rendered().partition('id="sets"')[0], summary.verdict(run)
    outcome, step = text.split("; next: ")
    sentences = summary.sentences(run)
    assert len(sentences) == 3
    assert outcome in sentences[0]
    assert sentences[2] == f"Next: {step}."
    assert dict(summary.facts(run))["error"][1:] in sentences[1]
    assert all(html.escape(sentence) in before for sentence in sentences)
    assert html.escape(claims.recipe(run)) in rendered()


def test_thumbnails_take_the_room_that_is_left(place: Path) -> None:
    finish()
    most = block(rendered(), "thumbnails").splitlines()
    none = block(rendered(megabytes=0.1), "thumbnails").splitlines()
    assert len(most) == 36
    assert none == []
    assert most[0].split(" ")[1].startswith("iVBOR")


def test_what_was_dropped_or_relabelled_is_still_a_call(place: Path) -> None:
    for action in ("drop", "relabel"):
        finish(action=action)
        assert sum(known(rendered())["called"]) == CALLED


def test_equal_data_give_an_equal_page(place: Path) -> None:
    finish()
    assert rendered() == rendered()


def test_hostile_labels_and_paths_never_become_markup(place: Path) -> None:
    finish()
    hostile = "<script>alert(1)</script>"
    state = curated.read("r001").with_columns(
        suggested_label=pl.lit(hostile), path=pl.lit('../../etc/passwd"><img src=x onerror=alert(1)>')
    )
    curated.write(paths.curated("r001"), state)
    html = rendered()
    assert parsed(html).count("script") == 4
    assert hostile not in html
    found = known(html)
    assert hostile in found["labels"]
    assert [link for link, path in zip(found["linked"], found["paths"], strict=True) if ".." in path] == [0] * len(
        state
    )


def test_without_truth_nothing_is_said_of_planted_labels(place: Path) -> None:
    finish(truth=False)
    assert "planted" not in parsed(rendered()).text


def test_without_a_pool_the_core_alone_is_shown(place: Path) -> None:
    finish(pool=False)
    html = rendered()
    text = parsed(html).text
    assert "No rounds: nothing was added to the core." in text
    assert "r001" not in text
    assert not {"extension", "left"} & set(known(html)["charts"])


def test_no_calls_asked_for_is_no_error(place: Path) -> None:
    finish()
    assert known(rendered(calls=0))["evidence"] == {}


def test_what_changed_since_the_set_before_is_told(place: Path) -> None:
    finish()
    text = "".join(parsed(rendered()).text.split())
    assert "Sincer000added6removed0relabelled0" in text


def test_provenance_names_network_fit_batches_and_settings(place: Path) -> None:
    finish()
    groups = {group.title: dict(group.facts) for group in page.provenance(report.read())}
    assert groups["Features"]["backbone"] == "resnet18, untrained: random weights from seed 0"
    assert groups["Fit"]["ridge λ"] == "0.1"
    assert groups["Batches"]["b001"].startswith("more · sha256:")
    assert groups["Settings of r001"]["extend.budget"] == "null"


@pytest.mark.parametrize("name", ["page.css", "page.html.j2", *(f"{module}.js" for module in assets.MODULES)])
def test_no_file_of_the_page_names_an_address(name: str) -> None:
    assert not re.search(r"https?:|url\(|@import|\beval\b|innerHTML", assets.read(name))


def luminance(color: str) -> float:
    """Relative luminance of #rrggbb, as WCAG defines it."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize("ground", ["ground", "card", "sunk", "wash"])
@pytest.mark.parametrize("ink", ["ink", "soft", "main", "mark", "good", "bad"])
def test_all_text_stands_out_from_its_ground(scheme: int, ground: str, ink: str) -> None:
    colors = {
        name: pair for name, *pair in re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", assets.read("page.css"))
    }
    dark, light = sorted(luminance(colors[name][scheme]) for name in (ground, ink))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_what_was_taken_down_is_neither_listed_nor_shown(place: Path) -> None:
    finish()
    whole = report.read()
    gone = [*whole.state["sample_id"][:2], *whole.remaining["sample_id"][:1]]
    review = pl.DataFrame(
        {"sample_id": gone, "decision": "reject", "label": None, "note": f"{FORGOTTEN}: asked"}, curated.REVIEW
    )
    before, after = rendered(whole), rendered(dataclasses.replace(whole, review=review))
    assert all(one in json.dumps(known(before)) for one in gone)
    assert not [one for one in gone if one in json.dumps(known(after)) or one in after]
    assert f'<meta name="diva-takedowns" content="{takedowns.digest(pl.Series(gone[::-1]))}">' in after[: current.HEAD]
    assert len(block(before, "thumbnails").splitlines()) == len(block(after, "thumbnails").splitlines()) + len(gone)


def test_the_page_shows_every_learner_and_on_which_the_gain_rests(place: Path) -> None:
    finish()
    file = paths.metrics("evaluate")
    content = json.loads(file.read_text())
    assert "Judged by several learners" not in rendered()
    for name, row in content["sets"].items():
        figures = {key: row[key] for key in ("error", "low", "high", "difference", "difference_low", "difference_high")}
        other = figures | {"difference": 0.0, "difference_low": -0.1, "difference_high": 0.1, "error": 0.125}
        row["panel"] = {"mean": figures, "learners": {"ridge": figures, "svm": other}} if name else {}
    file.write_text(json.dumps(content | {"learners": {"rows": 5000, "sampled": False}}))
    html = rendered()
    table = html[html.index("Judged by several learners") :]
    assert "The release is better than the core for ridge (−2.0)." in table
    assert "The release is worse than the core for no learner." in table
    assert table.count("12.50") >= len(content["sets"])
    assert [chart for chart in known(html)["charts"] if chart in ("panel", "sets")] == ["panel", "sets"]
    (dots,) = known(html)["charts"]["panel"]["data"]
    assert dict(zip(dots["y"], dots["x"], strict=True))["release: ridge"] == pytest.approx(-2)
    assert dots["y"][:2] == ["release: ridge", "release: svm"]


def test_what_a_delivery_says_of_an_image_in_words_is_on_the_page_and_what_was_taken_down_is_not(place: Path) -> None:
    finish()
    train = pl.read_parquet(paths.TRAIN)
    words = ["</script><b>a cat", "=1+1", *[None] * (len(train) - 2)]
    train.with_columns(text=pl.Series(words), iso=pl.lit(100)).write_parquet(paths.TRAIN)
    html = rendered()
    content = known(html)
    says = {content["ids"][row]: caption for row, caption in enumerate(content["captions"]) if caption}
    assert says == dict(zip(train["sample_id"], words[:2], strict=False))
    assert "<b>a cat" not in html
    assert "captions" not in known(rendered(dataclasses.replace(report.read(), captions=report.captions())))
    forgotten = train.head(1).select("sample_id", decision=pl.lit("reject"), label=pl.lit(None, pl.String))
    data = report.read()
    gone = forgotten.with_columns(note=pl.lit(FORGOTTEN), reviewer=pl.lit(None, pl.String))
    review = pl.concat([data.review, gone.select(data.review.columns)])
    assert "a cat" not in json.dumps(known(rendered(dataclasses.replace(data, review=review))))
