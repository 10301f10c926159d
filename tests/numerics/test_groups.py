from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diva.curation.evaluation import train
from diva.methods import ridge_fit
from diva.methods.inputs import Labelled
from diva.numerics import groups as module
from diva.numerics.chunks import Chained, InMemory
from diva.numerics.derivative import dataset_derivative, second_pass
from diva.numerics.grid import choose_ridge
from diva.numerics.groups import LargeGroup, SmallGroups, gathered_groups, shared_groups
from diva.numerics.leave_one_out import all_rows, choose_temperature, predictions_and_leverage, temperatures
from diva.numerics.losses import Loss
from diva.numerics.normalize import Prepared
from diva.numerics.parallel import Parts
from diva.numerics.precision import fit_ridge
from diva.numerics.ridge import moments, solve
from tests import naive
from tests.problems import gradcheck, problem, relative_error

# Groups of 1, 2, 3, 6 and 13 rows, in no order, where p is 8; −1 stands for no group.
MIXED = torch.tensor([0, 1, 5, 5, 1, 5, 2, 5, 5, 5, 3, 5, 2, 5, 5, 4, 2, 5, 5, -1, -1, 6, 6, 6, 5, 6, 6, 5, 6, 7])
RUNS, TRIPLES = torch.arange(30) // 4, torch.arange(30) // 3
ENTRIES = pytest.mark.parametrize("entries", [1, 40, 2**20], ids=["read again", "several lots", "one lot"])
EACH_GROUPS = pytest.mark.parametrize("groups", [MIXED, RUNS], ids=["mixed", "runs"])
LOSSES = [Loss("all"), Loss("hard_margin"), Loss("trimmed"), Loss("calibrated", 9.0)]


def model_of(q):
    return solve(moments(q.chunks(), q.classes, q.weights), q.ridge)


def alone(groups):
    """Rows of −1 as groups of their own, as the naive forms want them."""
    return torch.where(groups < 0, 100 + torch.arange(len(groups)), groups)


@ENTRIES
@EACH_GROUPS
@pytest.mark.parametrize("seed", range(2))
def test_predictions_without_the_group_equal_refits(groups, entries, seed):
    q = problem(seed)  # weights of 0 and above 1 among them
    expected = naive.group_predictions_by_refits(q.z, q.labels, q.classes, q.ridge, q.weights, alone(groups))
    closed = naive.group_predictions(q.z, q.labels, q.classes, q.ridge, q.weights, alone(groups))
    assert relative_error(closed, expected) < 1e-10
    model, together = model_of(q), groups >= 0
    f, seen = torch.zeros_like(expected), torch.zeros(30)
    for bundle in gathered_groups(q.chunks(), groups, q.weights, entries):
        for part in bundle.parts(model):
            f[part.rows], seen[part.rows] = part.predictions, seen[part.rows] + 1
            assert torch.equal(part.labels, q.labels[part.rows])
            assert torch.equal(part.features, q.z[part.rows])
            assert relative_error(part.leverage_factor, (q.z @ model.inverse * q.z).sum(1)[part.rows]) < 1e-10
    assert torch.equal(seen, together.float())
    assert relative_error(f[together], expected[together]) < 1e-10


@ENTRIES
@EACH_GROUPS
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("seed", range(2))
def test_derivative_equals_autograd_on_refits_without_the_groups(loss, groups, entries, seed, monkeypatch):
    q = problem(seed)
    importance = (torch.arange(30) % 4).double()
    fitted = fit_ridge(q.chunks(), q.classes, q.ridge, q.weights, groups=groups)
    monkeypatch.setattr(module, "ENTRIES", entries)
    actual = dataset_derivative(fitted, loss, validating=importance)
    arguments = (q.z, q.labels, q.classes, q.ridge)
    expected = naive.gradient(lambda a: naive.group_loss(*arguments, a, loss, alone(groups), importance), q.weights)
    assert relative_error(actual.values, expected) < 1e-10
    value = naive.group_loss(*arguments, q.weights, loss, alone(groups), importance)
    assert actual.loss == pytest.approx(float(value), rel=1e-10)


