"""What ``dvc plots`` and ``dvc exp show`` draw: the run's own curves, on a page that needs no network."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from diva.store import paths
from stages import report
from tests.projects import finished_run as finished
from tests.projects import stage_inputs as small
from tests.projects.checkout import Project
from tests.report.browser import chromium
from tests.report.conftest import SECTIONS

HOSTILE = ("</script><script>alert(1)</script>", "😀 שלום", "<b>owl</b>, it's")
INK = """(canvas) => { const [w, h] = [canvas.width, canvas.height];
  const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, w, h).data.buffer);
  return new Set(pixels).size; }"""


@pytest.fixture
def plotted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path) -> Project:
    """The tables of a finished run whose classes have odd names, the shipped plots, and a commit of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finished, "CLASSES", HOSTILE)
    small.write_params(**SECTIONS)
    finished.finish()
    report.main()
    ignored = shutil.ignore_patterns("tmp", "cache")
    shutil.copytree(project / ".dvc", tmp_path / ".dvc", ignore=ignored, dirs_exist_ok=True)
    plots = yaml.safe_load((project / "dvc.yaml").read_text())["plots"]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"plots": plots}))
    copy = Project(tmp_path)
    copy.run("git", "init", "--quiet")
    copy.run("git", "add", "dvc.yaml", ".dvc", "data/metrics")
    copy.run("git", "-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "Run")
    return copy


def drawn(page: Path) -> tuple[list[int], list[str], list[str]]:
    """Of a page opened without a network: colours in each picture, what its console said, what it asked for."""
    said: list[str] = []
    asked: list[str] = []
    with chromium() as browser:
        context: Any = browser.new_context(offline=True)
        opened = context.new_page()
        opened.on("console", lambda message: said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(page.as_uri())
        opened.wait_for_function(
            "document.querySelectorAll('canvas').length == document.querySelectorAll('body > div').length"
        )
        return [canvas.evaluate(INK) for canvas in opened.locator("canvas").all()], said, asked


@pytest.mark.parametrize("command", ["show", "diff"])
def test_every_plot_is_drawn_without_a_network(plotted: Project, command: str) -> None:
    names = [name for plot in yaml.safe_load((plotted.root / "dvc.yaml").read_text())["plots"] for name in plot]
    rounds = plotted.root / paths.PLOTS / "rounds.csv"
    rounds.write_text(rounds.read_text().replace("0.2,", "0.21,"))
    plotted.run("dvc", "plots", command)
    page = plotted.root / "dvc_plots" / "index.html"
    colours, said, asked = drawn(page)
    assert len(colours) == len(names) == 7
    assert min(colours) > 10, "nothing is blank"
    assert said == []
    assert asked == [page.as_uri()]
    assert page.stat().st_size < 2e6


def test_the_page_holds_the_scripts_that_it_says_and_asks_nothing_of_a_network(project: Path) -> None:
    text = (project / ".dvc" / "plots" / "page.html").read_text(encoding="utf-8")
    told = dict(re.findall(r"^ +(\S+@\S+) +sha256 ([0-9a-f]{64})$", text, re.MULTILINE))
    held = dict(re.findall(r'<script data-package="([^"]+)">(.*?)</script>', text, re.DOTALL))
    assert {name: hashlib.sha256(script.encode()).hexdigest() for name, script in held.items()} == told
    assert [name.split("@")[0] for name in held] == ["vega", "vega-lite", "vega-embed"]
    licences = (project / ".dvc" / "plots" / "LICENSES.txt").read_text(encoding="utf-8")
    assert all(name in licences for name in held)
    bare = re.sub(r"(<script data-package[^>]+>).*?</script>", r"\1", text, flags=re.DOTALL)
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", bare)
    assert "'unsafe-eval'" not in text


@pytest.mark.xdist_group("embedded")
def test_dvc_shows_the_metrics_and_plots_of_the_run(rerun: Project) -> None:
    rerun.run("git", "add", "--all")
    rerun.run("git", "-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "Run")
    evaluate = json.loads((rerun.root / "data/metrics/evaluate.json").read_text())
    shown = json.loads(rerun.run("dvc", "exp", "show", "--json").stdout)
    (figures,) = shown[0]["data"]["metrics"].values()
    used = evaluate["sets"][evaluate["release"]]
    assert figures["data"]["test_error"] == {"core": evaluate["sets"]["core"]["error"], "release": used["error"]}
    assert figures["data"]["all_learners"]["release"] == used["panel"]["mean"]["error"]
    line = rerun.run("dvc", "metrics", "show").stdout.splitlines()[0]
    assert len(line.split()) <= 10, "a screen wide"
    target = "data/metrics/evaluate.json"
    every = json.loads(rerun.run("dvc", "metrics", "show", "--json", target).stdout)
    assert every[""]["data"][target]["data"]["sets"] == evaluate["sets"]
    plots = json.loads(rerun.run("dvc", "plots", "show", "--json").stdout)["data"]
    rows = plots["rounds"][0]["content"]["data"]["values"]
    errors = [float(row["error"]) for row in rows if row["field"] == "error"]
    assert errors == pytest.approx([entry["error"] for entry in evaluate["rounds"]])
    balance = pl.read_csv(rerun.root / "data/metrics/plots/balance.csv")
    release = pl.read_parquet(rerun.root / "data/release/train.parquet")
    assert (balance["core"].sum(), balance["release"].sum()) == (400, len(release))
