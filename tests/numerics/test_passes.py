"""Computations side by side make each pass once, and give what they give one after the other."""

import threading

import h5py
import numpy as np
import pytest
import torch

from diva.curation.benefit import Members, hold_out
from diva.curation.detect import detect
from diva.curation.reweight import floored, reweight
from diva.numerics import cores, threads
from diva.numerics.losses import THRESHOLD, Loss, margins
from diva.numerics.normalize import Prepared
from diva.numerics.passes import joined, together
from diva.numerics.precision import fit_ridge
from diva.numerics.residence import Resident
from diva.store.streams import FeatureRows, Reading
from tests import naive
from tests.problems import problem, relative_error


class Numbers:
    """Numbers that count how often a pass over them was made."""

    def __init__(self, n):
        self.n, self.passes = n, 0

    def __iter__(self):
        return joined(self, self._pass)

    def _pass(self):
        self.passes += 1
        yield from range(self.n)


def summing(numbers, others, times):
    def compute():
        total = next(iter(others))  # a pass that is broken off
        for _ in range(times):
            total = 3 * total + sum(numbers)
        total += sum(x * y for x in others for y in numbers)  # passes within a pass
        return total + sum(others)

    return compute


@pytest.mark.parametrize("count", [1, 2])
def test_computations_side_by_side_make_each_pass_once(monkeypatch, count):
    monkeypatch.setattr(threads, "thread_count", lambda: count)
    numbers, others = Numbers(5), Numbers(4)
    expected = [summing(Numbers(5), Numbers(4), times)() for times in (1, 2, 5)]
    assert together([summing(numbers, others, times) for times in (1, 2, 5)]) == expected
    assert numbers.passes <= 5 + 3 * 4  # those within a pass are each one's own
    assert others.passes <= 1 + 3 + 3  # the first is made once


def test_the_first_error_ends_all_and_leaves_no_thread():
    numbers = Numbers(5)

    def fail():
        for number in numbers:
            if number == 3:
                raise ValueError("three")

    before = threading.active_count()
    with pytest.raises(ValueError, match="three"):
        together([lambda: sum(numbers), fail, lambda: sum(numbers)])
    assert threading.active_count() == before
    assert together([lambda: sum(numbers)] * 2) == [10, 10]


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A problem whose rows lie in two files, and how many of them were read."""
    q, read, original = problem(0, n=60, p=8), [0], Reading.chunk
    for name, rows in (("a", slice(0, 40)), ("b", slice(40, 60))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["features"] = q.z[rows].float().numpy()

    def reading(self, part, chosen=None):
        read[0] += part.stop - part.start if chosen is None else int(chosen.sum())
        return original(self, part, chosen)

    monkeypatch.setattr(Reading, "chunk", reading)
    names = [tmp_path / "a.h5"] * 40 + [tmp_path / "b.h5"] * 20

    def rows(index, chunk_size=7):
        numbers = [i if i < 40 else i - 40 for i in index]
        source = FeatureRows([names[i] for i in index], numbers, q.labels.numpy()[list(index)], chunk_size)
        return Resident(Prepared(source, dtype=torch.float64))

    return q, rows, read


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_sets_that_share_rows_read_each_once_as_far_as_it_fits_and_are_the_same_to_the_bit(stored, monkeypatch, share):
    _, rows, read = stored
    monkeypatch.setenv(cores.MEMORY, str(int(share * 60 * 9 * 8)))
    draw = np.random.default_rng(0)
    sets = [range(60), range(5, 50), draw.permutation(60)[:33], draw.integers(0, 60, 50), [59], []]
    resident = [rows(index, size) for index, size in zip(sets, (7, 60, 1, 11, 5, 3), strict=True)]
    for made, index in zip(resident * 2, sets * 2, strict=True):
        expected = list(Prepared(made.source.chunks, dtype=torch.float64))
        read[0] = 0
        for a, b in zip(made, expected, strict=True):
            assert torch.equal(a.features, b.features)
            assert torch.equal(a.labels, b.labels)
            assert a.rows == b.rows
        if share in (0.0, 1.0) and made is not resident[0]:
            assert read[0] == (1 - share) * len(index)


@pytest.mark.parametrize("steps", [1, 3, "auto"])
def test_weighing_rows_that_do_not_fit_takes_three_passes_a_step(stored, monkeypatch, steps):
    """One for T* and g, one for each of B and S, ∇L and the next model; the folds of `auto` read along."""
    q, rows, read = stored
    monkeypatch.setenv(cores.MEMORY, "0")
    resident = rows(range(60))
    start = fit_ridge(resident, q.classes, q.ridge)
    read[0] = 0
    path = reweight(start, steps=steps)
    made = read[0] / 60
    taken = max(len(path.watched_losses) - 1, len(path.history))
    assert made <= 3 * taken + 2
    z = torch.cat([z for z, _, _ in resident])
    expected = naive.reweight(z, q.labels, q.classes, q.ridge, path.loss, len(path.history), 0.5)
    expected = floored(expected, torch.ones(60).double(), q.labels, q.classes)
    assert relative_error(path.weights, expected) < 1e-9
    read[0] = 0
    core = torch.arange(60) < 40
    judged = hold_out(Members(resident, q.classes, q.ridge, core, core & False), 5, 0, flagged_out=True, steps=2)
    assert read[0] / 60 <= 3 * 2 + 5
    monkeypatch.setenv(cores.MEMORY, "1000000")
    fits = rows(range(60))
    again = reweight(fit_ridge(fits, q.classes, q.ridge), steps=steps)
    assert torch.equal(again.weights, path.weights)
    assert again.watched_losses == path.watched_losses
    whole = hold_out(Members(fits, q.classes, q.ridge, core, core & False), 5, 0, flagged_out=True, steps=2)
    assert all(np.array_equal(whole.margins[key], judged.margins[key]) for key in judged.margins)


@pytest.mark.parametrize("second_round", [False, True])
def test_calling_labels_wrong_takes_three_passes_over_rows_that_do_not_fit(stored, monkeypatch, second_round):
    """T* and g; what is said of the rows, with the second of the derivative; its third, with the second opinion."""
    q, rows, read = stored
    monkeypatch.setenv(cores.MEMORY, "0")
    start = fit_ridge(rows(range(60)), q.classes, q.ridge)
    read[0] = 0
    suspicion = detect(start, with_derivative=True, second_round=second_round)
    assert read[0] / 60 <= (6 if second_round else 3)
    z = torch.cat([z for z, _, _ in start.chunks])
    stay = torch.ones(60).double()
    if second_round:
        first = naive.loo_predictions(z, q.labels, q.classes, q.ridge, stay)
        stay = (margins(first, q.labels) > -THRESHOLD).double()
    expected = naive.gradient(lambda a: naive.loss(z, q.labels, q.classes, q.ridge, a, Loss("all")), stay)
    assert relative_error(suspicion.derivative, expected) < 1e-9
