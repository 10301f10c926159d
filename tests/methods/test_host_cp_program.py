import importlib.util

import pytest
import torch

from diva.methods.host_cp_program import Assignment, objective, published, smooth
from diva.methods.host_cp_solver import interior_point
from tests.methods import host_cp_problems as problems

needs_cvxpy = pytest.mark.skipif(
    importlib.util.find_spec("cvxpy") is None, reason="cvxpy, the oracle of the programs, is not installed"
)
EACH_TERM = pytest.mark.parametrize("term", ["quadratic", "entropy"])


@pytest.mark.parametrize("solve", [problems.by_linprog, pytest.param(problems.by_cvxpy, marks=needs_cvxpy)])
@pytest.mark.parametrize("seed", range(50))
def test_published_selects_the_set_of_the_linear_program(seed, solve):
    new, old = problems.instance(seed, size=5 + seed % 36, kept=1 + seed % 11)
    capacity = (0.1 + 0.02 * seed % 0.9) * new.shape[0]
    found, exact = published(new, old, capacity), solve(new, old, capacity, q=1)
    assert torch.equal(found.scores >= 0.9, exact.scores >= 0.9)
    assert float(objective(found, new, old)) == pytest.approx(float(objective(exact, new, old)), rel=1e-6)


def test_published_keeps_what_is_farthest_from_its_nearest_kept_point():
    old = torch.tensor([[1.0, 9.0], [5.0, 4.0], [7.0, 8.0], [2.0, 3.0]])
    found = published(torch.ones(4, 4) - torch.eye(4), old, 2.5)
    assert found.scores.tolist() == [0, 1, 1, 0.5]
    assert found.old.tolist() == [[1, 0], [0, 0], [0, 0], [0.5, 0]]


def test_published_does_not_change_with_small_changes_of_the_distances():
    new, old = problems.instance(0)
    moved = published(new, old + 1e-6 * torch.randn(old.shape, generator=torch.Generator().manual_seed(1)).abs(), 8.0)
    assert torch.equal(moved.scores, published(new, old, 8.0).scores)


@needs_cvxpy
@EACH_TERM
@pytest.mark.parametrize("coefficient", [0.2, 0.02, 1e-4])
@pytest.mark.parametrize("kept", [0, 12])
def test_smooth_has_the_objective_of_cvxpy(term, coefficient, kept):
    for seed in range(3):
        new, old = problems.instance(seed, size=20, kept=kept)
        found = smooth(new, old, 4.0, term=term, coefficient=coefficient)
        exact = problems.by_cvxpy(new, old, 4.0, term=term, coefficient=coefficient)
        value, best = (float(objective(a, new, old, term=term, coefficient=coefficient)) for a in (found, exact))
        assert value == pytest.approx(best, rel=1e-4, abs=1e-4)
        if coefficient > 1e-3:  # where the objective is flat, cvxpy's own shares are loose
            torch.testing.assert_close(found.scores, exact.scores, atol=5e-3, rtol=0)


@needs_cvxpy
def test_cvxpylayers_has_the_derivative():
    layers = pytest.importorskip("cvxpylayers.torch", reason="cvxpylayers is not installed")
    new, old = problems.instance(3, size=8, kept=4)
    layer = problems.layer(layers.CvxpyLayer, 8, 4, 2.0, 0.2)
    direction = torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradients = []
    for solve in (
        lambda a, b: smooth(a, b, 2.0, coefficient=0.2).new,
        lambda a, b: layer(torch.cat([a, b], 1))[0][:, :8],
    ):
        distances = new.clone().requires_grad_()
        gradients.append(torch.autograd.grad((solve(distances, old) * direction).sum(), distances)[0])
    torch.testing.assert_close(*gradients, atol=5e-3, rtol=5e-3)


@EACH_TERM
@pytest.mark.parametrize("kept", [0, 3])
def test_the_derivative_of_smooth_is_that_of_finite_differences(term, kept):
    new, old = problems.instance(1, size=5, kept=kept)
    weights = torch.randn(5, 5 + kept, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def value(new, old):
        found = smooth(new, old, 2.0, term=term, coefficient=0.1, tolerance=1e-12)
        return (torch.cat([found.new, found.old], 1) * weights).sum()

    inside = new + 0.1  # a finite difference must not make a distance negative
    inputs = [distances.clone().requires_grad_() for distances in (inside, old) if distances.numel()]
    assert torch.autograd.gradcheck(
        lambda *given: value(given[0], given[1] if kept else old), inputs, eps=1e-5, atol=1e-4, rtol=1e-4
    )


@EACH_TERM
def test_smooth_is_feasible_and_its_columns_share_the_capacity(term):
    new, old = problems.instance(4)
    found = smooth(new, old, 8.0, term=term)
    shares = torch.cat([found.new, found.old], 1)
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(1), torch.ones(40, dtype=torch.float64))
    assert float(found.scores.sum()) == pytest.approx(8, abs=1e-4)  # a new point's own place is always the cheapest


@EACH_TERM
def test_programs_solved_together_are_solved_as_if_alone(term):
    pairs = [problems.instance(seed, size=15, kept=6) for seed in range(5)]
    new, old = (torch.stack(side) for side in zip(*pairs, strict=True))
    together = smooth(new, old, 3.0, term=term, coefficient=0.02)
    alone = torch.stack([smooth(a, b, 3.0, term=term, coefficient=0.02).new for a, b in pairs])
    torch.testing.assert_close(together.new, alone, atol=1e-5, rtol=0)
    many = published(new, old, 3.0)
    assert torch.equal(many.scores, torch.stack([published(a, b, 3.0).scores for a, b in pairs]))


