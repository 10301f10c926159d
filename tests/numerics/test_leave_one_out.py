import pytest
import torch

from diva.numerics.chunks import InMemory
from diva.numerics.grid import RIDGES, choose_ridge, filters
from diva.numerics.leave_one_out import choose_temperature, leave_one_out, leverage_factors, temperatures
from diva.numerics.precision import ENOUGH, fit_ridge
from diva.numerics.ridge import moments, solve
from tests import naive
from tests.problems import problem, relative_error

pytestmark = pytest.mark.usefixtures("arithmetic")


def left_out(q, weights=None):
    alpha = q.weights if weights is None else weights
    return leave_one_out(q.z, q.labels, alpha, solve(moments(q.chunks(), q.classes, alpha), q.ridge))


@pytest.mark.parametrize("seed", range(4))
def test_predictions_equal_n_refits(seed):
    q = problem(seed)
    expected = naive.loo_predictions_by_refits(q.z, q.labels, q.classes, q.ridge, q.weights)
    assert relative_error(left_out(q).predictions, expected) < 1e-10


def test_predictions_equal_refits_with_more_features_than_rows():
    q = problem(n=12, p=12)
    wide = torch.cat([q.z, q.z.flip(0), q.z.square()], 1)
    model = solve(moments(InMemory(wide, q.labels), q.classes, q.weights), q.ridge)
    expected = naive.loo_predictions_by_refits(wide, q.labels, q.classes, q.ridge, q.weights)
    assert relative_error(leave_one_out(wide, q.labels, q.weights, model).predictions, expected) < 1e-10


def test_leverages_sum_to_the_effective_degrees_of_freedom():
    q = problem()
    eigenvalues = torch.linalg.eigvalsh(q.z.T @ (q.weights[:, None] * q.z))
    torch.testing.assert_close(left_out(q).leverage.sum(), (eigenvalues / (eigenvalues + q.ridge)).sum())


def test_weight_two_is_the_row_twice_for_every_other_row():
    q = problem()
    weights = torch.ones(30, dtype=torch.float64)
    weights[5] = 2
    z, labels = torch.cat([q.z, q.z[5:6]]), torch.cat([q.labels, q.labels[5:6]])
    ones = torch.ones(31, dtype=torch.float64)
    repeated = leave_one_out(z, labels, ones, solve(moments(InMemory(z, labels), q.classes), q.ridge)).predictions
    others = torch.arange(30) != 5
    weighted = left_out(q, weights).predictions
    torch.testing.assert_close(weighted[others], repeated[:30][others])
    assert not torch.allclose(weighted[5], repeated[5])  # both copies are left out in one case, one in the other


def test_a_row_of_weight_zero_gets_its_plain_prediction():
    q = problem()
    model = solve(moments(q.chunks(), q.classes, q.weights), q.ridge)
    absent = q.weights == 0
    torch.testing.assert_close(left_out(q).predictions[absent], (q.z @ model.head)[absent])


@pytest.mark.parametrize("judged", [None, torch.arange(30) % 3 > 0])
@pytest.mark.parametrize("weighted", [False, True])
def test_one_eigendecomposition_gives_the_error_of_every_ridge(weighted, judged):
    """Also where only some of the rows are left out in turn; all train."""
    q = problem(2)
    weights = q.weights if weighted else torch.ones(30, dtype=torch.float64)
    grid = (0.01, 0.1, 1.0, 10.0)
    choice = choose_ridge(q.chunks(), q.classes, grid, weights if weighted else None, judged=judged)
    counted = weights if judged is None else weights * judged
    for ridge, error, squares in choice.grid:
        f = naive.loo_predictions_by_refits(q.z, q.labels, q.classes, ridge, weights)
        wrong = (f.argmax(1) != q.labels).double()
        assert error == pytest.approx(float((counted * wrong).sum() / counted.sum()), rel=1e-12)
        e = (naive.one_hot(q.labels, q.classes) - f).square().sum(1)
        assert squares == pytest.approx(float((counted * e).sum() / counted.sum()), rel=1e-9)
    best = min(error for _, error, _ in choice.grid)
    assert choice.ridge == max(ridge for ridge, error, _ in choice.grid if error == best)
    assert choice.error == best
    model = fit_ridge(q.chunks(), q.classes, choice.ridge, choice.weights).model
    assert torch.equal(choice.fit().model.head, model.head)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_long_grid_through_a_few_filters_equals_each_ridge_alone(dtype):
    q = problem(1, n=120, p=10)
    rows, grid = InMemory(q.z.to(dtype), q.labels, 50), torch.logspace(-3, 1, 25, dtype=torch.float64).tolist()
    assert filters(torch.linalg.eigvalsh(q.z.T @ q.z), torch.tensor(grid).double(), dtype).mix is not None
    choice = choose_ridge(rows, q.classes, grid)
    for found, ridge in zip(choice.grid, grid, strict=True):
        alone = choose_ridge(rows, q.classes, [ridge]).grid[0]
        assert found[:2] == pytest.approx(alone[:2], abs=1e-12)
        assert found[2] == pytest.approx(alone[2], rel=1e-4 if dtype == torch.float32 else 1e-10)


