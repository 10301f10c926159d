from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from diva.methods.inputs import labelled, pair
from diva.methods.knn_shapley import closed_form, knn_shapley, order
from tests.methods.samples import clusters


def utility(subset, distance, matches, neighbours):
    """Share of right labels among the K nearest of the subset, K in the denominator even where there are fewer."""
    close = sorted(subset, key=lambda i: (distance[i], i))[:neighbours]
    return sum(matches[i] for i in close) / neighbours


def shapley(distance, matches, neighbours):
    """Mean marginal utility over all subsets, by enumeration."""
    n = len(distance)
    values = np.zeros(n)
    for i in range(n):
        rest = [j for j in range(n) if j != i]
        for size in range(n):
            for subset in combinations(rest, size):
                gain = utility((*subset, i), distance, matches, neighbours)
                gain -= utility(subset, distance, matches, neighbours)
                values[i] += gain / (n * comb(n - 1, size))
    return values


def naive(x, y, checks, check_labels, neighbours, leave_one_out=False):
    rows, others = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, checks))
    total = np.zeros(len(x))
    for v in range(len(checks)):
        players = [i for i in range(len(x)) if not (leave_one_out and i == v)]
        distance = [float(np.linalg.norm(rows[i] - others[v])) for i in players]
        total[players] += shapley(distance, [y[i] == check_labels[v] for i in players], neighbours)
    return total / (len(checks) - leave_one_out)


@pytest.mark.parametrize("neighbours", [1, 2, 5, 7, 20])
def test_closed_form_is_the_shapley_value(neighbours):
    x, y, _ = clusters(n=14, wrong=3)
    found = knn_shapley(labelled(x[:7], y[:7]), neighbours=neighbours, validation=labelled(x[7:], y[7:]))
    assert np.allclose(found, naive(x[:7], y[:7], x[7:], y[7:], neighbours), atol=1e-12)


@pytest.mark.parametrize("neighbours", [1, 3, 10])
def test_without_validation_each_sample_validates_all_others(neighbours):
    x, y, _ = clusters(n=7, wrong=2)
    expected = naive(x, y, x, y, neighbours, leave_one_out=True)
    assert np.allclose(knn_shapley(labelled(x, y), neighbours=neighbours), expected, atol=1e-12)


def test_values_share_out_the_utility_of_all():
    matches = (torch.rand(5, 30, generator=torch.Generator().manual_seed(0)) > 0.4).double()
    values = closed_form(matches, 4)
    assert torch.allclose(values.sum(1), matches[:, :4].sum(1) / 4)


def test_blocks_change_nothing(monkeypatch):
    x, y, _ = clusters()
    whole = knn_shapley(labelled(x, y))
    monkeypatch.setattr("diva.methods.knn_shapley.BLOCK", 2 * 60 * 7)
    assert torch.allclose(knn_shapley(labelled(x, y)), whole, atol=1e-14)


def test_wrong_labels_have_low_values():
    x, y, bad = clusters(n=120, wrong=12)
    assert roc_auc_score(bad, -knn_shapley(labelled(x, y))) > 0.95


def test_order_takes_what_the_core_values_most():
    x, y, _ = clusters(n=14)
    values = knn_shapley(labelled(x[7:], y[7:]), neighbours=3, validation=labelled(x[:7], y[:7]))
    assert order(*pair(x[:7], y[:7], x[7:], y[7:]), neighbours=3).tolist() == (-values).argsort(stable=True).tolist()


def test_no_neighbours_are_refused():
    x, y, _ = clusters()
    with pytest.raises(ValueError, match="neighbours must be at least 1, got 0"):
        knn_shapley(labelled(x, y), neighbours=0)
