import logging
from itertools import count

import pytest
import torch

from diva.numerics import precision, products
from diva.numerics.chunks import InMemory
from diva.numerics.derivative import dataset_derivative
from diva.numerics.losses import Loss
from diva.numerics.precision import ENOUGH, fit_ridge
from diva.numerics.ridge import ACCURACY, moments, solve
from tests import naive
from tests.problems import problem, relative_error

pytestmark = pytest.mark.usefixtures("arithmetic")


def reference(z, labels, classes, ridge):
    """The head by a singular value decomposition of the rows, which never squares their condition."""
    left, sizes, right = torch.linalg.svd(z.double(), full_matrices=False)
    return right.T @ ((sizes / (sizes.square() + ridge))[:, None] * (left.T @ naive.one_hot(labels, classes)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ridge", [1e1, 1e-1, 1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12])
def test_a_gram_matrix_of_a_spread_of_1e12_is_solved_to_1e_6_or_refused(ridge, seed):
    q = problem(seed, n=60, p=12, condition=1e6)
    expected = reference(q.z, q.labels, q.classes, ridge)
    try:
        model = solve(moments(q.chunks(), q.classes), ridge)
    except ValueError as error:
        assert "ridge must be large enough" in str(error)  # noqa: PT017  # either outcome is right
        assert ridge < 60 * 2.3e-16 / ACCURACY * 10, "refused although it could be solved"
        return
    assert relative_error(model.head, expected) < 1e-6
    assert relative_error(q.z @ model.head, q.z @ expected) < 1e-6


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5])
def test_condition_is_that_of_the_shifted_gram_matrix(condition):
    q = problem(1, condition=condition)
    sums = moments(q.chunks(), q.classes)
    eigenvalues = torch.linalg.eigvalsh(sums.gram) + q.ridge
    model = solve(sums, q.ridge)
    assert model.condition == pytest.approx(float(eigenvalues[-1] / eigenvalues[0]), rel=0.3)
    assert model.residual < 1e-15


def test_float32_that_is_enough_stays():
    q = problem(condition=10)
    rows = InMemory(q.z.float(), q.labels, 7)
    fitted = fit_ridge(rows, q.classes, q.ridge)
    assert fitted.chunks is rows
    assert fitted.model.rounding < ENOUGH


@pytest.mark.parametrize("ridge", [1e-6, 1e-5])
def test_where_float32_is_not_enough_float64_is_used_and_said(ridge, caplog, monkeypatch):
    monkeypatch.setattr(precision, "fits_in_double", count())
    q = problem(n=60, condition=1e5)
    single = InMemory(q.z.float(), q.labels, 7)
    double = InMemory(q.z.float().double(), q.labels, 7)
    with caplog.at_level(logging.DEBUG, logger="diva.numerics.precision"):
        actual = dataset_derivative(fit_ridge(single, q.classes, ridge), Loss("all"))
        fit_ridge(single, q.classes, ridge)
    assert caplog.text.count("float32 is not enough") == 1  # once per process
    expected = dataset_derivative(fit_ridge(double, q.classes, ridge), Loss("all"))
    assert relative_error(actual.values, expected.values) < 1e-12
    assert relative_error(actual.model.head, reference(q.z.float(), q.labels, q.classes, ridge)) < 1e-6


@pytest.mark.parametrize("ridge", [0.03, 0.3])
@pytest.mark.parametrize("condition", [1e1, 1e2, 1e3])
@pytest.mark.parametrize("seed", range(3))
def test_what_float32_moves_is_within_its_estimate(seed, condition, ridge):
    q = problem(seed, n=200, condition=condition)
    single = solve(moments(InMemory(q.z.float(), q.labels), q.classes), ridge)
    double = solve(moments(InMemory(q.z.float().double(), q.labels), q.classes), ridge)
    assert relative_error(single.head, double.head) < 3 * single.rounding
    assert double.rounding < 1e-8 * single.rounding


def test_rounding_adds_up_whether_rows_come_or_go():
    q = problem()
    whole, part = moments(q.chunks(), q.classes), moments(q.part(slice(0, 9)), q.classes)
    assert (whole + part).rounding == (whole - part).rounding == whole.rounding + part.rounding > 0


def test_equations_that_are_not_solved_far_enough_are_an_error(monkeypatch):
    q = problem(condition=1e3)
    exact = products.inverse_root

    def spoilt(matrix):
        return exact(matrix) * (1 + 0.05 * torch.sin(torch.arange(len(matrix), dtype=matrix.dtype)))

    sums = moments(q.chunks(), q.classes)
    monkeypatch.setattr(products, "inverse_root", spoilt)
    with pytest.raises(ValueError, match="the residual is"):
        solve(sums, 0.1)
