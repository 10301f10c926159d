import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diva.curation.evaluation import train
from diva.methods import ridge_fit
from diva.methods.inputs import Labelled
from diva.numerics.blocks import Interleaved, block_derivative, leave_block_out
from diva.numerics.chunks import InMemory
from diva.numerics.derivative import dataset_derivative
from diva.numerics.losses import Loss
from diva.numerics.normalize import Prepared
from diva.numerics.ridge import moments, solve
from tests import naive
from tests.problems import problem, relative_error

LOSSES = [Loss("all"), Loss("hard_margin"), Loss("trimmed"), Loss("calibrated", 9.0)]
EACH_LOSS = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)


def predictions(q, size, chunk_size):
    model = solve(moments(q.chunks(), q.classes, q.weights), q.ridge)
    parts = [
        leave_block_out(z, labels, q.weights[rows], model, size).predictions for z, labels, rows in q.chunks(chunk_size)
    ]
    return torch.cat(parts)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_predictions_without_the_block_equal_refits(size, seed):
    q = problem(seed)  # weights of 0 and above 1 among them
    groups = torch.arange(30) // size
    expected = naive.group_predictions_by_refits(q.z, q.labels, q.classes, q.ridge, q.weights, groups)
    assert relative_error(predictions(q, size, 15 if size != 2 else 10), expected) < 1e-10
    closed = naive.group_predictions(q.z, q.labels, q.classes, q.ridge, q.weights, groups)
    assert relative_error(closed, expected) < 1e-10


def test_a_block_of_weight_zero_is_predicted_by_the_plain_model():
    q = problem()
    q.weights[3:6] = 0
    model = solve(moments(q.chunks(), q.classes, q.weights), q.ridge)
    assert relative_error(predictions(q, 3, 30)[3:6], q.z[3:6] @ model.head) < 1e-12


@EACH_LOSS
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_derivative_equals_autograd_on_the_naive_form(loss, size, seed):
    q = problem(seed)
    importance = (torch.arange(30) % 4).double()  # not at all, once, twice, three times
    actual = block_derivative(
        q.chunks(6), q.classes, q.ridge, loss, size=size, weights=q.weights, importance=importance
    )
    arguments, groups = (q.z, q.labels, q.classes, q.ridge), torch.arange(30) // size
    expected = naive.gradient(lambda a: naive.group_loss(*arguments, a, loss, groups, importance), q.weights)
    assert relative_error(actual.values, expected) < 1e-9
    value = naive.group_loss(*arguments, q.weights, loss, groups, importance)
    assert actual.loss == pytest.approx(float(value), rel=1e-10)


def test_derivative_equals_autograd_with_more_features_than_rows():
    q, ones = problem(1, n=15, p=14), torch.ones(15).double()
    z = torch.cat([q.z, q.z.square(), q.z.flip(1)], 1)
    loss = Loss("calibrated", 9.0, trim=False)
    actual = block_derivative(InMemory(z, q.labels, 6), q.classes, q.ridge, loss, size=3, weights=q.weights)
    groups = torch.arange(15) // 3
    expected = naive.gradient(
        lambda a: naive.group_loss(z, q.labels, q.classes, q.ridge, a, loss, groups, ones), q.weights
    )
    assert relative_error(actual.values, expected) < 1e-9


@pytest.mark.parametrize("loss", [Loss("all"), Loss("calibrated", 5.0, trim=False)], ids=lambda loss: loss.name)
def test_gradcheck_accepts_the_derivative(loss):
    q = problem(3)

    class BlockLoss(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weights):
            result = block_derivative(q.chunks(9), q.classes, q.ridge, loss, size=3, weights=weights)
            ctx.save_for_backward(result.values)
            return torch.tensor(result.loss, dtype=torch.float64)

        @staticmethod
        def backward(ctx, upstream):
            return upstream * ctx.saved_tensors[0]

    assert torch.autograd.gradcheck(BlockLoss.apply, (q.weights + 0.5).requires_grad_(True))


@EACH_LOSS
def test_blocks_of_one_row_give_the_ordinary_derivative(loss):
    q = problem(2)
    blocks = block_derivative(q.chunks(), q.classes, q.ridge, loss, size=1, weights=q.weights)
    rows = dataset_derivative(q.fit(q.chunks(), q.weights), loss)
    assert relative_error(blocks.values, rows.values) < 1e-10
    assert blocks.loss == pytest.approx(rows.loss)
    assert blocks.validating == rows.validating
    assert relative_error(blocks.margin, rows.margin) < 1e-10


