"""Stage suggest: what to label next; what is labelled is a candidate of the next round, and is asked for no more."""

import json
import subprocess
from pathlib import Path

import polars as pl
import pytest
import yaml

from diva.store import curated, index, ledger, paths, suggested
from diva.versions import labelling
from stages.suggest import suggest
from tests.projects import real_stages as project


def test_labels_of_what_was_suggested_make_candidates_and_other_suggestions(workplace: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)
    packs = [project.pack(Path("core.npz"), range(18)), project.pack(Path("test.npz"), range(50, 56))]
    project.begin(*map(str, packs), suggest={"budget": 5})
    project.half_night(project.pack(Path("bare.npz"), range(100, 130), labels=[""] * 30))
    suggest("pool")
    first, waiting = suggested.newest(), index.whole(paths.pool("b001"))
    truth = {name: project.CLASSES[(100 + row) % 3] for row, name in enumerate(waiting["sample_id"])}
    assert first["rank"].to_list() == [1, 2, 3, 4, 5]
    assert set(first["sample_id"]) <= set(waiting["sample_id"])
    assert first["probability"].is_between(1 / 3, 1).all()
    assert sum(truth[name] == label for name, label in first.select("sample_id", "suggested_label").iter_rows()) >= 4
    told = json.loads(paths.metrics("suggest/pool").read_text())
    assert (told["waiting"], told["suggested"], told["rule"]) == (30, 5, "expected_variance")
    assert told["before"] - first["gain"].sum() == pytest.approx(told["after"])
    assert curated.read("r001")["origin"].unique().to_list() == ["core"], "what waits never trains"

    back = first.select("sample_id", label=pl.col("sample_id").replace_strict(truth))
    back.write_csv("back.csv")
    record = labelling.checked(ledger.read(), Path("back.csv"))
    labelling.publish(labelling.accepted(ledger.read(), record, "back.csv"), record)
    settings = {stage: yaml.safe_load(paths.PARAMS.read_text())[stage] for stage in project.SETTINGS}
    ledger.write(paths.LEDGER, ledger.plan_round(ledger.read(), settings))
    project.run_round()
    pool = index.read(paths.pool("b002"))
    assert pool.select("sample_id", "label").sort("sample_id").equals(back.sort("sample_id"))
    added = curated.read("r002").filter(pl.col("origin") == "pool")
    assert len(added) == 4, "as many as a round adds"
    assert set(added["sample_id"]) <= set(back["sample_id"])
    suggest("pool")
    suggest("b002")
    assert set(suggested.newest()["sample_id"]).isdisjoint(first["sample_id"])
    assert suggested.read(paths.suggested("b002")).is_empty(), "nothing of that batch waits"
