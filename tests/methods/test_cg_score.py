import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from diva.methods import cg_score as module
from diva.methods.cg_score import cg_score, draws, factorise, kernel, order
from diva.methods.inputs import labelled, pair
from tests.methods.samples import clusters


def gram(x):
    """H entry by entry, from its definition."""
    n = len(x)
    u = [row / np.linalg.norm(row) for row in x]
    h = np.full((n, n), 0.5)
    for i in range(n):
        for j in range(n):
            if i != j:
                cosine = min(1.0, max(-1.0, float(u[i] @ u[j])))
                h[i, j] = cosine * (math.pi - math.acos(cosine)) / (2 * math.pi)
    return h


def by_removal(x, y, own, others):
    """yᵀH⁻¹y with and without each sample of the class: one solve per sample."""
    rows = np.concatenate([own, others])
    sign = np.where(np.arange(len(rows)) < len(own), 1.0, -1.0)
    h = gram(x[rows])
    whole = sign @ np.linalg.solve(h, sign)
    left = []
    for i in range(len(own)):
        keep = np.arange(len(rows)) != i
        left.append(whole - sign[keep] @ np.linalg.solve(h[np.ix_(keep, keep)], sign[keep]))
    return np.array(left)


def naive(x, y, ratio, repeats, seed, max_rows=4096):
    random = np.random.RandomState(seed)
    total = np.zeros(len(x))
    for _ in range(repeats):
        for own, others in draws(labelled(x, y), ratio, max_rows, random):
            total[own] += by_removal(x, y, own, others)
    return total / repeats


@pytest.mark.parametrize(("ratio", "repeats"), [(1.0, 1), (1.0, 3), (4.0, 2), (0.5, 1)])
def test_closed_form_is_the_removal_of_each_row(ratio, repeats):
    x, y, _ = clusters(n=30, p=5)
    found = cg_score(labelled(x, y), ratio=ratio, repeats=repeats, seed=3).numpy()
    expected = naive(x, y, ratio, repeats, 3)
    assert np.abs(found - expected).max() < 1e-8 * np.abs(expected).max()


@pytest.mark.parametrize(("name", "tolerance"), [("rep10_ratio1", 1e-9), ("rep1_ratio1", 1e-4), ("rep1_ratio4", 1e-4)])
def test_the_authors_scores_of_digits_come_out(shared_data, name, tolerance):
    with np.load(shared_data / "cg_reference" / f"digits_{name}.npz", allow_pickle=False) as stored:
        reference = {key: stored[key] for key in stored}
    settings = {"ratio": float(reference["unbalance_ratio"]), "repeats": int(reference["rep_num"])}
    found = cg_score(labelled(reference["X"], reference["y"]), seed=int(reference["seed"]), **settings).numpy()
    assert np.abs(found / reference["vi"] - 1).max() < tolerance


def test_draws_are_in_the_authors_order():
    y = np.array([2, 0, 2, 1, 0, 2, 1])
    random, expected = np.random.RandomState(5), np.random.RandomState(5)
    rest = {2: [1, 4, 3, 6], 0: [0, 2, 5, 3, 6], 1: [0, 2, 5, 1, 4]}
    for c, (own, others) in zip((2, 0, 1), draws(labelled(np.ones((7, 1)), y), 1.0, 100, random), strict=True):
        members = np.flatnonzero(y == c)
        assert own.tolist() == sorted(members[expected.choice(range(len(members)), len(members), replace=False)])
        chosen = expected.choice(range(len(rest[c])), min(len(members), len(rest[c])), replace=False)
        assert others.tolist() == sorted(np.array(rest[c])[chosen])


def test_wrong_labels_score_high():
    x, y, bad = clusters(n=120, wrong=12)
    assert roc_auc_score(bad, cg_score(labelled(x, y))) > 0.95


def test_looked_up_and_computed_kernels_agree(monkeypatch):
    x, y, _ = clusters(n=50)
    calls = []
    monkeypatch.setattr(module, "kernel", lambda u, v: calls.append(tuple(u.shape)) or kernel(u, v))
    looked_up = cg_score(labelled(x, y), repeats=5, max_rows=64)
    assert calls == [(50, 6)]  # all pairs, once
    computed = cg_score(labelled(x, y), repeats=5, max_rows=24)
    blocks = len(calls) - 1
    assert blocks > 5
    same = cg_score(labelled(x, y), repeats=1, max_rows=64)
    assert torch.isfinite(computed).all()
    assert (same - torch.from_numpy(naive(x, y, 1.0, 1, 0))).abs().max() < 1e-8
    assert (looked_up - torch.from_numpy(naive(x, y, 1.0, 5, 0))).abs().max() < 1e-8


