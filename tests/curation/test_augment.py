import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from diva.curation.augment import augment, block_errors, choose_block_ridge, choose_block_temperature, reweight_union
from diva.numerics.blocks import Interleaved
from diva.numerics.chunks import InMemory
from diva.numerics.leave_one_out import temperatures
from diva.numerics.losses import Loss
from diva.numerics.normalize import Prepared
from tests import naive
from tests.problems import problem, relative_error


@pytest.fixture(scope="module")
def flipped() -> Interleaved:
    """500 digits as pixels: as they are, mirrored left to right, mirrored top to bottom."""
    images, labels = load_digits().images[:500], load_digits().target[:500]
    variants = [images, images[:, :, ::-1], images[:, ::-1]]
    return Interleaved([Prepared(InMemory(v.reshape(500, -1).copy(), labels)) for v in variants])


@pytest.mark.parametrize("loss", ["hard_margin", "calibrated"])
def test_both_flips_of_digits_are_penalised_against_the_identity(flipped, loss):
    found = augment(flipped, 10, 0.01, variants=3, loss=loss, steps=1, draws=5)
    identity, *flips = found.union.probabilities.tolist()
    assert max(flips) < 1 / 3 < identity
    assert (found.drawn[:, 0, None] > found.drawn[:, 1:]).all()  # in every draw
    if loss == "hard_margin":  # the reference: .359, .319, .322
        assert found.union.probabilities.numpy() == pytest.approx([0.359, 0.319, 0.322], abs=0.006)


def test_validating_on_the_variants_hides_what_they_cost(flipped):
    found = augment(flipped, 10, 0.01, variants=3, steps=1, validate_on="all", draws=0)
    assert found.union.probabilities.numpy() == pytest.approx([0.332, 0.334, 0.333], abs=0.008)
    assert found.drawn.shape == (0, 3)


@pytest.mark.parametrize("steps", [1, 3])
def test_steps_go_down_the_autograd_gradient(steps):
    q, loss, first = problem(2), Loss("calibrated", 9.0), torch.tensor([1.0, 0.0, 0.0]).double().repeat(10)
    actual = reweight_union(
        q.chunks(6), q.classes, torch.ones(10).double(), q.ridge, loss, 3, steps, 0.3, "untransformed"
    )
    alpha, images = torch.ones(30).double(), torch.arange(30) // 3
    for _ in range(steps):
        arguments = (q.z, q.labels, q.classes, q.ridge)
        g = naive.gradient(lambda a, arguments=arguments: naive.group_loss(*arguments, a, loss, images, first), alpha)
        alpha = (alpha - 0.3 * g / g.abs().max()).clamp_min(0)
    assert relative_error(actual.weights.flatten(), alpha) < 1e-9
    assert relative_error(actual.probabilities, alpha.view(10, 3).sum(0) / alpha.sum()) < 1e-9
    assert len(actual.history) == steps


def test_an_image_drawn_twice_is_the_image_and_its_copy_in_one_block():
    """Copies in one block of twice the size, each of weight 1: the same steps, the same p."""
    q, loss = problem(3, n=12), Loss("all")
    counts = torch.tensor([2.0, 2.0, 2.0, 2.0]).double()
    actual = reweight_union(q.chunks(6), q.classes, counts, q.ridge, loss, 3, 2, 0.3, "untransformed")
    twice = torch.arange(12).view(4, 1, 3).expand(4, 2, 3).flatten()
    first = torch.tensor([1.0, 0.0, 0.0]).double().repeat(8)
    alpha, images = torch.ones(24).double(), torch.arange(24) // 6
    for _ in range(2):
        arguments = (q.z[twice], q.labels[twice], q.classes, q.ridge)
        g = naive.gradient(lambda a, arguments=arguments: naive.group_loss(*arguments, a, loss, images, first), alpha)
        alpha = (alpha - 0.3 * g / g.abs().max()).clamp_min(0)
    assert relative_error(actual.weights, alpha.view(4, 2, 3)[:, 0]) < 1e-9


def test_an_image_that_was_not_drawn_counts_for_nothing():
    q, loss = problem(4), Loss("all")
    counts = torch.ones(10).double()
    counts[7:] = 0
    drawn = reweight_union(q.chunks(6), q.classes, counts, q.ridge, loss, 3, 2, 0.5, "untransformed")
    alone = reweight_union(
        q.part(slice(0, 21), 6), q.classes, torch.ones(7).double(), q.ridge, loss, 3, 2, 0.5, "untransformed"
    )
    assert relative_error(drawn.weights[:7], alone.weights) < 1e-10
    assert relative_error(drawn.probabilities, alone.probabilities) < 1e-10


def test_variants_equal_to_the_image_share_alike():
    q = problem(1)
    parts = [Prepared(q.chunks(10), dtype=torch.float64)] * 3
    found = augment(Interleaved(parts), q.classes, 0.1, variants=3, loss="all", draws=3, seed=4)
    assert found.union.probabilities.numpy() == pytest.approx([1 / 3] * 3, abs=1e-12)
    assert found.drawn.numpy() == pytest.approx(np.full((3, 3), 1 / 3), abs=1e-12)


def test_ridge_and_temperature_are_those_of_refits_without_the_block():
    q, ones, threes = problem(5), torch.ones(30).double(), torch.arange(30) // 3
    grid = (0.01, 0.1, 1.0, 10.0)
    predictions = {r: naive.group_predictions_by_refits(q.z, q.labels, q.classes, r, ones, threes) for r in grid}
    errors = {r: (f.argmax(1) != q.labels).double().view(10, 3).mean(0) for r, f in predictions.items()}
    assert torch.equal(block_errors(q.chunks(6), q.classes, 0.1, 3), errors[0.1])
    best = min(float(e[0]) for e in errors.values())
    assert choose_block_ridge(q.chunks(6), q.classes, grid, 3) == max(r for r in grid if float(errors[r][0]) == best)
    first = torch.tensor([1.0, 0.0, 0.0]).double().repeat(10)
    kept = first > 0
    losses = [torch.nn.functional.cross_entropy(t * predictions[0.1][kept], q.labels[kept]) for t in temperatures()]
    expected = float(temperatures()[torch.stack(losses).argmin()])
    assert choose_block_temperature(q.chunks(6), q.classes, 0.1, 3, first) == expected


def test_the_same_seed_gives_the_same_draws():
    q = problem(6)
    one, two = (augment(q.chunks(6), q.classes, 0.1, variants=3, loss="all", draws=2, seed=1) for _ in range(2))
    assert torch.equal(one.drawn, two.drawn)
    assert not torch.equal(one.drawn[0], one.drawn[1])


def test_nothing_validates_nothing_moves():
    z = torch.eye(2, dtype=torch.float64).repeat(10, 1)
    rows = Interleaved([InMemory(z, torch.arange(20) % 2)] * 2)
    found = augment(rows, 2, 0.1, variants=2, draws=1)
    assert found.union.history == ()
    assert (found.union.weights == 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variants": 7}, "variants must divide"),
        ({"draws": -1}, "draws must"),
        ({"validate_on": "some"}, "validate_on"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    q = problem()
    with pytest.raises(ValueError, match=message):
        augment(q.chunks(6), q.classes, 0.1, **{"variants": 3} | arguments)