def test_groups_of_the_same_rows_in_other_chunks_are_the_same():
    q, groups = problem(), MIXED
    model = model_of(q)

    def predictions(chunks, entries):
        parts = [part for b in gathered_groups(chunks, groups, q.weights, entries) for part in b.parts(model)]
        rows = torch.cat([part.rows for part in parts])
        return torch.cat([part.predictions for part in parts])[torch.argsort(rows)]

    whole = predictions(q.chunks(1000), 2**20)
    for size in (1, 4, 7):
        assert relative_error(predictions(q.chunks(size), 50), whole) < 1e-12
    chained = Chained([q.part(slice(0, 11), 4), q.part(slice(11, 30), 5)])
    assert relative_error(predictions(chained, 50), whole) < 1e-12


class Counted:
    """Chunks that count how often they are read."""

    def __init__(self, chunks):
        self.chunks, self.shape, self.read = chunks, chunks.shape, 0

    def __iter__(self):
        self.read += 1
        return iter(self.chunks)


def test_groups_that_do_not_overlap_are_gathered_in_one_pass_and_others_in_one_a_lot():
    q = problem()
    counted = Counted(q.chunks())
    list(gathered_groups(counted, RUNS, None, 8 * 8))
    assert counted.read == 1
    list(gathered_groups(counted, torch.arange(30) % 8, None, 8 * 8))  # two groups fit at a time
    assert counted.read == 1 + 4


def test_large_groups_are_solved_in_the_features_and_small_ones_among_themselves():
    q = problem()
    bundles = list(gathered_groups(q.chunks(), MIXED))
    assert {type(bundle) for bundle in bundles} == {SmallGroups, LargeGroup}
    assert sorted(bundle.size for bundle in bundles if isinstance(bundle, SmallGroups)) == [1, 2, 3, 6]
    assert [len(bundle.rows) for bundle in bundles if isinstance(bundle, LargeGroup)] == [13]


def test_another_basis_of_the_features_changes_no_prediction():
    q, model = problem(), model_of(problem())
    eigenvalues, rotation = torch.linalg.eigh(q.z.T @ (q.weights[:, None] * q.z))
    turned = replace(model, head=rotation.T @ model.head, root=(eigenvalues + q.ridge).rsqrt())
    for bundle in gathered_groups(q.chunks(), MIXED, q.weights):
        here = torch.cat([part.predictions for part in bundle.parts(model)])
        there = torch.cat([part.predictions for part in bundle.turned(rotation).parts(turned)])
        assert relative_error(there, here) < 1e-9


@EACH_GROUPS
def test_weights_of_another_model_are_told(groups):
    q = problem()
    bundle, model = next(gathered_groups(q.chunks(), groups, torch.full((30,), 1e3))), model_of(q)
    with pytest.raises(ValueError, match="leverage of a group must be below 1"):
        list(bundle.parts(model))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_groups_of_one_row_change_no_bit(loss):
    q = problem()
    plain = fit_ridge(q.chunks(), q.classes, q.ridge, q.weights)
    for groups in (torch.randperm(30), torch.full((30,), -1)):
        fitted = replace(plain, groups=groups)
        one, other = dataset_derivative(plain, loss), dataset_derivative(fitted, loss)
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.margin, other.margin)
        assert one.validating == other.validating
        assert (one.loss == other.loss) or one.loss != one.loss
        assert choose_temperature(fitted) == choose_temperature(plain)
        assert choose_ridge(q.chunks(), q.classes, groups=groups).grid == choose_ridge(q.chunks(), q.classes).grid


def test_a_group_does_not_move_its_own_predictions_by_its_weights():
    q = problem()
    fitted = fit_ridge(q.chunks(), q.classes, q.ridge, q.weights, groups=MIXED)
    other = q.weights.clone()
    other[MIXED == 5] *= 3
    moved = fit_ridge(q.chunks(), q.classes, q.ridge, other, groups=MIXED)

    def of_five(fit):
        rows = [(chunk.rows, loo.predictions) for chunk, _, loo in all_rows(fit)]
        found = torch.zeros(30, q.classes).double()
        for where, predictions in rows:
            found[where] = predictions
        return found[MIXED == 5]

    assert relative_error(of_five(moved), of_five(fitted)) < 1e-10


