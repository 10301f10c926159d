"""The real stages with a Dask cluster in their environment decide what they decide without."""

import json
import sys

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from diva.curation.cluster import ADDRESS

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.xdist_group("embedded")


def test_rounds_and_fit_come_out_the_same_on_a_cluster(rerun, monkeypatch):
    decided, fitted = rerun.root / "data/rounds/r001.parquet", rerun.root / "data/fit/fit.json"
    before, fit = pl.read_parquet(decided), json.loads(fitted.read_text())
    for path in (decided, *fitted.parent.iterdir()):
        path.unlink()
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        monkeypatch.setenv(ADDRESS, cluster.scheduler_address)
        rerun.run(sys.executable, "-m", "stages.fit")
        rerun.run(sys.executable, "-m", "stages.extend", "--round", "r001")
    assert_frame_equal(pl.read_parquet(decided), before, rel_tol=1e-9)
    assert json.loads(fitted.read_text()) == fit


def test_a_stage_whose_cluster_does_not_answer_says_so(rerun, monkeypatch):
    monkeypatch.setenv(ADDRESS, "nonsense://127.0.0.1:9")
    done = rerun.run(sys.executable, "-m", "stages.extend", "--round", "r001", check=False)
    assert done.returncode == 1
    assert f"{ADDRESS} must be the address of a Dask scheduler, got nonsense://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