@pytest.mark.parametrize("chunk_size", [3, 9, 300])
def test_chunk_size_changes_nothing(chunk_size):
    q, loss = problem(), Loss("calibrated", 8.0)
    whole = block_derivative(q.chunks(1000), q.classes, q.ridge, loss, size=3, weights=q.weights)
    parts = block_derivative(q.chunks(chunk_size), q.classes, q.ridge, loss, size=3, weights=q.weights)
    assert relative_error(parts.values, whole.values) < 1e-12


def test_a_row_repeated_in_its_block_validates_as_the_row_alone_of_twice_the_weight():
    q, loss = problem(), Loss("all")
    twice = q.z.repeat_interleave(2, 0)
    first = torch.tensor([1.0, 0.0]).double().repeat(30)
    blocks = block_derivative(
        InMemory(twice, q.labels.repeat_interleave(2), 10), q.classes, q.ridge, loss,
        size=2, weights=q.weights.repeat_interleave(2), importance=first,
    )  # fmt: skip
    rows = dataset_derivative(q.fit(q.chunks(), 2 * q.weights), loss)
    assert blocks.loss == pytest.approx(rows.loss, rel=1e-10)
    assert relative_error(blocks.values[::2], rows.values) < 1e-9  # a change of either copy's weight is the same
    assert relative_error(blocks.values[1::2], rows.values) < 1e-9


def test_float32_agrees_with_float64_to_its_precision():
    q, loss = problem(condition=10), Loss("all")
    single = block_derivative(InMemory(q.z.float(), q.labels, 6), q.classes, q.ridge, loss, size=3, weights=q.weights)
    double = block_derivative(q.chunks(6), q.classes, q.ridge, loss, size=3, weights=q.weights)
    assert relative_error(single.values, double.values) < 1e-4


def test_derivative_is_zero_where_nothing_validates():
    q = problem()
    nothing = torch.zeros(30)
    result = block_derivative(q.chunks(6), q.classes, q.ridge, Loss("all"), size=3, importance=nothing)
    assert (result.values == 0).all()
    assert result.loss != result.loss  # NaN


def test_interleaved_parts_are_rows_in_turns():
    q = problem()
    parts = [Prepared(InMemory(q.z[i::3], q.labels[::3], 4), dtype=torch.float64) for i in range(3)]
    together = Interleaved(parts)
    assert together.shape == (30, q.z.shape[1] + 1)
    chunks = list(together)
    assert [chunk.rows for chunk in chunks] == [slice(0, 12), slice(12, 24), slice(24, 30)]
    expected = torch.cat([z for z, _, _ in Prepared(InMemory(q.z, q.labels, 6), dtype=torch.float64)])
    assert torch.equal(torch.cat([chunk.features for chunk in chunks]), expected)
    assert torch.equal(torch.cat([chunk.labels for chunk in chunks]), q.labels[::3].repeat_interleave(3))


def test_what_does_not_fit_is_told():
    q = problem()
    with pytest.raises(ValueError, match="size must divide the rows of every chunk"):
        block_derivative(q.chunks(7), q.classes, q.ridge, Loss("all"), size=3)
    with pytest.raises(ValueError, match="parts must share one shape"):
        Interleaved([q.part(slice(0, 3)), q.part(slice(0, 4))])
    with pytest.raises(ValueError, match="agree in chunks and labels"):
        list(Interleaved([q.part(slice(0, 10)), q.part(slice(10, 20))]))
    model = solve(moments(q.chunks(), q.classes), q.ridge)
    with pytest.raises(ValueError, match="leverage of a block must be below 1"):
        leave_block_out(q.z, q.labels, torch.full((30,), 1e3), model, 3)  # not the weights of the model


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu():
    q, loss = problem(), Loss("calibrated", 8.0)
    on_gpu = InMemory(q.z.cuda(), q.labels.cuda(), 6)
    there = block_derivative(on_gpu, q.classes, q.ridge, loss, size=3, weights=q.weights)
    here = block_derivative(q.chunks(6), q.classes, q.ridge, loss, size=3, weights=q.weights)
    assert relative_error(there.values, here.values) < 1e-9


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
            block_derivative(chunks, 3, 0.1, Loss("all"), size=2)
            train(chunks, 3, 0.1).correct(chunks)
            fitted = ridge_fit.fit(Labelled(x, labels, 3), ridge=0.1, normalize="unit")
            ridge_fit.predictions(fitted, chunks)
    finally:
        backend.fp32_precision = before
    assert watch.seen <= {"ieee", "none"}