def test_scaling_distances_and_coefficient_together_changes_nothing():
    new, old = problems.instance(5)
    scaled = smooth(1e4 * new, 1e4 * old, 8.0, coefficient=200.0)
    torch.testing.assert_close(scaled.new, smooth(new, old, 8.0, coefficient=0.02).new, atol=1e-6, rtol=0)


def test_smooth_does_not_care_for_the_order_of_the_points():
    new, old = problems.instance(6)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    found = smooth(new[order][:, order], old[order], 8.0).scores
    torch.testing.assert_close(found, smooth(new, old, 8.0).scores[order], atol=1e-6, rtol=0)


def test_float32_in_float32_out():
    new, old = (distances.float() for distances in problems.instance(0))
    assert smooth(new, old, 8.0).new.dtype == torch.float32


@pytest.mark.parametrize("solve", [problems.by_linprog, pytest.param(problems.by_cvxpy, marks=needs_cvxpy)])
@pytest.mark.parametrize("seed", range(5))
def test_unseen_clusters_are_covered_by_smooth_as_by_the_exact_program_but_not_by_published(seed, solve):
    new, old, cluster = problems.unseen_clusters(seed)

    def covered(found):
        return len(cluster[found.scores >= 0.9].unique())

    assert covered(solve(new, old, 8.0)) == 4
    assert covered(smooth(new, old, 8.0, coefficient=1e-5)) == 4
    assert covered(smooth(new, old, 8.0, coefficient=1e-5, term="entropy")) == 4
    assert covered(published(new, old, 8.0)) < 4


@pytest.mark.parametrize("seed", range(5))
def test_with_a_small_coefficient_smooth_has_the_value_of_the_linear_program(seed):
    new, old = problems.instance(seed)
    value, best = (
        float(objective(found, new, old))
        for found in (smooth(new, old, 8.0, coefficient=1e-5), problems.by_linprog(new, old, 8.0))
    )
    assert best - 1e-6 <= value <= best * (1 + 1e-4)


@EACH_TERM
@pytest.mark.parametrize("coefficient", [1.0, 1e-6])
@pytest.mark.parametrize(
    ("size", "kept", "capacity"), [(1, 1, 0.2), (1, 0, 1.5), (2, 3, 2.0), (7, 0, 7.0), (30, 2, 1.0)]
)
def test_small_and_uneven_programs_are_solved(term, coefficient, size, kept, capacity):
    found = smooth(*problems.instance(0, size, kept), capacity, term=term, coefficient=coefficient)
    torch.testing.assert_close(found.new.sum(1) + found.old.sum(1), torch.ones(size, dtype=torch.float64))
    assert float(found.scores.sum()) <= capacity + 1e-6


@EACH_TERM
def test_equal_points_are_solved(term):
    zero = torch.zeros(10, 14, dtype=torch.float64)
    found = smooth(zero[:, :10], zero[:, 10:], 3.0, term=term)
    assert torch.isfinite(found.new).all()
    gradient = torch.autograd.functional.jacobian(
        lambda a: smooth(a, zero[:, 10:], 3.0, term=term).new.sum(), zero[:, :10]
    )
    assert torch.isfinite(gradient).all()


def test_a_program_that_is_not_solved_is_said_to_be(monkeypatch):
    monkeypatch.setattr("diva.methods.host_cp_solver.MOST_STEPS", 2)
    with pytest.raises(RuntimeError, match="not solved in 2 steps; use a larger coefficient"):
        interior_point(torch.rand(1, 5, 8, dtype=torch.float64), 2.0, "quadratic", 0.1, 1e-9)


def test_the_objective_counts_the_strictly_convex_term():
    half = Assignment(torch.full((2, 2), 0.5), torch.zeros(2, 0))
    apart = torch.ones(2, 2) - torch.eye(2)
    assert float(objective(half, apart, torch.zeros(2, 0))) == 1
    assert float(objective(half, apart, torch.zeros(2, 0), coefficient=2.0)) == 2
    entropy = objective(half, apart, torch.zeros(2, 0), term="entropy", coefficient=1.0)
    assert float(entropy) == pytest.approx(1 - 2 * 0.6931472)


NEW, OLD = problems.instance(0, 6, 3)


@pytest.mark.parametrize(
    ("new", "old", "capacity", "options", "message"),
    [
        (NEW[:, :4], OLD, 2.0, {}, r"new_distances must have shape \(…, B, B\), got \(6, 4\)"),
        (NEW, OLD[:4], 2.0, {}, r"old_distances must have shape \(6,\) and M last, got \(4, 3\)"),
        (NEW, -OLD, 2.0, {}, "old_distances must be finite and at least 0"),
        (NEW / 0, OLD, 2.0, {}, "new_distances must be finite and at least 0"),
        (NEW, OLD, 0.0, {}, "capacity must be positive and finite, got 0.0"),
        (NEW, OLD[:, :0], 1.0, {}, "capacity must be above 1 where no point is kept, got 1.0"),
        (NEW, OLD, 2.0, {"term": "cubic"}, "term must be one of quadratic, entropy, got 'cubic'"),
        (NEW, OLD, 2.0, {"coefficient": 0.0}, "coefficient must be positive and finite, got 0.0"),
    ],
)
def test_what_is_out_of_range_is_named(new, old, capacity, options, message):
    with pytest.raises(ValueError, match=message):
        smooth(new, old, capacity, **options)


def test_published_names_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"at least one kept point at capacity 2.0 < 6, got none"):
        published(NEW, OLD[:, :0], 2.0)
    with pytest.raises(ValueError, match="new_distances must be zero on the diagonal"):
        published(NEW + 1, OLD, 2.0)
    assert published(NEW, OLD[:, :0], 6.0).scores.tolist() == [1] * 6
