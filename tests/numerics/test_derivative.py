import pytest
import torch

from diva.numerics.adjoint import member_pass, outsider_adjoint
from diva.numerics.chunks import Chained, InMemory
from diva.numerics.derivative import dataset_derivative, outsider_derivatives
from diva.numerics.losses import Loss
from diva.numerics.precision import fit_ridge
from diva.numerics.ridge import moments, solve
from tests import naive
from tests.problems import gradcheck, problem, relative_error

pytestmark = pytest.mark.usefixtures("arithmetic")

CALIBRATED = Loss("calibrated", 9.0)
LOSSES = [Loss("all"), Loss("hard_margin"), Loss("trimmed"), CALIBRATED, CALIBRATED.untrimmed()]
EACH_LOSS = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.name}-{loss.trim}")


@EACH_LOSS
@pytest.mark.parametrize("seed", range(4))
def test_derivative_equals_autograd_on_the_naive_form(loss, seed):
    q = problem(seed)  # weights of 0 and above 1 among them
    actual = dataset_derivative(q.fit(q.chunks(), q.weights), loss)
    expected = naive.gradient(lambda a: naive.loss(q.z, q.labels, q.classes, q.ridge, a, loss), q.weights)
    assert relative_error(actual.values, expected) < 1e-10
    value = naive.loss(q.z, q.labels, q.classes, q.ridge, q.weights, loss)
    assert actual.loss == pytest.approx(float(value), rel=1e-10)


@EACH_LOSS
def test_derivative_equals_autograd_with_more_features_than_rows(loss):
    q = problem(1, n=14, p=14)
    z = torch.cat([q.z, q.z.square(), q.z.flip(1)], 1)
    actual = dataset_derivative(q.fit(InMemory(z, q.labels, 5), q.weights), loss)
    expected = naive.gradient(lambda a: naive.loss(z, q.labels, q.classes, q.ridge, a, loss), q.weights)
    assert relative_error(actual.values, expected) < 1e-10


@pytest.mark.parametrize("loss", [Loss("all"), Loss("calibrated", 5.0, trim=False)], ids=lambda loss: loss.name)
def test_gradcheck_accepts_the_derivative(loss):
    q = problem(3)
    assert gradcheck(lambda weights: dataset_derivative(q.fit(q.chunks(), weights), loss), q.weights + 0.5)


@EACH_LOSS
def test_derivative_on_a_separate_validation_set_equals_autograd(loss):
    q, other = problem(0), problem(5, n=17)
    validation = InMemory(other.z, other.labels, 4)
    actual = dataset_derivative(q.fit(q.chunks(), q.weights), loss, validation=validation)
    expected = naive.gradient(
        lambda a: naive.validation_loss(q.z, q.labels, q.classes, q.ridge, a, loss, other.z, other.labels), q.weights
    )
    assert relative_error(actual.values, expected) < 1e-10


def test_derivative_with_a_condition_on_who_validates_equals_autograd():
    q, some, loss = problem(2), torch.arange(30) % 3 == 0, Loss("calibrated", 6.0)
    actual = dataset_derivative(q.fit(q.chunks(), q.weights), loss, validating=some)
    expected = naive.gradient(lambda a: naive.loss(q.z, q.labels, q.classes, q.ridge, a, loss, some), q.weights)
    assert relative_error(actual.values, expected) < 1e-10


@EACH_LOSS
@pytest.mark.parametrize("pool_validates", [False, True])
def test_pool_derivative_is_that_of_the_union_at_weight_zero(loss, pool_validates):
    q = problem(4)
    members, pool = slice(0, 18), slice(18, 30)
    model = solve(moments(q.part(members), q.classes), q.ridge)
    adjoint, _ = member_pass(q.part(members), model, loss)
    if pool_validates:
        adjoint = adjoint + outsider_adjoint(q.part(pool, 5), model, loss)
    actual = outsider_derivatives(q.part(pool, 5), model, adjoint, loss if pool_validates else None)
    weights = torch.zeros(30, dtype=torch.float64)
    weights[members] = 1
    may = torch.ones(30).bool() if pool_validates else weights > 0
    expected = naive.gradient(lambda a: naive.union_loss(q.z, q.labels, q.classes, q.ridge, a, loss, may), weights)[
        pool
    ]
    assert relative_error(actual.derivative, expected) < 1e-10


@pytest.mark.parametrize("chunk_size", [1, 3, 30, 64])
def test_chunk_size_changes_nothing(chunk_size):
    q, loss = problem(), Loss("calibrated", 8.0)
    whole = dataset_derivative(q.fit(q.chunks(1000), q.weights), loss)
    parts = dataset_derivative(q.fit(q.chunks(chunk_size), q.weights), loss)
    assert relative_error(parts.values, whole.values) < 1e-12


def test_splitting_into_files_changes_nothing():
    q, loss = problem(), Loss("hard_margin")
    files = Chained([q.part(slice(0, 3)), q.part(slice(3, 20)), q.part(slice(20, 30))])
    whole = dataset_derivative(q.fit(q.chunks(), q.weights), loss)
    split = dataset_derivative(q.fit(files, q.weights), loss)
    assert relative_error(split.values, whole.values) < 1e-11


def test_permuting_the_rows_permutes_the_derivative():
    q, loss = problem(), Loss("trimmed")
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    plain = dataset_derivative(q.fit(q.chunks(), q.weights), loss)
    shuffled = InMemory(q.z[order], q.labels[order], 7)
    permuted = dataset_derivative(q.fit(shuffled, q.weights[order]), loss)
    assert relative_error(permuted.values, plain.values[order]) < 1e-11


@EACH_LOSS
def test_scaling_weights_and_ridge_by_c_divides_the_derivative_by_c(loss):
    q = problem()
    once = dataset_derivative(q.fit(q.chunks(), q.weights), loss)
    scaled = dataset_derivative(fit_ridge(q.chunks(), q.classes, 4 * q.ridge, 4 * q.weights), loss)
    assert relative_error(4 * scaled.values, once.values) < 1e-10


def test_float32_agrees_with_float64_to_its_precision():
    q, loss = problem(condition=10), Loss("all")
    single = dataset_derivative(fit_ridge(InMemory(q.z.float(), q.labels, 7), q.classes, q.ridge, q.weights), loss)
    double = dataset_derivative(q.fit(q.chunks(), q.weights), loss)
    assert relative_error(single.values, double.values) < 1e-4


def test_derivative_is_zero_where_nothing_validates():
    z = torch.eye(2, dtype=torch.float64).repeat(10, 1)
    result = dataset_derivative(fit_ridge(InMemory(z, torch.arange(20) % 2), 2, 0.1), Loss("hard_margin"))
    assert result.validating == 0
    assert (result.values == 0).all()
    assert result.loss != result.loss  # NaN: there is no loss to speak of


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda_agrees_with_the_cpu(dtype):
    q, loss = problem(), Loss("calibrated", 8.0)
    on_gpu = InMemory(q.z.to("cuda", dtype), q.labels.cuda(), 7)
    there = dataset_derivative(q.fit(on_gpu, q.weights), loss)
    here = dataset_derivative(q.fit(q.chunks(), q.weights), loss)
    assert there.values.device.type == "cpu"
    assert relative_error(there.values, here.values) < (1e-3 if dtype == torch.float32 else 1e-9)