@pytest.mark.parametrize("ratio", [0.5, 1.0, 4.0, 100.0])
def test_no_matrix_is_larger_than_the_bound(monkeypatch, ratio):
    x, y, _ = clusters(n=90, p=3)
    y = np.where(np.arange(90) < 70, 0, y)  # one class needs several blocks, others fit
    seen = []
    monkeypatch.setattr(module, "kernel", lambda u, v: seen.append((u.shape, kernel(u, v).shape)) or kernel(u, v))
    scores = cg_score(labelled(x, y), ratio=ratio, repeats=2, max_rows=16)
    assert torch.isfinite(scores).all()
    for rows, h in seen:
        assert h[-1] <= 16
        assert math.prod(h) <= 16**2 >= math.prod(rows)


def test_blocks_are_scored_by_the_same_definition():
    x, y, _ = clusters(n=40, classes=2)
    found = cg_score(labelled(x, y), repeats=2, max_rows=10, seed=1).numpy()
    expected = naive(x, y, 1.0, 2, 1, max_rows=10)
    assert np.abs(found - expected).max() < 1e-8 * np.abs(expected).max()


def test_seed_decides_the_draws():
    x, y, _ = clusters()
    one, same, other = (cg_score(labelled(x, y), repeats=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_length_of_a_row_does_not_matter():
    x, y, _ = clusters()
    scale = np.linspace(0.1, 50, len(x))[:, None]
    assert torch.allclose(cg_score(labelled(x, y)), cg_score(labelled(x * scale, y)), rtol=1e-8)


def test_duplicates_of_one_class_are_worth_nothing():
    x, y, _ = clusters(n=30)
    x[3], x[6] = x[0], 2 * x[0]  # rows 0, 3, 6 are of one class
    y[[0, 3, 6]] = 0
    scores = cg_score(labelled(x, y))
    assert torch.isfinite(scores).all()
    assert scores[[0, 3, 6]].max() < 1e-5
    others = np.delete(np.arange(30), [0, 3, 6])
    assert scores[others].min() > 1e-5


def test_identical_rows_of_different_classes_are_the_most_suspicious():
    x, y, _ = clusters(n=30, wrong=0)
    x[1] = x[0]
    scores = cg_score(labelled(x, y), ratio=10.0)
    assert torch.isfinite(scores).all()
    assert set(scores.argsort(descending=True)[:2].tolist()) == {0, 1}


@pytest.mark.parametrize("noise", [0.0, 1e-16, 1e-12, 1e-9, 1e-7, 1e-4])
def test_scores_are_finite_however_close_rows_are(noise):
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(1, 8)), 40, 0) + noise * rng.normal(size=(40, 8))
    scores = cg_score(labelled(x, np.arange(40) % 3))
    assert torch.isfinite(scores).all()
    assert (scores >= 0).all()


def test_zero_rows_are_orthogonal_to_all():
    x, y, _ = clusters(n=30)
    x[[0, 1, 5]] = 0
    scores = cg_score(labelled(x, y))
    assert torch.allclose(scores[[0, 1, 5]], torch.tensor(2.0).double())  # (2y)² / 2
    assert torch.isfinite(scores).all()


def test_opposite_rows_are_orthogonal():
    scores = cg_score(labelled(np.array([[1.0], [-1.0]]), [0, 1]))
    assert torch.allclose(scores, torch.tensor([2.0, 2.0]).double())


def test_single_members_and_a_single_class_are_scored():
    x, y, _ = clusters(n=9)
    y = np.array([0] * 7 + [1, 2])
    assert torch.isfinite(cg_score(labelled(x, y))).all()
    alone = cg_score(labelled(x, np.zeros(9, dtype=int))).numpy()
    assert np.allclose(alone, by_removal(x, y, np.arange(9), np.arange(0)))


def test_jitter_is_added_only_where_needed():
    fine = torch.eye(3).double()[None] / 2
    singular = torch.full((1, 3, 3), 0.5).double()
    factors = factorise(torch.cat([fine, singular]))
    assert torch.equal(factors[0] @ factors[0].T, torch.linalg.cholesky(fine[0]) @ torch.linalg.cholesky(fine[0]).T)
    assert torch.allclose(factors[1] @ factors[1].T, singular[0] + 1e-8 * torch.eye(3).double(), atol=1e-12)


def test_precision_of_the_input_is_only_that_of_its_values():
    x, y, _ = clusters()
    single = x.astype(np.float32)
    assert torch.equal(cg_score(labelled(single, y)), cg_score(labelled(single.astype(np.float64), y)))


def test_order_takes_regular_pool_samples_first():
    x, y, bad = clusters(n=120, wrong=12)
    positions = order(*pair(x[:60], y[:60], x[60:], y[60:]))
    assert sorted(positions.tolist()) == list(range(60))
    wrong = np.flatnonzero(bad[60:])
    assert set(wrong.tolist()) <= set(positions[-20:].tolist())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"ratio": 0.0}, "ratio must be positive and finite, got 0.0"),
        ({"ratio": float("nan")}, "ratio must be positive"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"max_rows": 1}, "max_rows must be at least 2, got 1"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    x, y, _ = clusters()
    with pytest.raises(ValueError, match=message):
        cg_score(labelled(x, y), **option)
