import numpy as np
import pytest
import torch

from diva import estimators
from diva.curation.reweight import FOLDS, floored, folds_needed, reweight, step, stop_at, validation_folds, walk
from diva.numerics.chunks import InMemory
from diva.numerics.losses import Loss
from diva.numerics.precision import fit_ridge
from tests import naive
from tests.problems import problem, relative_error

pytestmark = pytest.mark.usefixtures("arithmetic")

EACH_LOSS = pytest.mark.parametrize("loss", ["all", "hard_margin", "trimmed", "calibrated"])


@EACH_LOSS
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_reweight_equals_steps_down_the_autograd_gradient(loss, steps, seed):
    q = problem(seed)
    actual = reweight(q.fit(q.chunks()), loss=loss, steps=steps, step_size=0.3)
    expected = naive.reweight(q.z, q.labels, q.classes, q.ridge, actual.loss, steps, 0.3)
    assert relative_error(actual.weights, expected) < 1e-10
    assert len(actual.history) == steps


@EACH_LOSS
def test_a_walk_shows_the_weights_of_every_number_of_steps(loss):
    q = problem(2)
    shown = list(walk(q.fit(q.chunks()), loss=loss, steps=3))
    ends = [reweight(q.fit(q.chunks()), loss=loss, steps=taken) for taken in range(5)]
    assert len(shown) == 4
    for taken, (lost, weights) in enumerate(shown):
        assert torch.equal(weights, ends[taken].weights)
        assert lost == ends[taken + 1].history[taken].loss


def test_history_holds_the_loss_before_each_step():
    q, loss = problem(1), Loss("hard_margin")
    actual = reweight(q.fit(q.chunks()), loss="hard_margin", steps=3)
    for taken, entry in enumerate(actual.history):
        weights = naive.reweight(q.z, q.labels, q.classes, q.ridge, loss, taken, 0.5)
        value = naive.loss(q.z, q.labels, q.classes, q.ridge, weights, loss)
        assert entry.loss == pytest.approx(float(value), rel=1e-10)


def test_derivative_and_margin_are_those_at_the_start():
    q = problem()
    actual = reweight(q.fit(q.chunks()), steps=3)
    ones = torch.ones(30, dtype=torch.float64)
    at_start = naive.gradient(lambda a: naive.loss(q.z, q.labels, q.classes, q.ridge, a, actual.loss), ones)
    assert relative_error(actual.derivative, at_start) < 1e-10
    assert torch.equal(reweight(q.fit(q.chunks()), steps=0).derivative, actual.derivative)


@EACH_LOSS
def test_weights_are_never_negative(loss):
    q = problem(2)
    weights = reweight(q.fit(q.chunks()), loss=loss, steps=6, step_size=3.0).weights
    assert (weights >= 0).all()
    assert (weights == 0).any()  # the step was long enough to need the bound


def test_step_size_is_the_largest_change_of_a_weight():
    derivative = torch.tensor([2.0, -4.0, 1.0], dtype=torch.float64)
    ones = torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(step(ones, derivative, 0.5), torch.tensor([0.75, 1.5, 0.875], dtype=torch.float64))
    assert step(ones, torch.zeros(3), 0.5) is ones


def test_no_steps_return_the_weights_they_were_given():
    q = problem()
    result = reweight(q.fit(q.chunks(), q.weights), steps=0)
    assert torch.equal(result.weights, q.weights)
    assert result.history == ()


@pytest.mark.parametrize("steps", [3, "auto"])
def test_where_nothing_validates_the_weights_stay(steps):
    z = torch.eye(2, dtype=torch.float64).repeat(10, 1)
    start = torch.linspace(0.5, 2, 20, dtype=torch.float64)
    result = reweight(fit_ridge(InMemory(z, torch.arange(20) % 2), 2, 0.1, start), loss="hard_margin", steps=steps)
    assert torch.equal(result.weights, start)
    assert result.history == ()
    assert (result.derivative == 0).all()


@pytest.mark.parametrize("chunk_size", [1, 7, 100])
def test_chunk_size_changes_nothing(chunk_size):
    q = problem()
    whole = reweight(q.fit(q.chunks(30))).weights
    assert relative_error(reweight(q.fit(q.chunks(chunk_size))).weights, whole) < 1e-11


@pytest.mark.parametrize("seed", range(3))
def test_auto_takes_two_to_six_steps_whatever_the_chunk_size(seed):
    q = problem(seed)
    results = [reweight(q.fit(q.chunks(size)), steps="auto") for size in (4, 30)]
    assert 2 <= len(results[0].history) <= 6
    assert len(results[0].history) == len(results[1].history) == stop_at(results[0].watched_losses)
    assert results[0].watched_losses == pytest.approx(results[1].watched_losses, rel=1e-10)
    assert len(results[0].watched_losses) == min(6, len(results[0].history) + 1) + 1  # none is watched for nothing
    assert relative_error(results[0].weights, results[1].weights) < 1e-10


@pytest.mark.parametrize(("n", "folds"), [(1, 4), (20_000, 4), (26_000, 4), (27_000, 3), (80_000, 1), (10**7, 1)])
def test_folds_are_made_until_they_hold_enough_rows(n, folds):
    assert folds_needed(n, 4) == folds


