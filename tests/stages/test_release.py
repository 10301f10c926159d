"""Stage release: the newest set at a constant path; weights only where they help."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from diva.store import index, manifest, paths, release, tables
from stages.curate import curate
from stages.download import download
from stages.release import main
from stages.start import start
from tests.projects import real_stages
from tests.projects import stage_inputs as small


@pytest.fixture
def newest(workplace: Path) -> Path:
    """A round that removes a sample and flags another."""
    small.write_ledger()
    download("core")
    core = small.fit()["sample_id"]
    start()
    small.decide("r001", (core[0], "remove"), (core[1], "flag"))
    curate("r001")
    return workplace


@pytest.mark.parametrize(
    ("setting", "held_out", "weight"),
    [
        ("auto", {"with_weights": 0.1, "without_weights": 0.2}, 0.5),
        ("auto", {"with_weights": 0.2, "without_weights": 0.1}, 1.0),
        ("auto", {"with_weights": 0.1, "without_weights": 0.2, "gain": 0.1, "standard_error": 0.02}, 0.5),
        ("auto", {"with_weights": 0.1, "without_weights": 0.2, "gain": 0.1, "standard_error": 0.12}, 1.0),
        ("auto", None, 1.0),
        ("always", None, 0.5),
        ("never", {"with_weights": 0.1, "without_weights": 0.2}, 1.0),
    ],
)
def test_the_release_keeps_weights_as_asked(newest: Path, setting: str, held_out: Any, weight: float) -> None:
    small.write_params(release={"weights": setting, "flagged": "keep"})
    small.weigh("r001", held_out)
    main()
    train, removed = tables.read(paths.TRAIN, release.TRAIN), tables.read(paths.REMOVED, release.REMOVED)
    assert (len(train), len(removed)) == (59, 1)
    assert train["weight"].unique().to_list() == [weight]
    assert train["flagged"].sum() == 1
    told = json.loads(paths.SUMMARY.read_text())
    assert (told["round"], told["members"], told["removed"], told["flagged"]) == ("r001", 59, 1, 1)
    assert sum(told["classes"].values()) == 59
    assert told["weights"]["kept"] is (weight == 0.5)
    assert told["weights"]["reason"]


def test_two_runs_write_the_same_bytes(newest: Path) -> None:
    small.weigh("r001", None)
    written = [paths.TRAIN, paths.REMOVED, paths.SUMMARY]
    main()
    before = [path.read_bytes() for path in written]
    main()
    assert [path.read_bytes() for path in written] == before


def test_weights_of_another_set_are_refused_and_nothing_is_written(newest: Path) -> None:
    small.weigh("r001", None)
    tables.write(paths.WEIGHTS, tables.read(paths.WEIGHTS, release.WEIGHTS)[5:], release.WEIGHTS)
    with pytest.raises(ValueError, match="weights must be finite and ≥ 0 for every member, got 4 others"):
        main()
    assert not paths.TRAIN.exists()


def test_labels_called_wrong_leave_with_reason_score_and_suggestion(newest: Path) -> None:
    small.write_params(release={"weights": "always", "flagged": "out"})
    small.weigh("r001", None)
    main()
    train, removed = tables.read(paths.TRAIN, release.TRAIN), release.read_removed(paths.REMOVED)
    assert (len(train), len(removed)) == (58, 2)
    assert not train["flagged"].any()
    gone = removed.filter("flagged")
    assert gone.select("reason", "score", "suggested_label").rows() == [("because", 0.3, "9")] * 2
    told = json.loads(paths.SUMMARY.read_text())
    assert (told["members"], told["samples"], told["left_out"], told["removed"]) == (59, 58, 1, 1)
    assert json.loads(paths.metrics("release").read_text())["flagged_out"] is True


def test_columns_of_deliveries_stand_in_the_release_with_the_types_they_came_with(workplace: Path) -> None:
    real_stages.begin(
        str(real_stages.pack(Path("in/core.npz"), range(40), site=np.array(["north", "south"] * 20))),
        str(real_stages.pack(Path("in/test.npz"), range(40, 60))),
    )
    assert [name for name in index.read(paths.CORE, further=True).columns if name not in index.SCHEMA] == ["site"]
    real_stages.night(
        real_stages.pack(Path("in/one.npz"), range(60, 72), iso=np.arange(12), site=np.array(["east"] * 12))
    )
    batch = real_stages.night(real_stages.pack(Path("in/two.npz"), range(72, 84)))
    pool = index.read(paths.pool(batch), further=True)
    assert (pool["iso"].dtype, pool["iso"].count(), len(pool)) == (pl.Int64, 12, 24)
    train = tables.read(paths.TRAIN, release.TRAIN, further=True)
    removed = release.read_removed(paths.REMOVED, further=True)
    rows = pl.concat([frame.select("sample_id", "path", "batch", "site", "iso") for frame in (train, removed)])
    assert len(rows.filter(batch="core")) == 40
    assert set(rows.filter(batch="core")["site"]) == {"north", "south"}
    for sample, site, iso in rows.filter(batch="b001").select("sample_id", "site", "iso").iter_rows():
        assert site == "east"
        assert manifest.read(paths.manifest("b001")).filter(sample_id=sample)["row"].item() == iso
    assert rows.filter(batch="b002")["site"].null_count() == len(rows.filter(batch="b002")) > 0
    assert tables.read(paths.TRAIN, release.TRAIN).columns == list(release.TRAIN)
