import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from diva.store.results import Results, digest

FRAME = pl.DataFrame({"sample_id": ["a", "b"], "row": [0, 1]})


@pytest.fixture
def asked(tmp_path):
    """Asks for a result of some basis and key, and says whether it was computed."""

    def ask(value, *key, basis=()):
        computed = []
        results = Results(tmp_path, *basis)
        stored = results.get(lambda: computed.append(1) or {"value": value, "rows": np.arange(3)}, *key)
        assert list(stored["rows"]) == [0, 1, 2]
        return float(stored["value"]), bool(computed)

    return ask


def test_a_result_is_computed_once_for_each_basis_and_key(asked):
    assert asked(1.5, "head", FRAME, None) == (1.5, True)
    assert asked(2.5, "head", FRAME, None) == (1.5, False)
    assert asked(2.5, "head", FRAME[::-1], None) == (2.5, True)
    assert asked(3.5, "head", FRAME, np.ones(2)) == (3.5, True)
    assert asked(4.5, "head", FRAME, None, basis=(1,)) == (4.5, True)


def test_a_file_of_results_that_was_cut_short_is_computed_again(asked, tmp_path):
    asked(1.5, "head")
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:40])
    assert asked(2.5, "head") == (2.5, True)
    path.write_bytes(b"")
    assert asked(3.5, "head") == (3.5, True)
    assert asked(4.5, "head") == (3.5, False)


def test_what_nobody_asked_for_is_taken_away(asked, tmp_path):
    asked(1.5, "old")
    results = Results(tmp_path)
    results.get(lambda: {"value": 1.0, "rows": np.arange(3)}, "new")
    results.prune()
    assert asked(2.5, "new") == (1.0, False)
    assert asked(2.5, "old") == (2.5, True)


def test_a_file_that_changed_has_another_digest(tmp_path):
    path = tmp_path / "features.h5"
    path.write_bytes(b"one")
    before = digest([path])
    assert digest([path]) == before
    os.utime(path, ns=(1, 1))
    assert digest([path]) != before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b"), ("ab",)),
        ((1,), (True,)),
        ((1,), ("1",)),
        ((["a"], "b"), (["a", "b"],)),
        ((np.ones(2),), (np.ones(2, np.float32),)),
        ((np.ones((1, 2)),), (np.ones((2, 1)),)),
        ((FRAME,), (FRAME.rename({"row": "column"}),)),
    ],
)
def test_what_differs_has_another_digest(one, other):
    assert digest(*one) != digest(*other)
    assert digest(*one) == digest(*one)


def test_the_code_that_is_loaded_is_part_of_the_basis(monkeypatch, tmp_path):
    before = Results(tmp_path).basis
    assert Results(tmp_path).basis == before
    monkeypatch.setattr(__import__("diva.store.results", fromlist=["_"]), "__file__", str(Path(__file__)))
    assert Results(tmp_path).basis != before
