"""`diva why` on a project of real stages: a planted wrong label, a candidate, and what cannot be explained."""

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from diva.commands import cli
from diva.report import why
from diva.store import curated, index, ledger, manifest, paths, tables
from tests.projects import real_stages
from tests.projects.real_stages import CLASSES


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A core of 60 rows, the first under a wrong label, and a pool of 30, the first ten without a label."""
    monkeypatch.chdir(tmp_path)
    wrong = [CLASSES[1], *(CLASSES[seed % 3] for seed in range(1, 60))]
    waiting = [*[""] * 10, *(CLASSES[seed % 3] for seed in range(110, 130))]
    core, test = (
        real_stages.pack(Path(f"{name}.npz"), seeds, labels=labels)
        for name, seeds, labels in (("core", range(60), wrong), ("test", range(60, 80), None))
    )
    real_stages.begin(str(core), str(test))
    real_stages.night(real_stages.pack(Path("pool.npz"), range(100, 130), labels=waiting))
    return tmp_path


def ids(frame: pl.DataFrame) -> list[str]:
    return frame["sample_id"].to_list()


def test_a_wrong_label_a_candidate_and_one_without_a_label(project: Path) -> None:
    state = curated.read("r001")
    first = ids(state.filter(origin="core").sort("row"))[0]
    facts, (harmed, helped, same, other) = why.explained(first, 4)
    said = dict(facts)
    assert said["label"] == "dog"
    assert said["the others say"].startswith("cat ")
    assert "dog" in said["the others say"]
    assert said["more of it"].startswith("harms the others")
    assert same.title.endswith("dog")
    assert {row.cells[0] for row in same.rows} == {"dog"}
    assert other.title.endswith("cat")
    assert {row.cells[0] for row in other.rows} == {"cat"}
    assert len(harmed.rows) == len(same.rows) == 4
    assert all(row.cells[2].startswith("−") for row in helped.rows)

    pool = index.whole(paths.pool(ledger.newest_pool(ledger.read())))
    waiting = ids(pool.filter(pl.col("label").is_null()))
    assert len(waiting) == 10
    with pytest.raises(ValueError, match="waits for its own"):
        why.explained(waiting[0], 4)
    candidate = ids(index.labelled(pool).join(state, on="sample_id", how="anti"))[0]
    assert dict(why.explained(candidate, 4)[0])["stands"].startswith("in the pool, not added")
    with pytest.raises(ValueError, match="must be of the core or the pool"):
        why.explained("strange", 4)
    batch = ledger.newest_pool(ledger.read())
    refused = manifest.refusals([manifest.Refused("odd", "odd.png", "cat", "not finite", "Correct it.")])
    tables.write(paths.quarantine("extract", batch), refused, manifest.QUARANTINE)
    with pytest.raises(ValueError, match=r"odd was set aside .*: not finite. Correct it."):
        why.explained("odd", 4)
    shown = CliRunner().invoke(cli.app, ["why", first, "--top", "2"], env={"COLUMNS": "100"})
    assert shown.exit_code == 0
    assert "It harms most" in shown.stdout


def test_before_the_first_run_it_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    for path in (project / "data" / "curated").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="diva run"):
        why.explained("any", 4)
