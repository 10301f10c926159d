"""A run on a cluster: its stages are told of it, and nothing else."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diva.curation import cluster
from diva.versions.processes import leashed
from flows import options
from flows.cluster import ADDRESS, TLS, one_card_each, workers
from flows.options import Options

distributed = pytest.importorskip("distributed")
Security = distributed.Security
pytestmark = pytest.mark.xdist_group("dask")


@pytest.fixture(scope="module")
def scheduler():
    options = {"threads_per_worker": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(n_workers=1, **options) as made:
        yield made.scheduler_address


def test_commands_of_a_run_find_the_cluster(scheduler, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with workers("dask", scheduler):
        told = f"import os; print(os.environ[{ADDRESS!r}])"
        with leashed([sys.executable, "-c", told]) as process:
            assert process.stdout.readline().strip() == scheduler
    assert ADDRESS not in os.environ


def test_what_the_environment_said_before_is_put_back(scheduler, monkeypatch):
    monkeypatch.setenv(ADDRESS, "tcp://mine:1")
    with workers("dask", scheduler):
        assert os.environ[ADDRESS] == scheduler
    assert os.environ[ADDRESS] == "tcp://mine:1"


CONNECT = """
import sys
from distributed import Client
try:
    with Client(sys.argv[1], timeout=5) as client:
        print(client.submit(sum, [20, 22]).result(), len(client.nthreads()) > 0)
except OSError as error:
    print("refused", type(error).__name__)
"""


def test_a_cluster_of_this_machine_listens_to_none_but_its_own_stages():
    def ask(address, **change):
        done = subprocess.run(
            [sys.executable, "-c", CONNECT, address],
            env=os.environ | change,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    with workers("dask"):
        address, files = os.environ[ADDRESS], [Path(os.environ[name]) for name in TLS]
        assert address.startswith("tls://127.0.0.1:")
        assert {file.stat().st_mode & 0o077 for file in (*files, *(file.parent for file in files))} == {0}
        assert ask(address) == "42 True", "as a stage"
        assert ask(address.replace("tls://", "tcp://")).startswith("refused")
        made = Security.temporary()
        others = {name: str(files[0].with_name(f"other-{key}")) for name, key in TLS.items()}
        for name, key in TLS.items():
            Path(others[name]).write_text(getattr(made, key))
        assert ask(address, **others).startswith("refused")
    assert not any(file.exists() for file in files)
    assert not set(TLS) & set(os.environ)


def test_each_worker_sees_one_card_also_when_it_is_started_anew():
    options = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"} | one_card_each(["3", "5"])
    with distributed.LocalCluster(**options) as made, distributed.Client(made) as client:
        client.wait_for_workers(2)
        seen = client.run(lambda: (os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]))
        assert sorted(card for _, card in seen.values()) == ["3", "5"]
        process = next(iter(seen.values()))[0]
        os.kill(process, signal.SIGKILL)
        while True:
            client.wait_for_workers(2)
            again = client.run(lambda: (os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]), on_error="ignore")
            if len(again) == 2 and process not in dict(again.values()):
                break
        assert sorted(card for _, card in again.values()) == ["3", "5"]
    assert one_card_each([]) == {}


def test_threads_need_no_cluster():
    with workers("threads"):
        assert ADDRESS not in os.environ


def test_flows_and_stages_speak_of_the_same_variable():
    assert cluster.ADDRESS == ADDRESS


def test_without_prefect_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)
    with pytest.raises(ValueError, match=r"pip install 'diva-curation\[dask\]'"), workers("dask"):
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runner", "ray"], "--runner: input should be 'threads' or 'dask', got ray."),
        (["--address", "tcp://127.0.0.1:8786"], "an address needs the runner dask"),
    ],
)
def test_a_mistaken_runner_is_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit):
        options.parse("flows.nightly", "about", arguments)
    assert message in capsys.readouterr().err


def test_the_runner_and_its_address_are_parsed():
    told = options.parse("flows.nightly", "about", ["--runner", "dask", "--address", "tcp://host:8786"])
    assert told == Options(runner="dask", address="tcp://host:8786")
