import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from diva.report import run_metrics
from diva.store import paths, tables
from stages import report
from stages.params.report import Report
from tests.projects import stage_inputs as small
from tests.projects.finished_run import finish

SECTION = {"report": {"calls": 3, "thumbnail": 32, "rows": 50, "megabytes": 5}, "score": {"methods": ["soft"]}}


@pytest.fixture
def finished(workplace: Path) -> Path:
    small.write_params(**SECTION)
    finish()
    return workplace


def test_page_and_plots_are_written_the_same_every_time(finished: Path) -> None:
    report.main()
    outputs = [paths.REPORT, *sorted(paths.PLOTS.iterdir())]
    first = {path: path.read_bytes() for path in outputs}
    report.main()
    assert {path: path.read_bytes() for path in outputs} == first


def test_plots_count_every_sample_and_hold_a_row_per_set_and_round(finished: Path) -> None:
    report.main()
    frames = {path.stem: pl.read_csv(path) for path in paths.PLOTS.glob("*.csv")}
    assert {name: frame.columns for name, frame in frames.items()} == {
        "scores": ["score", "unflagged", "flagged"],
        "weights": ["weight", "unflagged", "flagged"],
        "sets": ["set", "error", "low", "high", "size"],
        "rounds": ["round", "size", "error", "low", "high", "uniform"],
        "classes": ["label", "samples", "core", "release"],
        "balance": ["label", "core", "release"],
        "steps": ["step", "loss", "error", "low", "high"],
    }
    assert (len(frames["sets"]), len(frames["rounds"])) == (7, 2)
    assert frames["balance"].rows() == [("cat", 8, 10), ("dog", 8, 10), ("owl", 8, 10)]
    figures, run = tables.read_json(paths.FIGURES), run_metrics.read()
    assert figures["test_error"]["release"] == run.evaluate["sets"][run.used]["error"]
    assert (figures["added"], figures["called_wrong"]) == (run.release["added"], run.release["flagged"])
    counted = {
        name: int(frames[name].select("unflagged", "flagged").sum().sum_horizontal()[0])
        for name in ("scores", "weights")
    }
    assert counted == {"scores": 24, "weights": 30}


def test_a_run_without_pool_is_reported(workplace: Path) -> None:
    small.write_params(**SECTION)
    finish(pool=False, truth=False)
    report.main()
    assert len(pl.read_csv(paths.PLOTS / "rounds.csv")) == 1


def test_what_is_missing_is_named_and_nothing_is_written(finished: Path) -> None:
    paths.metrics("evaluate").unlink()
    with pytest.raises(ValueError, match=r"data/metrics/evaluate\.json must exist"):
        report.main()
    assert not paths.REPORT.exists()


def test_the_stage_imports_no_torch(project: Path) -> None:
    code = "import stages.report, sys; sys.exit(any(name in sys.modules for name in ('torch', 'torchvision')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=project, check=False).returncode == 0


@pytest.mark.parametrize("section", [{}, {"calls": -1, "thumbnail": 96}, {"calls": 1, "thumbnail": 96, "more": 1}])
def test_a_wrong_section_is_refused(section: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Report.model_validate(section)
