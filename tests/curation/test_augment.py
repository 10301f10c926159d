import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from diva.curation.augment import (
    AugmentSettings,
    ImageVariants,
    Interleaved,
    augment,
    choose_union_ridge,
    reweight_union,
    variant_errors,
)
from diva.numerics.chunks import InMemory
from diva.numerics.leave_one_out import choose_temperature, temperatures
from diva.numerics.losses import Loss
from diva.numerics.normalize import Prepared
from tests import naive
from tests.problems import problem, relative_error


@pytest.fixture(scope="module")
def flipped() -> ImageVariants:
    """500 digits as pixels: as they are, mirrored left to right, mirrored top to bottom."""
    images, labels = load_digits().images[:500], load_digits().target[:500]
    variants = [images, images[:, :, ::-1], images[:, ::-1]]
    return ImageVariants(Interleaved([Prepared(InMemory(v.reshape(500, -1).copy(), labels)) for v in variants]), 10, 3)


@pytest.mark.parametrize("loss", ["hard_margin", "calibrated"])
def test_both_flips_of_digits_are_penalised_against_the_identity(flipped, loss):
    found = augment(flipped, 0.01, AugmentSettings(loss=loss, steps=1, draws=5))
    identity, *flips = found.union.probabilities.tolist()
    assert max(flips) < 1 / 3 < identity
    assert (found.drawn[:, 0, None] > found.drawn[:, 1:]).all()  # in every draw
    if loss == "hard_margin":  # the reference: .359, .319, .322
        assert found.union.probabilities.numpy() == pytest.approx([0.359, 0.319, 0.322], abs=0.006)


def test_validating_on_the_variants_hides_what_they_cost(flipped):
    found = augment(flipped, 0.01, AugmentSettings(steps=1, validate_on="all", draws=0))
    assert found.union.probabilities.numpy() == pytest.approx([0.332, 0.334, 0.333], abs=0.008)
    assert found.drawn.shape == (0, 3)


def union(q, chunks=None):
    return ImageVariants(q.chunks(6) if chunks is None else chunks, q.classes, 3)


def reweighted(q, counts, loss, chunks=None, steps=2, step_size=0.5):
    return reweight_union(union(q, chunks), q.ridge, counts, loss, AugmentSettings(steps=steps, step_size=step_size))


@pytest.mark.parametrize("steps", [1, 3])
def test_steps_go_down_the_autograd_gradient(steps):
    q, loss, first = problem(2), Loss("calibrated", 9.0), torch.tensor([1.0, 0.0, 0.0]).double().repeat(10)
    actual = reweighted(q, torch.ones(10).double(), loss, steps=steps, step_size=0.3)
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
    actual = reweighted(q, counts, loss, step_size=0.3)
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
    drawn = reweighted(q, counts, loss)
    alone = reweighted(q, torch.ones(7).double(), loss, chunks=q.part(slice(0, 21), 6))
    assert relative_error(drawn.weights[:7], alone.weights) < 1e-10
    assert relative_error(drawn.probabilities, alone.probabilities) < 1e-10


def test_variants_equal_to_the_image_share_alike():
    q = problem(1)
    parts = [Prepared(q.chunks(10), dtype=torch.float64)] * 3
    found = augment(union(q, Interleaved(parts)), 0.1, AugmentSettings(loss="all", draws=3, seed=4))
    assert found.union.probabilities.numpy() == pytest.approx([1 / 3] * 3, abs=1e-12)
    assert found.drawn.numpy() == pytest.approx(np.full((3, 3), 1 / 3), abs=1e-12)


def test_ridge_and_temperature_are_those_of_refits_without_the_block():
    q, ones, threes = problem(5), torch.ones(30).double(), torch.arange(30) // 3
    grid = (0.01, 0.1, 1.0, 10.0)
    predictions = {r: naive.group_predictions_by_refits(q.z, q.labels, q.classes, r, ones, threes) for r in grid}
    errors = {r: (f.argmax(1) != q.labels).double().view(10, 3).mean(0) for r, f in predictions.items()}
    assert torch.equal(variant_errors(union(q).fit(0.1), 3), errors[0.1])
    best = min(float(e[0]) for e in errors.values())
    assert choose_union_ridge(union(q), grid) == max(r for r in grid if float(errors[r][0]) == best)
    first = torch.tensor([1.0, 0.0, 0.0]).double().repeat(10)
    kept = first > 0
    losses = [torch.nn.functional.cross_entropy(t * predictions[0.1][kept], q.labels[kept]) for t in temperatures()]
    expected = float(temperatures()[torch.stack(losses).argmin()])
    assert choose_temperature(union(q).fit(0.1), first) == expected


def test_the_same_seed_gives_the_same_draws():
    q = problem(6)
    one, two = (augment(union(q), 0.1, AugmentSettings(loss="all", draws=2, seed=1)) for _ in range(2))
    assert torch.equal(one.drawn, two.drawn)
    assert not torch.equal(one.drawn[0], one.drawn[1])


def test_nothing_validates_nothing_moves():
    z = torch.eye(2, dtype=torch.float64).repeat(10, 1)
    rows = Interleaved([InMemory(z, torch.arange(20) % 2)] * 2)
    found = augment(ImageVariants(rows, 2, 2), 0.1, AugmentSettings(draws=1))
    assert found.union.history == ()
    assert (found.union.weights == 1).all()


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
    with pytest.raises(ValueError, match="parts must share one shape"):
        Interleaved([q.part(slice(0, 3)), q.part(slice(0, 4))])
    with pytest.raises(ValueError, match="agree in chunks and labels"):
        list(Interleaved([q.part(slice(0, 10)), q.part(slice(10, 20))]))
    with pytest.raises(ValueError, match="variants must divide"):
        ImageVariants(q.chunks(6), q.classes, 7)
    with pytest.raises(ValueError, match="draws must"):
        augment(union(q), 0.1, AugmentSettings(draws=-1))
    with pytest.raises(ValueError, match="validate_on"):
        augment(union(q), 0.1, AugmentSettings(validate_on="some"))
