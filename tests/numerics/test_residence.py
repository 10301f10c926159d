import h5py
import pytest
import torch

from diva.curation.benefit import Members, hold_out
from diva.curation.evaluation import judged_rows, train, train_by_leave_one_out
from diva.curation.reweight import reweight
from diva.numerics import residence
from diva.numerics.chunks import InMemory
from diva.numerics.derivative import dataset_derivative
from diva.numerics.grid import choose_ridge
from diva.numerics.leave_one_out import predictions_and_leverage
from diva.numerics.losses import Loss
from diva.numerics.normalize import Prepared
from diva.numerics.precision import fit_ridge
from diva.numerics.residence import Resident, turned
from diva.store.streams import FeatureRows, Reading
from tests import naive
from tests.problems import problem, relative_error

pytestmark = pytest.mark.usefixtures("arithmetic")
LOSS = Loss("calibrated", 8.0)


class Counting(InMemory):
    """Rows that count how often they were read."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        return super().__iter__()

    def read(self, chosen):
        self.passes += 1
        return super().read(chosen)


def rows(n=60, p=8, dtype=torch.float64):
    q = problem(0, n, p)
    return q, Resident(Prepared(Counting(q.z, q.labels, 7), dtype=dtype))


def test_rows_that_fit_are_read_once_and_stay_as_they_were():
    _, resident = rows()
    first, second = list(resident), list(resident)
    again = list(Prepared(resident.source.chunks, dtype=torch.float64))
    assert resident.source.chunks.passes == 2
    for passed in (second, again):
        assert all(torch.equal(a.features, b.features) and a.rows == b.rows for a, b in zip(first, passed, strict=True))


def test_a_pass_that_was_broken_off_keeps_nothing():
    _, resident = rows()
    next(iter(resident))
    assert [chunk.rows.stop for chunk in resident][-1] == 60
    assert list(resident)
    assert resident.source.chunks.passes == 2


def test_rows_beyond_the_budget_are_read_at_every_pass_until_there_is_room(monkeypatch):
    (_, one), (_, other) = rows(), rows()
    room = residence.SHARE * one.bytes * 3 // 2
    monkeypatch.setattr(residence, "memory", lambda _: room)
    for _ in range(2):
        list(one), list(other)
    assert (one.source.chunks.passes, other.source.chunks.passes) == (1, 2)
    del one
    list(other), list(other)
    assert other.source.chunks.passes == 3


def test_of_rows_beyond_the_budget_that_can_be_divided_the_first_stay(tmp_path, monkeypatch):
    """Whatever there is room for: what is passed is the same to the bit, what is read is the rest."""
    q = problem(0, 60, 8)
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["features"] = q.z.numpy()
    stored = FeatureRows([tmp_path / "rows.h5"] * 60, range(60), q.labels.numpy(), chunk_size=7)
    resident, read = Resident(Prepared(stored, dtype=torch.float64)), []
    whole = list(Prepared(stored, dtype=torch.float64))
    original = Reading.chunk

    def reading(self, part, chosen=None):
        read.append(part.stop - part.start if chosen is None else int(chosen.sum()))
        return original(self, part, chosen)

    monkeypatch.setattr(Reading, "chunk", reading)
    for share, expected in ((0.0, 60), (0.5, 60), (0.5, 30), (1.0, 30), (1.0, 0)):
        monkeypatch.setattr(residence, "memory", lambda _, share=share: int(residence.SHARE * share * resident.bytes))
        read.clear()
        passed = list(resident)
        assert sum(read) == expected
        for a, b in zip(passed, whole, strict=True):
            assert torch.equal(a.features, b.features)
            assert torch.equal(a.labels, b.labels)
            assert a.rows == b.rows


def test_weighing_and_judging_a_set_reads_it_once():
    q, resident = rows()
    path = reweight(fit_ridge(resident, q.classes, q.ridge), steps="auto")
    core = torch.arange(60) < 40
    hold_out(Members(resident, q.classes, q.ridge, core, core & False), 3, 0, flagged_out=True, steps=2)
    assert path.history
    assert resident.source.chunks.passes == 1


@pytest.mark.parametrize("groups", [None, torch.arange(20) // 2])
def test_fewer_rows_than_features_have_the_same_predictions_and_derivative_in_their_own_coordinates(groups):
    q = problem(1, n=60, p=40)
    z, labels, weights = q.z[:20], q.labels[:20], q.weights[:20] + 0.1
    fitted = fit_ridge(InMemory(z, labels, 7), q.classes, q.ridge, weights, groups=groups)
    own = turned(fitted)
    assert own.chunks.shape == (20, 20)
    assert [chunk.rows for chunk in own.chunks] == [chunk.rows for chunk in fitted.chunks]
    for actual, expected in zip(predictions_and_leverage(own), predictions_and_leverage(fitted), strict=True):
        assert relative_error(actual, expected) < 1e-9
    assert relative_error(dataset_derivative(own, LOSS).values, dataset_derivative(fitted, LOSS).values) < 1e-9


def test_weights_of_fewer_rows_than_features_are_steps_down_the_autograd_gradient():
    q = problem(1, n=60, p=40)
    z, labels = q.z[:20], q.labels[:20]
    fitted = fit_ridge(InMemory(z, labels, 7), q.classes, q.ridge)
    path = reweight(fitted, steps=2, step_size=0.3)
    assert relative_error(path.weights, naive.reweight(z, labels, q.classes, q.ridge, path.loss, 2, 0.3)) < 1e-9
    assert path.start is fitted.model
    assert torch.equal(turned(fitted).chunks.features.tril(), turned(fitted).chunks.features)


@pytest.mark.parametrize("weighted", [False, True])
def test_heads_of_fewer_rows_than_features_are_those_of_the_features(weighted):
    q = problem(1, n=60, p=40)
    z, labels, weights = q.z[:20], q.labels[:20], q.weights[:20] + 0.1 if weighted else None
    rows, grid = InMemory(z, labels, 7), [0.01, 0.1, 1.0]
    given = train(rows, q.classes, q.ridge, weights)
    expected = fit_ridge(rows, q.classes, q.ridge, weights).model.head
    assert (given.model.head.shape[0], given.basis.shape) == (20, (40, 20))
    assert relative_error(given.basis @ given.model.head, expected) < 1e-9
    chosen, choice = train_by_leave_one_out(rows, q.classes, grid, weights), choose_ridge(rows, q.classes, grid)
    assert (chosen.model.ridge, chosen.loo_error) == (choice.ridge, choice.error)
    head = fit_ridge(rows, q.classes, choice.ridge, weights).model.head
    assert relative_error(chosen.basis @ chosen.model.head, head) < 1e-9
    assert torch.equal(chosen.correct(InMemory(q.z, q.labels, 9)), (q.z @ head).argmax(1) == q.labels)
    assert train(InMemory(q.z, q.labels, 7), q.classes, q.ridge).basis is None


def test_a_head_of_many_rows_leaves_only_some_of_them_out_in_turn(monkeypatch):
    q, grid = problem(1, n=60, p=8), [0.01, 0.1, 1.0]
    monkeypatch.setattr("diva.curation.evaluation.ENOUGH", 25)
    mask = judged_rows(60)
    assert int(mask.sum()) == 25
    assert torch.equal(mask, judged_rows(60))
    assert judged_rows(25) is None
    head = train_by_leave_one_out(q.chunks(), q.classes, grid, q.weights)
    choice = choose_ridge(q.chunks(), q.classes, grid, judged=mask)
    assert (head.model.ridge, head.loo_error) == (choice.ridge, choice.error)
    assert torch.equal(head.model.head, fit_ridge(q.chunks(), q.classes, choice.ridge, q.weights).model.head)


def test_rows_as_many_as_features_stay_in_their_coordinates():
    q = problem(1, n=40, p=8)
    fitted = q.fit(q.chunks())
    assert turned(fitted) is fitted
