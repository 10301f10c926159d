import threading

import pytest
import torch

from diva.curation.detect import detect
from diva.numerics.adjoint import outsider_adjoint
from diva.numerics.chunks import InMemory
from diva.numerics.derivative import dataset_derivative, outsider_derivatives
from diva.numerics.grid import choose_ridge
from diva.numerics.losses import Loss
from diva.numerics.precision import fit_ridge
from diva.numerics.ridge import moments, weighted
from diva.numerics.threads import in_order, single_threaded_libraries, thread_count
from tests.problems import problem

LOSS = Loss("calibrated", 8.0)


@pytest.fixture
def threads():
    """Sets the number of torch's threads; what it was comes back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def results(q, dtype):
    chunks = InMemory(q.z.to(dtype), q.labels, 29)
    sums = moments(chunks, q.classes, q.weights)
    fitted = fit_ridge(chunks, q.classes, q.ridge, q.weights, sums)
    derivative = dataset_derivative(fitted, LOSS)
    outside = outsider_derivatives(chunks, fitted.model, outsider_adjoint(chunks, fitted.model, LOSS), LOSS)
    grid = choose_ridge(chunks, q.classes, weights=q.weights)
    suspicion = detect(fit_ridge(chunks, q.classes, q.ridge), with_derivative=True)
    return (
        sums.gram, sums.cross, derivative.values, derivative.margin, outside.derivative, outside.leverage_factor,
        torch.tensor(grid.grid), grid.leverage_factor, suspicion.score, suspicion.derivative,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_number_of_threads_changes_no_bit(threads, dtype):
    threads(1)
    q = problem(3, n=400, p=24)
    expected = results(q, dtype)
    for count in (2, 5):
        threads(count)
        assert all(torch.equal(*pair) for pair in zip(results(q, dtype), expected, strict=True))
        assert torch.get_num_threads() == count


def test_results_come_in_order_from_other_threads_and_buffers_last_until_the_next_is_asked_for(threads):
    threads(3)
    q, seen = problem(0, n=60), set()

    def rows(chunk, alpha, work):
        seen.add(threading.get_ident())
        buffer = work.take("rows", chunk.features, 1, 1)
        return buffer.fill_(chunk.rows.start), alpha.sum()

    weights = torch.arange(60, dtype=torch.float64)
    got = [(float(buffer), float(total)) for buffer, total in in_order(rows, weighted(q.chunks(4), weights))]
    assert got == [(start, float(weights[start : start + 4].sum())) for start in range(0, 60, 4)]
    assert threading.get_ident() not in seen


def test_an_error_in_a_thread_is_raised_and_the_threads_come_back(threads):
    threads(2)

    def fails(chunk, _, __):
        raise ValueError(f"row {chunk.rows.start}")

    with pytest.raises(ValueError, match="row 0"):
        list(in_order(fails, weighted(problem().chunks(4), None)))
    assert torch.get_num_threads() == 2


def test_threads_are_shared_out_where_the_libraries_are_held_to_one_already(threads):
    threads(3)
    seen = set()
    with single_threaded_libraries() as count:
        list(in_order(lambda *_: seen.add(threading.get_ident()), weighted(problem(0, n=60).chunks(4), None)))
        assert (count, thread_count(), torch.get_num_threads()) == (3, 3, 1)
    assert threading.get_ident() not in seen
    assert (thread_count(), torch.get_num_threads()) == (3, 3)