@EACH_GROUPS
@ENTRIES
def test_ridge_by_groups_is_that_of_refits_without_them(groups, entries, monkeypatch):
    q, grid = problem(2), (0.001, 0.1, 10.0)
    monkeypatch.setattr(module, "ENTRIES", entries)
    choice = choose_ridge(q.chunks(), q.classes, grid, q.weights, groups)
    for ridge, error, square in choice.grid:
        f = naive.group_predictions_by_refits(q.z, q.labels, q.classes, ridge, q.weights, alone(groups))
        wrong = (f.argmax(1) != q.labels).double() @ q.weights / q.weights.sum()
        squares = (f - naive.one_hot(q.labels, q.classes)).square().sum(1) @ q.weights / q.weights.sum()
        assert error == pytest.approx(float(wrong), abs=1e-12)
        assert square == pytest.approx(float(squares), rel=1e-8)
    assert torch.equal(choice.fit().groups, groups)


def test_temperature_by_groups_is_that_of_refits_without_them():
    q = problem(1)
    fitted = fit_ridge(q.chunks(), q.classes, q.ridge, q.weights, groups=MIXED)
    f = naive.group_predictions_by_refits(q.z, q.labels, q.classes, q.ridge, q.weights, alone(MIXED))
    rows = q.weights > 0
    entropy = [torch.nn.functional.cross_entropy(t * f[rows], q.labels[rows]) for t in temperatures()]
    assert choose_temperature(fitted) == float(temperatures()[torch.stack(entropy).argmin()])


def test_parts_leave_the_groups_out_that_lie_in_several_of_them():
    q, loss = problem(), Loss("calibrated", 9.0)
    parts = Parts([q.part(slice(0, 11)), q.part(slice(11, 30))])
    whole = dataset_derivative(fit_ridge(q.chunks(), q.classes, q.ridge, q.weights, groups=MIXED), loss)
    cut = dataset_derivative(fit_ridge(parts, q.classes, q.ridge, q.weights, groups=MIXED), loss)
    assert relative_error(cut.values, whole.values) < 1e-10
    assert relative_error(cut.margin, whole.margin) < 1e-10
    watched = torch.arange(30) % 2 == 0
    fits = [fit_ridge(chunks, q.classes, q.ridge, q.weights, groups=MIXED) for chunks in (q.chunks(), parts)]
    here, there = (second_pass(fitted, loss, watched.logical_not(), watched)[0] for fitted in fits)
    assert (there.watched_loss, there.watched) == pytest.approx((here.watched_loss, here.watched), rel=1e-10)
    assert here.watched_loss == pytest.approx(second_pass(fits[0], loss, watched)[0].loss, rel=1e-10)


def test_groups_of_another_length_are_told():
    q = problem()
    with pytest.raises(ValueError, match=r"groups must have one entry per row \(30,\), got \(29,\)"):
        fit_ridge(q.chunks(), q.classes, q.ridge, groups=MIXED[:-1])


def test_shared_groups_are_those_of_two_rows_and_more():
    assert shared_groups(None) is None
    assert shared_groups(torch.tensor([3, -1, 2, -1])) is None
    assert shared_groups(torch.tensor([3, -1, 3, -1, 2])).tolist() == [2, -1, 2, -1, -1]


def derivative(q, loss, chunks=None, weights=None, importance=None, groups=TRIPLES):
    weights = q.weights if weights is None else weights
    fitted = fit_ridge(q.chunks() if chunks is None else chunks, q.classes, q.ridge, weights, groups=groups)
    return dataset_derivative(fitted, loss, validating=importance)


def test_a_group_of_weight_zero_is_predicted_by_the_plain_model():
    q = problem()
    q.weights[3:6] = 0
    fitted = fit_ridge(q.chunks(), q.classes, q.ridge, q.weights, groups=TRIPLES)
    assert relative_error(predictions_and_leverage(fitted)[0][3:6], q.z[3:6] @ fitted.model.head) < 1e-12


