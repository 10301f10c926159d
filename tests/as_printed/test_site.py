"""The site: it builds without a warning, opens from disk without the network, and what it shows is run."""

import re
import subprocess
import sys
import tomllib
from contextlib import chdir
from html.parser import HTMLParser
from pathlib import Path

import nbclient
import nbformat
import polars as pl
import pytest
import typer
import yaml

from diva.commands.cli import app
from tests.as_printed.commands import printed
from tests.report.browser import chromium

pytestmark = pytest.mark.xdist_group("versions")  # one project with two versions serves all of its tests
ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted(Path(ROOT, "docs").rglob("*.md"))
NOTEBOOKS = sorted(Path(ROOT, "docs/notebooks").glob("*.ipynb"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    """Python that a page shows, sessions aside, which pytest runs as they are."""
    return [block for block in BLOCK.findall(page.read_text("utf-8")) if not block.startswith(">>>")]


class Loaded(HTMLParser):
    """What a page loads when it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        address = dict(attrs).get("href" if tag == "link" else "src")
        if tag in ("link", "script", "img", "iframe", "source") and address:
            self.addresses.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Built strictly: a link that leads nowhere, an anchor or an object that is absent fails it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_no_page_loads_anything_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(DOCS)
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert [address for address in loaded.addresses if re.match(r"https?:|//", address)] == [], page


def test_what_is_made_from_the_code_is_there(site):
    commands = (site / "reference/commands.html").read_text()
    assert all(f"diva {name}" in commands for name in typer.main.get_command(app).commands)
    assert "curate.rule" not in (settings := (site / "reference/settings.html").read_text())
    assert "second_round" in settings
    assert "loo_proba_" in (site / "reference/python.html").read_text()
    assert "suggested_label" in (site / "reference/files.html").read_text()
    assert "Sixty nights" in (site / "benchmarks.html").read_text()


def test_pages_fit_the_screen_in_light_and_dark_and_search_works_from_disk(site):
    with chromium() as browser:
        for width, scheme in ((1440, "light"), (390, "dark")):
            page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
            faults: list[str] = []
            page.on("console", lambda said, seen=faults: seen.append(said.text) if said.type == "error" else None)
            page.on("request", lambda asked, seen=faults: seen.append(asked.url) if "://" in asked.url[:8] else None)
            for name in ("index", "how-to/own-images", "reference/settings", "notebooks/noisy_pool", "benchmarks"):
                page.goto((site / f"{name}.html").as_uri())
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
            assert page.evaluate("document.body.dataset.mdColorScheme") == {"light": "default", "dark": "slate"}[scheme]
            assert [fault for fault in faults if not fault.startswith("file:")] == []
        page.goto(f"{(site / 'index.html').as_uri()}?q=takedown")
        page.wait_for_selector(".md-search-result__item", state="attached")


def test_the_command_line_takes_each_command_of_the_site():
    """By its own parser: a command, an option or a choice that it does not have is an error."""
    command = typer.main.get_command(app)
    shown = [line for page in DOCS for printed_line in printed(page) for line in printed_line.split(" && ")]
    own = [line.split() for line in shown if line.startswith("diva ")]
    assert len(own) > 20
    for _, name, *arguments in own:
        command.commands[name].make_context(name, arguments, resilient_parsing=False)


@pytest.mark.parametrize("page", [page for page in DOCS if blocks(page)], ids=lambda page: page.stem)
def test_python_of_the_site_runs_in_a_project(page, two_versions, tmp_path):
    project = two_versions.copy(tmp_path / "project")
    names: dict[str, object] = {}
    with chdir(project.root):
        for block in blocks(page):
            exec(compile(block, page.name, "exec"), names)  # noqa: S102 - what the page shows
    assert names.keys() - {"__builtins__"}, "what is shown made nothing"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_says_what_it_is_shown_to_say(path, monkeypatch):
    """Up to the last digits of numbers, and but for its pictures."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    shown = nbformat.read(path, as_version=4)
    run = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(run, timeout=600, kernel_name="python3", resources={"metadata": {"path": ROOT}}).execute()
    nbformat.validate(shown)
    for before, now in zip(shown.cells, run.cells, strict=True):
        assert _said(now) == pytest.approx(_said(before), rel=0.05, abs=1.5), before.source


def _said(cell) -> list[float]:
    """Numbers that a cell printed, row numbers of tables aside: choices among near equals may differ by machine."""
    texts = [output.get("text", "") for output in cell.get("outputs", ()) if output.get("name") != "stderr"]
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", "".join(texts))]


def test_the_version_is_the_one_of_the_package():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])


@pytest.mark.slow
def test_commands_on_versions_do_what_the_site_says(two_versions, tmp_path):
    project = two_versions.copy(tmp_path / "project")
    train = pl.read_parquet(project.root / "data/release/train.parquet")
    corrected, sample = train["sample_id"][:2]
    (project.root / "corrections.csv").write_text(f"sample_id,label\n{corrected},{train['given_label'][5]}\n")
    commands = [*printed(ROOT / "docs/how-to/versions.md"), "diva summary", "diva plan"]
    commands += [line for line in printed(ROOT / "docs/how-to/training.md") if line.startswith("diva export")]
    commands += [line for line in printed(ROOT / "docs/how-to/review.md") if re.match("diva (why|relabel)", line)]
    order = sorted(commands, key=lambda line: next(i for i, word in enumerate(
        ("versions", "show", "diff", "verify", "export", "summary", "plan", "why", "relabel", "forget", "rollback"))
        if f"diva {word}" in line))  # fmt: skip
    for line in order:
        done = project.run("bash", "-c", line.replace("SAMPLE", sample))
        assert done.stdout.strip(), line
    assert (project.root / "out/README.md").is_file()