def test_leverages_of_the_chosen_ridge_are_those_of_its_model():
    q = problem(2)
    choice = choose_ridge(q.chunks(), q.classes, weights=q.weights)
    expected = leverage_factors(q.chunks(), solve(choice.moments, choice.ridge))
    torch.testing.assert_close(choice.leverage_factor, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("edge", ["first", "last"])
def test_a_grid_whose_edge_is_best_widens_for_a_lower_error(edge, caplog):
    q = problem(3, n=60, p=20)
    everything = choose_ridge(q.chunks(), q.classes, [10 ** (i / 2) for i in range(-8, 9)])
    ridges = [ridge for ridge, _, _ in everything.grid]
    inside = ridges.index(everything.ridge)
    assert 2 < inside < len(ridges) - 3
    grid = ridges[inside + 1 : inside + 3] if edge == "first" else ridges[inside - 2 : inside]
    with caplog.at_level("INFO"):
        choice = choose_ridge(q.chunks(), q.classes, grid)
    narrow = min(error for ridge, error, _ in choice.grid if ridge in grid)
    assert choice.error == min(error for _, error, _ in choice.grid) < narrow
    assert "the grid was widened" in caplog.text
    lowest, highest = choice.grid[0][0], choice.grid[-1][0]
    assert (grid[0] / lowest, highest / grid[-1]) == pytest.approx((1000, 1) if edge == "first" else (1, 1000))
    expected = leverage_factors(q.chunks(), solve(choice.moments, choice.ridge))
    torch.testing.assert_close(choice.leverage_factor, expected, rtol=1e-9, atol=1e-12)


def test_a_grid_stays_where_its_best_lies_inside_or_nothing_beyond_is_better():
    q = problem(2)
    inside = choose_ridge(q.chunks(), q.classes)
    assert tuple(ridge for ridge, _, _ in inside.grid) == RIDGES
    single = choose_ridge(q.chunks(), q.classes, [100.0])
    assert (single.ridge, len(single.grid)) == (100.0, 1)
    z = torch.eye(2, dtype=torch.float64).repeat(10, 1)
    labels = (torch.arange(20) % 2).scatter(0, torch.tensor([0]), 1)  # one wrong label: no ridge is better
    constant = choose_ridge(InMemory(z, labels), 2, (0.1, 1.0))
    assert (constant.ridge, len(constant.grid)) == (1.0, 2)


def test_a_grid_widens_only_as_far_as_float32_resolves():
    q = problem(1, n=60, condition=1e5)
    choice = choose_ridge(InMemory(q.z.float(), q.labels), q.classes, (1e-2, 1e3))
    assert all(choice.moments.rounding / ridge <= ENOUGH for ridge, _, _ in choice.grid)


def test_ridges_that_float64_cannot_resolve_are_left_out(caplog):
    z = torch.cat([problem().z, problem().z[:, :2]], 1) * 1e5  # two columns twice: the smallest eigenvalue is 0
    rows = InMemory(z, problem().labels)
    choice = choose_ridge(rows, 4, (1e-3, 1e3, 1e6), widen=False)
    assert [ridge for ridge, _, _ in choice.grid] == [1e3, 1e6]
    assert "are too small for features of this size" in caplog.text
    with pytest.raises(ValueError, match="grid must hold a ridge of at least"):
        choose_ridge(rows, 4, (1e-6, 1e-3))


def test_of_equal_errors_the_largest_ridge_wins():
    z = torch.eye(2, dtype=torch.float64).repeat(10, 1)
    choice = choose_ridge(InMemory(z, torch.arange(20) % 2), 2, (0.01, 1.0, 0.1))
    assert (choice.ridge, choice.error) == (1.0, 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_temperature_minimises_the_cross_entropy_of_the_refits(seed):
    q = problem(seed)
    ones = torch.ones(30, dtype=torch.float64)
    expected = naive.temperature(q.z, q.labels, q.classes, q.ridge, ones, temperatures())
    assert choose_temperature(q.fit(q.chunks())) == expected


def test_temperatures_run_from_1_to_200():
    grid = temperatures()
    assert len(grid) == 60
    assert (float(grid[0]), float(grid[-1])) == pytest.approx((1, 200))


def test_leverage_that_this_precision_cannot_resolve_is_an_error():
    z = torch.eye(3)
    model = solve(moments(InMemory(z, torch.arange(3)), 3), 1e-12).to(z)
    with pytest.raises(ValueError, match=r"leverage must be below 1.*use float64"):
        leave_one_out(z, torch.arange(3), torch.ones(3), model)


def test_grid_must_be_positive():
    q = problem()
    with pytest.raises(ValueError, match="grid must hold positive ridges"):
        choose_ridge(q.chunks(), q.classes, (0.0, 1.0))
    with pytest.raises(ValueError, match="weights must have a positive sum"):
        choose_ridge(q.chunks(), q.classes, weights=torch.zeros(30))