def test_derivative_equals_autograd_with_more_features_than_rows():
    q, ones = problem(1, n=15, p=14), torch.ones(15).double()
    z = torch.cat([q.z, q.z.square(), q.z.flip(1)], 1)
    loss, groups = Loss("calibrated", 9.0, trim=False), TRIPLES[:15]
    actual = derivative(q, loss, InMemory(z, q.labels, 6), groups=groups)
    expected = naive.gradient(
        lambda a: naive.group_loss(z, q.labels, q.classes, q.ridge, a, loss, groups, ones), q.weights
    )
    assert relative_error(actual.values, expected) < 1e-9


@pytest.mark.parametrize("loss", [Loss("all"), Loss("calibrated", 5.0, trim=False)], ids=lambda loss: loss.name)
def test_gradcheck_accepts_the_derivative(loss):
    q = problem(3)
    assert gradcheck(lambda weights: derivative(q, loss, weights=weights), q.weights + 0.5)


@pytest.mark.parametrize("chunk_size", [3, 7, 9, 300])
def test_chunk_size_changes_no_derivative(chunk_size):
    q, loss = problem(condition=10), Loss("calibrated", 8.0)
    whole, parts = derivative(q, loss, q.chunks(1000)), derivative(q, loss, q.chunks(chunk_size))
    assert relative_error(parts.values, whole.values) < 1e-12


def test_a_row_repeated_in_its_group_validates_as_the_row_by_itself_of_twice_the_weight():
    q, loss = problem(), Loss("all")
    twice = InMemory(q.z.repeat_interleave(2, 0), q.labels.repeat_interleave(2), 10)
    first, pairs = torch.tensor([1.0, 0.0]).double().repeat(30), torch.arange(60) // 2
    copies = derivative(q, loss, twice, q.weights.repeat_interleave(2), first, pairs)
    rows = dataset_derivative(q.fit(q.chunks(), 2 * q.weights), loss)
    assert copies.loss == pytest.approx(rows.loss, rel=1e-10)
    assert relative_error(copies.values[::2], rows.values) < 1e-9  # a change of either copy's weight is the same
    assert relative_error(copies.values[1::2], rows.values) < 1e-9


def test_float32_agrees_with_float64_to_its_precision():
    q, loss = problem(condition=10), Loss("all")
    single = derivative(q, loss, InMemory(q.z.float(), q.labels, 6))
    assert relative_error(single.values, derivative(q, loss).values) < 1e-4


def test_derivative_is_zero_where_nothing_validates():
    result = derivative(problem(), Loss("all"), importance=torch.zeros(30))
    assert (result.values == 0).all()
    assert result.loss != result.loss  # NaN


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu():
    q, loss = problem(), Loss("calibrated", 8.0)
    there = derivative(q, loss, InMemory(q.z.cuda(), q.labels.cuda(), 6))
    assert relative_error(there.values, derivative(q, loss).values) < 1e-9


class Watch(TorchDispatchMode):
    """Which precisions float32 is multiplied in by torch itself."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in ("mm", "bmm", "addmm") and args[-1].dtype == torch.float32:
            self.seen.add(torch.backends.mkldnn.matmul.fp32_precision)
        return function(*args, **(kwargs or {}))


def test_rows_are_multiplied_as_they_are_whatever_torch_is_set_to():
    g = torch.Generator().manual_seed(0)
    x, labels = torch.randn(40, 6, generator=g), torch.arange(40) // 2 % 3
    chunks = Prepared(InMemory(x, labels, 16))
    backend = torch.backends.mkldnn.matmul
    before, backend.fp32_precision = backend.fp32_precision, "bf16"
    try:
        with Watch() as watch:
            fitted = fit_ridge(chunks, 3, 0.1, groups=torch.arange(40) // 2)
            dataset_derivative(fitted, Loss("all"))
            train(chunks, 3, 0.1).correct(chunks)
            fitted = ridge_fit.fit(Labelled(x, labels, 3), ridge=0.1, normalize="unit")
            ridge_fit.predictions(fitted, chunks)
    finally:
        backend.fp32_precision = before
    assert watch.seen <= {"ieee", "none"}
