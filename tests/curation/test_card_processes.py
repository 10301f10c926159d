"""Two processes that see no card compute what one process computes; what only a card could show is not tested here."""

import os
import signal
from dataclasses import fields, is_dataclass
from pathlib import Path

import polars as pl
import psutil
import pytest
import torch

from diva.curation import card_processes, cluster, rows
from diva.curation.card_processes import CardProcesses
from diva.numerics import cores, passes, residence
from diva.numerics.adjoint import member_pass
from diva.numerics.derivative import dataset_derivative, outsider_derivatives
from diva.numerics.losses import Loss
from diva.numerics.normalize import Prepared
from diva.numerics.parallel import Parts, cuts, in_turn, over_parts
from diva.numerics.precision import fit_ridge
from diva.numerics.residence import Resident
from diva.numerics.ridge import Moments, moments, solve
from diva.store import moments as sums
from diva.store.streams import FeatureRows
from tests.projects import features
from tests.projects.processes import alive, eventually

pytestmark = pytest.mark.xdist_group("cards")
N, P, K, CHUNK = 900, 12, 5, 50
LOSS = Loss("calibrated", temperature=8.0)


@pytest.fixture(scope="module")
def two():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cores.THREADS, "6")
        made = CardProcesses(["-1", "-2"])
    yield made
    made.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return features.clusters(tmp_path_factory.mktemp("features"), (500, 400), K, P)


def spread(files, mapper, dtype=torch.float32):
    """Seven parts of 150 or fewer rows, some of which lie in both files."""
    chunks = FeatureRows.whole(files, [str(label) for label in range(K)], CHUNK)
    return Parts([Resident(Prepared(chunks.part(part), dtype=dtype)) for part in cuts(N, 140, CHUNK)], mapper)


def equal(first, second):
    for field in fields(first):
        value, other = getattr(first, field.name), getattr(second, field.name)
        if is_dataclass(value):
            equal(value, other)
        else:
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, field.name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_cards_compute_what_one_process_computes_to_the_bit(two, files, dtype):
    weights = torch.rand(N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    here, there = (spread(files, mapper, dtype) for mapper in (in_turn, two))
    equal(moments(there, K), moments(here, K))
    model = solve(moments(here, K), 0.3)
    (mine, seen), (theirs, known) = (member_pass(chunks, model, LOSS) for chunks in (here, there))
    equal(theirs, mine)
    equal(known, seen)
    equal(*(outsider_derivatives(chunks, model, mine, LOSS) for chunks in (there, here)))
    fits = [fit_ridge(chunks, K, 0.3, weights) for chunks in (there, here)]
    equal(*(fit.model for fit in fits))
    equal(*(dataset_derivative(fit, LOSS) for fit in fits))


@over_parts()
def logged(chunks, classes: int, log: str) -> Moments:
    """Moments, with a line in ``log`` of the process that computed them, and of the part."""
    with Path(log).open("a") as file:
        file.write(f"{os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']} {chunks.files.labels.tobytes().hex()}\n")
    return moments(chunks, classes)


def test_rows_stay_with_the_process_of_their_part(two, files, tmp_path):
    def stayed():
        return [process.submit(residence.taken, torch.device("cpu")).result() for process in two.processes]

    for process in two.processes:
        process.submit(residence.stay_anew).result()
    there, lines = spread(files, two), []
    for number in range(2):
        logged(there, K, str(tmp_path / str(number)))
        lines.append(sorted((tmp_path / str(number)).read_text().splitlines()))
        assert sum(stayed()) == N * (P + 1) * 4
        assert min(stayed()) > 0
    assert lines[0] == lines[1]
    assert len({line.split()[0] for line in lines[0]}) == 2
    assert {line.split()[1] for line in lines[0]} == {"-1", "-2"}


def test_passes_side_by_side_are_each_as_by_itself(two, files):
    there, here = spread(files, two), spread(files, in_turn)
    for got in passes.together([lambda: moments(there, K)] * 3):
        equal(got, moments(here, K))


def test_an_error_of_a_part_is_that_of_the_whole(two, files):
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2"):
        moments(spread(files, two), 3)
    equal(moments(spread(files, two), K), moments(spread(files, in_turn), K))


@over_parts()
def without_memory(chunks) -> Moments:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has more to say.")


def test_a_card_without_memory_is_named(two, files):
    with pytest.raises(MemoryError, match=r"card -1 must have memory .*, got CUDA out of memory\. Lower memory\.rows"):
        without_memory(spread(files, two))


@over_parts()
def killed(chunks) -> Moments:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_was_killed_is_named_and_none_stays(files):
    before = set(psutil.Process().children())
    two = CardProcesses(["-1", "-2"])
    moments(spread(files, two), K)
    each = [process.submit(os.getpid).result() for process in two.processes]
    os.kill(each[1], signal.SIGKILL)
    assert eventually(lambda: not alive(each[1]))
    for _ in range(2):
        with pytest.raises(ChildProcessError, match=r"process of card -2 must last .*; `device: cuda:0`"):
            moments(spread(files, two), K)
    with pytest.raises(ChildProcessError, match="process of card"):
        killed(spread(files, two))
    two.close()
    more = {process for process in psutil.Process().children() if "resource_tracker" not in " ".join(process.cmdline())}
    assert not more - before


def test_threads_are_shared_among_the_cards(two):
    assert [process.submit(cores.reserved).result() for process in two.processes] == [3, 3]
    assert all(process.submit(torch.get_num_threads).result() <= 3 for process in two.processes)


def test_several_cards_are_taken_where_the_device_names_none_of_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    every = card_processes.mapper(torch.device("cuda"))
    assert every.names == ("3", "5")
    assert card_processes.mapper(torch.device("cuda")) is every
    assert card_processes.mapper(torch.device("cuda:1")) is None
    assert card_processes.mapper(torch.device("cpu")) is None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert card_processes.mapper(torch.device("cuda")) is None
    card_processes.processes.cache_clear()


def test_rows_of_an_index_go_to_the_cards_from_two_parts_on(two, files, monkeypatch):
    frame = pl.DataFrame(
        {"features": [str(files[0])] * 500, "row": list(range(500)), "label": [str(row % K) for row in range(500)]}
    )
    chosen = rows.Problem(0.3, 8.0, [str(k) for k in range(K)], "unit", CHUNK, "cpu", "float32", 0.1, [], 0)
    monkeypatch.setattr(sums, "width", lambda: P)
    monkeypatch.setattr(cluster, "PART", 200)
    monkeypatch.setattr(card_processes, "mapper", lambda _: two)
    there = rows.prepared(frame, chosen)
    assert len(there.parts) == 3
    assert isinstance(rows.prepared(frame.head(200), chosen), Resident)
    equal(moments(there, K), moments(Parts(there.parts), K))
