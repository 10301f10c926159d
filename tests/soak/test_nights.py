"""Four nights, one of them killed, one after a compaction; `make soak` has sixty, with the real stages."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import numpy as np
import psutil
import pytest

from tests.faults.case import UNHARMED, Case
from tests.projects.checkout import ROOT
from tests.soak import accepted, disturbances, nights, packs

pytestmark = pytest.mark.xdist_group("flows")  # one worker, one server


@Case("nights by turns", "operators", "a kill, a set overwritten; takedown and compaction by day", UNHARMED).test
@pytest.mark.parametrize("operators", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_four_nights_end_with_the_set_that_the_accepted_deliveries_make(api, tmp_path, monkeypatch, operators):
    monkeypatch.setattr(nights, "COMPACTED", 2)
    monkeypatch.setattr(nights, "plan", lambda *_: {2: "flow killed", 4: "output changed"})
    told = nights.run(nights.Soak(tmp_path / "project", api, light=True, operators=operators), 4, seed=1)
    assert (told["equal"], told["rounds"], told["verified"]) == (4, 4, told["versions"])
    assert told["versions"] == 6, "two of them compacted"
    assert [row["disturbed"] != "" for row in told["each"]] == [False, True, False, True]


@pytest.mark.slow  # five nights
@Case("two nights at once", "operators", "in two clones, of one delivery", UNHARMED).test
def test_of_two_nights_at_once_one_publishes_and_the_other_takes_it_on(api, tmp_path, monkeypatch):
    monkeypatch.setattr(nights, "plan", lambda *_: {2: "both at once"})
    told = nights.run(nights.Soak(tmp_path / "project", api, light=True, operators=2), 2, seed=1)
    assert (told["equal"], told["versions"], told["verified"]) == (2, 2, 2)


def test_one_night_in_ten_is_disturbed_by_every_kind_in_turn():
    planned = nights.plan(200, random.Random(0))  # noqa: S311 - not for secrets
    assert len(planned) == 20
    assert sorted(planned.values()) == sorted([*disturbances.ALL] * 2)
    assert 1 not in planned


def test_deliveries_hold_what_must_not_come_in(tmp_path):
    made = packs.Deliveries(packs.pack(), tmp_path)
    for night in range(1, 13):
        made.deliver(night)
    files = sorted(path for path in (tmp_path / "deliveries").glob("*.npz") if not path.stem.endswith("-x"))
    core, test = tmp_path / "packs/core.npz", tmp_path / "packs/test.npz"
    found = accepted.expected(core, test, files, [], {})
    rows = [row for path in files for row in accepted.rows(path)]
    tested = {name for name, _, _ in accepted.rows(test)}
    delivered = {name for name, _, _ in rows}
    assert len(found) < packs.CORE + len(delivered), "some are refused"
    assert delivered & tested
    assert not set(found) & tested
    assert any(not finite for _, _, finite in rows)
    assert {label for _, label, _ in rows} - {label for label, _, _ in found.values()}


def test_growth_is_told_and_the_first_nights_are_not_counted():
    def night(memory, files):
        return nights.Night(1, "", "", "", "", 0, 0, 0.0, 0.0, memory, files, equal=True)

    calm = [night(100 + step, 20) for step in (*range(10), *([9] * 20))]
    assert nights.grown(calm) == []
    leaking = [night(100 + 5 * step, 20 + step) for step in range(30)]
    assert nights.grown(leaking) == ["memory from 145 to 245 MiB", "open files from 29 to 49"]


def test_the_plain_script_takes_down_and_relabels(tmp_path):
    features = np.arange(12, dtype=np.float32).reshape(4, 3)
    for name, rows in (("core", [0, 1]), ("test", [2]), ("b", [1, 2, 3])):
        np.savez(tmp_path / f"{name}.npz", features=features[rows], labels=np.array(["x", "y", "x", "y"])[rows])
    files = [tmp_path / f"{name}.npz" for name in ("core", "test", "b")]
    ids = [name for name, _, _ in accepted.rows(tmp_path / "core.npz")] + [accepted.rows(tmp_path / "b.npz")[2][0]]
    found = accepted.expected(*files[:2], files[2:], [ids[0]], {ids[2]: "x"})
    assert list(found.values()) == [("x", "core", "removed"), ("y", "core", "member"), ("x", "b001", "member")]


@pytest.mark.slow  # a server of its own, and a fresh clone at the end
def test_a_soak_ends_with_its_result_in_a_file_and_none_of_its_processes_left(tmp_path):
    result = tmp_path / "result.json"
    done = soak("--nights", "3", "--light", "--out", str(result), cwd=tmp_path)
    told, _ = done.communicate()
    assert done.returncode == 0, told
    found = json.loads(result.read_text())
    assert (found["nights"], found["rounds"], found["equal"], found["grown"]) == (3, 3, 3, [])
    assert found["machine"]["cores"] > 0
    assert "3 nights in" in told


@pytest.mark.slow  # as above
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_soak_that_is_killed_leaves_no_process_behind(tmp_path, number):
    run = soak("--nights", "2", "--light", cwd=tmp_path)
    own, started = psutil.Process(run.pid), {}
    while run.poll() is None and not any("dvc" in words for words in started.values()):
        threading.Event().wait(0.2)
        for child in own.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # or a zombie
                started[child] = child.cmdline()
    assert any("server" in words for words in started.values())
    run.send_signal(number)
    run.communicate()
    _, left = psutil.wait_procs(list(started), timeout=60)
    assert not left
    assert number == signal.SIGKILL or not list(tmp_path.glob("soak-*"))


def soak(*arguments, cwd):
    """``python -m tests.soak.nights``, with its folder below ``cwd``."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.soak.nights", *arguments], cwd=ROOT, env=environment | {"TMPDIR": str(cwd)},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
