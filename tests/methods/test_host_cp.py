import math

import numpy as np
import pytest
import torch
from torch import nn

from diva.methods import host_cp as module
from diva.methods.host_cp import Loop, Settings, host_cp
from diva.methods.host_cp_program import smooth

QUICK = {"epochs": 1, "hidden": 8, "parallel": 2}


def clusters(seed=0, n=160, classes=4, features=6, spread=0.3):
    """Features (n, p) around one centre a class, labels (n,)."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centres = 2 * torch.randn(classes, features, generator=g, dtype=torch.float64)
    return centres[labels] + spread * torch.randn(n, features, generator=g, dtype=torch.float64), labels


def loop(x=None, labels=None, **options):
    if x is None:
        x, labels = clusters()
    return Loop(module.unit(x), labels, int(labels.max()) + 1, Settings(**{**QUICK, **options}))


def after_one_step(run, rows, scores):
    """θ̂, by automatic differentiation of the cross-entropy of each row."""
    theta = run.theta.clone().requires_grad_()
    losses = nn.functional.cross_entropy(run.z[rows] @ theta, run.labels[rows], reduction="none")
    return theta - 0.1 * torch.autograd.grad((scores.detach() * losses).sum(), theta)[0]


def some_rows(run, count=12):
    run.theta = 0.3 * torch.randn(run.theta.shape, generator=torch.Generator().manual_seed(3), dtype=run.theta.dtype)
    scores = torch.rand(count, generator=torch.Generator().manual_seed(4), dtype=run.theta.dtype)
    return run.learning[:count], scores


def test_held_out_loss_is_the_cross_entropy_after_the_step():
    run = loop()
    rows, scores = some_rows(run)
    logits = run.z[run.held_out] @ after_one_step(run, rows, scores)
    expected = nn.functional.cross_entropy(logits, run.labels[run.held_out])
    torch.testing.assert_close(run.validation_loss(rows, scores), expected, rtol=1e-12, atol=0)


def test_loo_loss_leaves_each_row_out_of_the_step_it_validates():
    run = loop(validate="loo")
    rows, scores = some_rows(run)
    losses = []
    for i, row in enumerate(rows):
        without = scores.clone()
        without[i] = 0
        logits = run.z[row] @ after_one_step(run, rows, without)
        losses.append(nn.functional.cross_entropy(logits[None], run.labels[row, None]))
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(run.validation_loss(rows, scores), expected, rtol=1e-12, atol=0)
    assert len(run.held_out) == 0


def test_theta_steps_down_the_gradient_of_the_kept_rows():
    run = loop()
    rows, scores = some_rows(run)
    torch.testing.assert_close(run.theta - run.descent(rows, scores), after_one_step(run, rows, scores))


@pytest.mark.parametrize("validate", ["held_out", "loo"])
@pytest.mark.parametrize("term", ["quadratic", "entropy"])
def test_the_selector_learns_by_the_gradient_of_the_loss_after_the_step(validate, term):
    run = loop(validate=validate, term=term)
    run.selector.train()
    run.theta = 0.3 * torch.randn(run.theta.shape, generator=torch.Generator().manual_seed(3), dtype=run.theta.dtype)
    rows, kept = run.learning[:80].view(2, 40), run.learning[80:100]
    weight = run.selector.weight

    def loss():
        new, old = run.distances(rows, kept)
        scores = smooth(new, old, 8.0, term=term, coefficient=0.05, tolerance=1e-12).scores
        return run.validation_loss(rows.flatten(), scores.flatten())

    gradient = torch.autograd.grad(loss(), weight)[0]
    assert gradient.abs().max() > 1e-5
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(5), dtype=weight.dtype)
    with torch.no_grad():
        weight += 1e-4 * direction
        above = loss()
        weight -= 2e-4 * direction
        below = loss()
    # Within the step some shares reach 0, where the quadratic program has kinks.
    tolerance = 1e-4 if term == "entropy" else 0.02
    assert float((above - below) / 2e-4) == pytest.approx(float((gradient * direction).sum()), rel=tolerance)


def test_the_selector_moves_with_smooth_and_stands_still_with_published():
    for program, moves in (("smooth", True), ("published", False)):
        run = loop(program=program)
        start = run.selector.weight.clone()
        epoch = run.epoch()
        assert torch.equal(run.selector.weight, start) is not moves
        assert (epoch.gradient > 0) is moves


@pytest.mark.parametrize("program", ["smooth", "published"])
def test_the_derivative_is_high_for_wrong_labels(program):
    x, labels = clusters(n=200)
    wrong = torch.zeros(200, dtype=torch.bool)
    wrong[torch.randperm(200, generator=torch.Generator().manual_seed(0))[:20]] = True
    given = torch.where(wrong, (labels + 1) % 4, labels)
    derivative = host_cp(x, given, Settings(program=program, validate="loo", epochs=2)).derivative
    assert float((derivative[wrong, None] > derivative[~wrong]).double().mean()) > 0.9  # AUROC
    held_out = host_cp(x, given, Settings(program=program, epochs=1)).derivative
    assert int(held_out.isnan().sum()) == 40
    assert host_cp(x, given, Settings(program=program, epochs=0)).derivative.isnan().all()


def test_each_new_point_has_its_nearest_kept_point_at_hand():
    run = loop(nearest=40)
    rows, kept = run.learning[:20].view(2, 10), run.learning[20:]
    near = run.nearest(rows, kept)
    assert near.shape == (2, 40)
    run.selector.eval()
    with torch.no_grad():
        for points, found in zip(rows, near, strict=True):
            assert len(found.unique()) == 40
            distances = torch.cdist(run.selector(run.x[points]), run.selector(run.x[kept]))
            assert set(kept[distances.argmin(1)].tolist()) <= set(found.tolist())
    assert run.nearest(rows, kept[:3]).shape == (2, 3)
    assert run.nearest(rows, kept[:0]).shape == (2, 0)


@pytest.mark.parametrize("n", [9, 80, 83, 200])
def test_an_epoch_visits_every_row_once(n):
    run = loop(*clusters(n=n), parallel=3)
    batches = list(run.mini_batches(run.learning, run.generator))
    assert sorted(torch.cat([rows.flatten() for rows in batches]).tolist()) == sorted(run.learning.tolist())
    assert all(len(rows) <= 3 and rows.shape[1] <= 40 for rows in batches)


def test_rows_held_out_are_valued_but_not_learned_from():
    x, labels = clusters()
    run = loop(x, labels)
    run.epoch()
    assert run.visits[run.held_out].sum() == 0
    run.last_pass()
    assert (run.visits[run.held_out] == 1).all()
    assert (run.visits[run.learning] == 2).all()


def test_the_last_pass_asks_a_learned_and_an_untrained_selector_the_same():
    fresh, learned = loop(), loop()
    learned.epoch()
    learned.selector.load_state_dict(fresh.selector.state_dict())
    assert torch.equal(learned.last_pass(), fresh.last_pass())


@pytest.mark.parametrize("program", ["smooth", "published"])
def test_the_set_is_what_reaches_the_threshold_and_about_the_share_asked_for(program):
    x, labels = clusters()
    found = host_cp(x, labels, Settings(**QUICK, program=program))
    assert torch.equal(found.selected, found.norms >= 0.9)
    assert torch.equal(found.scores, torch.where(found.selected, found.norms, 0.0))
    assert 0.1 * 160 <= int(found.selected.sum()) <= 0.2 * 160
    assert ((found.mean_norms >= 0) & (found.mean_norms <= 1 + 1e-6)).all()
    assert len(found.history) == 1
    assert math.isfinite(found.history[0].loss)


@pytest.mark.parametrize("program", ["smooth", "published"])
def test_same_seed_same_set_whatever_the_global_random_state(program):
    x, labels = clusters()
    runs = []
    for state in (1, 2):
        torch.manual_seed(state)
        runs.append(host_cp(x, labels, Settings(**QUICK, program=program)))
    assert torch.equal(runs[0].norms, runs[1].norms)
    other = host_cp(x, labels, Settings(**QUICK, program=program, seed=1))
    assert not torch.equal(other.selected, runs[0].selected)


def test_smooth_covers_every_cluster_of_a_stream_sorted_by_cluster():
    x, labels = clusters(n=400, classes=10, features=12, spread=0.05)
    found = host_cp(x, labels, Settings(**QUICK, fraction=0.05))
    assert len(labels[found.selected].unique()) == 10


def test_validation_loss_falls():
    x, labels = clusters(n=400)
    history = host_cp(x, labels, Settings(epochs=3, hidden=16)).history
    assert history[2].loss < history[1].loss < history[0].loss


def test_arrays_lists_and_names_of_classes_give_the_same_set():
    x, labels = clusters(n=60, classes=3)
    found = host_cp(x, labels, Settings(**QUICK))
    names = np.array(["ape", "bee", "cat"])[labels.numpy()]
    assert torch.equal(host_cp(x.numpy(), names, Settings(**QUICK)).norms, found.norms)
    assert torch.equal(host_cp(x.tolist(), labels.tolist(), Settings(**QUICK)).norms, found.norms)


@pytest.mark.parametrize("program", ["smooth", "published"])
@pytest.mark.parametrize("validate", ["held_out", "loo"])
def test_constant_features_keep_finite_scores(program, validate):
    found = host_cp(np.ones((90, 5)), np.arange(90) % 3, Settings(**QUICK, program=program, validate=validate))
    assert torch.isfinite(found.norms).all()
    if program == "smooth":  # one of each first mini-batch stands for all
        assert 1 <= int(found.selected.sum()) <= 2


@pytest.mark.parametrize("n", [3, 5, 41])
def test_few_rows_are_enough(n):
    x, labels = clusters(n=n, classes=2)
    found = host_cp(x, labels, Settings(**QUICK))
    assert int(found.selected.sum()) >= 1


def test_zero_rows_and_half_precision_are_taken():
    x, labels = clusters(n=60)
    x[3] = 0
    found = host_cp(x.half(), labels, Settings(**QUICK))
    assert torch.isfinite(found.norms).all()


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.full((9, 2), np.nan), [0, 1, 2] * 3, "features must be finite, got NaN or infinity in row 0"),
        (np.ones((9, 2)), [0] * 9, "labels must hold at least 2 different classes, got 1"),
        (np.ones((9, 2)), [0] * 8, "labels must have one entry per row of features"),
        (np.ones((2, 2)), [0, 1], "features must hold at least 3 rows, got 2"),
    ],
)
def test_bad_data_is_named(features, labels, message):
    with pytest.raises(ValueError, match=message):
        host_cp(features, labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"program": "cvx"}, "program must be one of published, smooth, got 'cvx'"),
        ({"validate": "test"}, "validate must be one of held_out, loo, got 'test'"),
        ({"term": "cubic"}, "term must be one of quadratic, entropy, got 'cubic'"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"epochs": -1}, "epochs must be at least 0, got -1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive and finite, got 0.0"),
        ({"coefficient": math.nan}, "coefficient must be positive and finite, got nan"),
        ({"fraction": 0.01}, r"fraction must lie in 1/batch_size … 1 \(0.025 … 1\), got 0.01; a larger batch_size"),
        ({"fraction": 1.5}, "fraction must lie in"),
        ({"validation_share": 1.0}, r"validation_share must lie in \(0, 1\), got 1.0"),
    ],
)
def test_settings_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Settings(**options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_changes_no_choice():
    x, labels = clusters()
    settings = Settings(**QUICK)
    on_cpu, on_gpu = (host_cp(x, labels, settings, device=d, dtype=torch.float64) for d in ("cpu", "cuda"))
    assert float((on_cpu.selected == on_gpu.selected).double().mean()) > 0.95