@pytest.mark.parametrize(("enough", "watched"), [(20_000, FOLDS), (10, 2), (1, 1)])
def test_auto_watches_samples_that_the_derivative_does_not_see(monkeypatch, enough, watched):
    monkeypatch.setattr("diva.curation.reweight.ENOUGH", enough)
    q, size = problem(1), 0.5
    result = reweight(q.fit(q.chunks()), steps="auto", step_size=size)
    fold = torch.randperm(30, generator=torch.Generator().manual_seed(0)) % FOLDS
    means = torch.zeros(2, dtype=torch.float64)
    for left in range(watched):
        alpha = torch.ones(30, dtype=torch.float64)
        args = q.z, q.labels, q.classes, q.ridge
        means[0] += naive.loss(*args, alpha, result.loss, fold == left) / watched
        g = naive.gradient(lambda a, left=left, args=args: naive.loss(*args, a, result.loss, fold != left), alpha)
        alpha = (alpha - size * g / g.abs().max()).clamp_min(0)
        means[1] += naive.loss(*args, alpha, result.loss, fold == left) / watched
    assert result.watched_losses[:2] == pytest.approx(means.tolist(), rel=1e-10)


@pytest.mark.parametrize(
    ("held_out", "steps"),
    [
        ((7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0), 6),  # falls to the end: the most there are
        ((7.0, 6.0, 5.0, 4.0, 4.5, 2.0, 1.0), 3),  # the first rise counts, not the lowest value
        ((1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0), 2),  # rises from the start: the fewest
        ((3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.5), 5),
    ],
)
def test_auto_stops_before_the_watched_loss_rises(held_out, steps):
    assert stop_at(held_out) == steps


@EACH_LOSS
def test_separate_validation_equals_steps_down_its_own_gradient(loss):
    q, other = problem(0), problem(5, n=40)
    validation = InMemory(other.z, other.labels, 4)
    actual = reweight(q.fit(q.chunks()), loss=loss, steps=2, validation=validation)
    assert len(actual.history) == 2
    alpha = torch.ones(30, dtype=torch.float64)
    args = q.z, q.labels, q.classes, q.ridge
    for _ in range(2):
        g = naive.gradient(lambda a: naive.validation_loss(*args, a, actual.loss, other.z, other.labels), alpha)
        alpha = (alpha - 0.5 * g / g.abs().max()).clamp_min(0)
    assert relative_error(actual.weights, alpha) < 1e-10


def test_steps_end_where_nothing_validates_any_more():
    q, other = problem(0), problem(5, n=17)
    validation = InMemory(other.z, other.labels, 4)
    once, twice = (reweight(q.fit(q.chunks()), loss="trimmed", steps=steps, validation=validation) for steps in (1, 2))
    assert len(once.history) == len(twice.history) == 1  # the first step put every validating row right or past hope
    assert torch.equal(once.weights, twice.weights)


def test_a_wrong_label_loses_weight():
    q = problem(3, n=60, classes=2)
    labels = q.labels.clone()
    clean = (naive.loo_predictions_by_refits(q.z, labels, 2, q.ridge, torch.ones(60).double())).argmax(1) == labels
    wrong = int(clean.nonzero()[0])
    labels[wrong] = 1 - labels[wrong]
    weights = reweight(fit_ridge(InMemory(q.z, labels, 7), 2, q.ridge)).weights
    assert weights[wrong] < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": -1}, "steps must be 'auto' or at least 0, got -1"),
        ({"steps": "many"}, "steps must be 'auto' or at least 0, got 'many'"),
        ({"step_size": 0.0}, "step_size must be positive and finite"),
        ({"step_size": float("nan")}, "step_size must be positive and finite"),
        ({"loss": "soft_margin"}, "loss must be one of all, hard_margin"),
        ({"steps": "auto", "validation": problem().chunks()}, "steps must be a number with a separate validation"),
    ],
)
def test_what_is_out_of_range_is_named(arguments, message):
    q = problem()
    with pytest.raises(ValueError, match=message):
        reweight(q.fit(q.chunks()), **arguments)


def test_weights_to_start_from_are_one_per_row():
    q = problem()
    with pytest.raises(ValueError, match=r"weights must have shape \(30,\)"):
        reweight(q.fit(q.chunks(), torch.ones(3)))


def test_a_group_watches_or_validates_as_a_whole():
    groups = torch.arange(60) // 3
    groups[::7] = -1
    fold = validation_folds(60, groups, 0)
    for group in range(20):
        assert len(fold[groups == group].unique()) <= 1
    assert len(fold.unique()) == 4
    assert torch.equal(validation_folds(60, None, 0), validation_folds(60, torch.arange(60), 0))


def test_no_class_vanishes_and_others_stay_as_they_are():
    labels = torch.tensor([0] * 4 + [1] * 3 + [2] * 3 + [3])
    start = torch.ones(11, dtype=torch.float64)
    weights = torch.tensor([0.0, 0, 0, 0, 0, 0, 2, 0.5, 1.5, 0, 0.4], dtype=torch.float64)
    expected = torch.tensor([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 2.1, 0.5, 1.5, 0, 0.4], dtype=torch.float64)
    assert torch.equal(floored(weights, start, labels, 5), expected)
    assert torch.equal(floored(start, start, labels, 5), start)
    absent = torch.where(labels == 0, 0.0, start)
    assert torch.equal(floored(absent, absent, labels, 5), absent)  # what was not there does not come back


def test_a_rare_class_that_overlaps_a_common_one_keeps_weight():
    labels = np.repeat([0, 1], [300, 15])
    for seed in range(8):
        random = np.random.default_rng(seed)
        X = random.normal(size=(2, 20))[labels] * 0.5 + random.normal(size=(315, 20))
        rare = estimators.reweight(X, labels).weights[labels == 1]
        assert (rare > 0).sum() >= 2
        assert rare.sum() >= 1.5
