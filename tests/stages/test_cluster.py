"""A real Dask cluster of two worker processes on this machine; what it computes is what one process computes."""

import os
import signal
import threading
import time
from pathlib import Path

import polars as pl
import pytest
import torch

from diva.curation import cluster, rows
from diva.curation.noise import hopeless_share
from diva.numerics import residence
from diva.numerics.adjoint import member_pass
from diva.numerics.derivative import dataset_derivative, outsider_derivatives
from diva.numerics.losses import Loss
from diva.numerics.normalize import Prepared
from diva.numerics.parallel import Parts, cuts, in_turn, over_parts
from diva.numerics.precision import fit_ridge
from diva.numerics.residence import Resident
from diva.numerics.ridge import Moments, moments, solve
from diva.store import moments as sums
from diva.store import paths
from diva.store.streams import FeatureRows
from tests.problems import relative_error
from tests.projects import features

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.xdist_group("dask")
N, P, K, CHUNK = 3000, 12, 5, 50
LOSS = Loss("calibrated", temperature=8.0)


@pytest.fixture(scope="module")
def scheduler():
    """Address of a scheduler with two workers, each a process with one thread."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as made:
        yield made.scheduler_address


@pytest.fixture
def client(scheduler):
    with distributed.Client(scheduler) as made:
        made.wait_for_workers(2)
        yield made


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return features.clusters(tmp_path_factory.mktemp("features"), (1400, 900, 700), K, P)


def whole(files, dtype=torch.float32):
    return Prepared(FeatureRows.whole(files, [str(label) for label in range(K)], CHUNK), dtype=dtype)


def spread(files, mapper, size=200, dtype=torch.float32):
    chunks = whole(files).chunks
    return Parts([Prepared(chunks.part(part), dtype=dtype) for part in cuts(N, size, CHUNK)], mapper)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_cluster_computes_what_one_process_computes(client, files, dtype):
    weights = torch.rand(N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected, got = (
        dataset_derivative(fit_ridge(chunks, K, 0.3, weights), LOSS)
        for chunks in (whole(files, dtype), spread(files, cluster.Cluster(client), dtype=dtype))
    )
    assert relative_error(got.values, expected.values) < 1e-9
    assert relative_error(got.margin, expected.margin) < 1e-9
    assert got.loss == pytest.approx(expected.loss, rel=1e-9)


def test_the_cluster_adds_in_the_same_order_to_the_bit(client, files):
    here, there = (moments(spread(files, *mapper), K) for mapper in ((in_turn,), (cluster.Cluster(client),)))
    assert torch.equal(here.gram, there.gram)
    assert torch.equal(here.cross, there.cross)
    assert here.count == there.count == N


def test_pool_scores_come_back_in_the_order_of_the_rows(client, files):
    model = solve(moments(whole(files), K), 0.3)
    there = spread(files, cluster.Cluster(client))
    adjoint, _ = member_pass(there, model, LOSS)
    expected, got = (outsider_derivatives(chunks, model, adjoint, LOSS) for chunks in (whole(files), there))
    assert relative_error(got.derivative, expected.derivative) < 1e-9
    assert hopeless_share(there, model, member=True) == hopeless_share(whole(files), model, member=True)


def test_rows_stay_with_the_workers_of_their_parts_until_another_stage_begins(client, files):
    def stayed():
        return client.run(lambda: residence.taken(torch.device("cpu")))

    client.run(residence.stay_anew)
    parts = [Resident(part) for part in spread(files, in_turn).parts]
    there, here = Parts(parts, cluster.Cluster(client, homes=True)), spread(files, in_turn)
    for _ in range(2):
        assert torch.equal(moments(there, K).gram, moments(here, K).gram)
        assert sum(stayed().values()) == N * (P + 1) * 4
        assert min(stayed().values()) > 0
    client.run(residence.stay_anew)
    assert set(stayed().values()) == {0}


@over_parts()
def slow_moments(chunks, classes: int, log: str) -> Moments:
    """Moments, with a line in ``log`` of the process that computed them."""
    time.sleep(0.05)
    place = chunks.chunks.runs.first.tolist(), [path.name for path in chunks.chunks.paths]
    with Path(log).open("a") as file:
        file.write(f"{os.getpid()} {place}\n")
    return moments(chunks, classes)


def test_a_killed_worker_costs_only_what_it_had_done(client, files, tmp_path):
    log = tmp_path / "log"
    log.touch()
    workers = client.run(os.getpid)
    result: list[Moments] = []
    chunks = spread(files, cluster.Cluster(client), size=50)
    work = threading.Thread(target=lambda: result.append(slow_moments(chunks, K, str(log))))
    work.start()
    deadline = time.monotonic() + 60
    victim = None
    while victim is None and time.monotonic() < deadline:
        done = [int(line.split()[0]) for line in log.read_text().splitlines()]
        victim = next((pid for pid in workers.values() if done.count(pid) >= 3), None)
        time.sleep(0.01)
    os.kill(victim, signal.SIGKILL)
    work.join(120)
    expected = moments(spread(files, in_turn, size=50), K)
    assert torch.equal(result[0].gram, expected.gram)
    assert torch.equal(result[0].cross, expected.cross)
    lines = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    places = [place for _, place in lines]
    again = {place for place in places if places.count(place) > 1}
    assert len(set(places)) == N // 50
    assert again <= {place for pid, place in lines if int(pid) == victim}  # others' work was not done twice
    client.wait_for_workers(2)


def test_rows_of_an_index_go_to_the_workers_where_the_environment_names_them(scheduler, files, workplace, monkeypatch):
    paths.DATA.mkdir()
    frame = pl.DataFrame(
        {"features": [str(files[0])] * 1000, "row": list(range(1000)), "label": [str(row % K) for row in range(1000)]}
    )
    chosen = rows.Problem(0.3, 8.0, [str(k) for k in range(K)], "unit", CHUNK, "cpu", "float32", 0.1, [], 0)
    monkeypatch.setattr(sums, "width", lambda: P)
    monkeypatch.setattr(cluster, "PART", 200)
    here = rows.prepared(frame, chosen)
    monkeypatch.setenv(cluster.ADDRESS, scheduler)
    there = rows.prepared(frame, chosen)
    assert isinstance(here, Resident)
    assert len(there.parts) == 5
    assert relative_error(moments(there, K).gram, moments(here, K).gram) < 1e-9
    cluster.connected(scheduler).close()
    cluster.connected.cache_clear()


def test_workers_that_cannot_do_the_work_are_named(client, workplace, monkeypatch):
    paths.DATA.mkdir()
    cluster.require_workers(client)
    monkeypatch.setattr(torch, "__version__", "0.1")  # here, not there
    with pytest.raises(ValueError, match=r"workers must see the project's data.*'0\.1'.*got .*on tcp://"):
        cluster.require_workers(client)


def test_workers_that_share_cards_are_named():
    seen = [("a", "0"), ("a", "1"), ("b", "0"), ("b", "0,1"), ("b", "0,1"), ("c", ""), ("c", "")]
    assert cluster.crowded(seen) == [("b", "0,1")]


def test_an_address_that_nobody_answers_is_named(workplace, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    with pytest.raises(ValueError, match=r"must be the address of a Dask scheduler, got tcp://127\.0\.0\.1:9"):
        cluster.connected("tcp://127.0.0.1:9")


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(ValueError, match=r"needs Dask, got none installed: pip install 'diva-curation\[dask\]'"):
        cluster.connected("tcp://127.0.0.1:10")
