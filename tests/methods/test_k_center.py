import numpy as np
import pytest
import torch

from diva.methods.inputs import labelled, pair
from diva.methods.k_center import k_center, nearest, order
from tests.methods.samples import clusters


def farthest_first(x, centres, budget):
    """Every distance to every centre, again at each step."""
    centres, chosen = list(centres), []
    for _ in range(budget):
        distance = [-1 if i in chosen else min(np.linalg.norm(row - c) for c in centres) for i, row in enumerate(x)]
        chosen.append(int(np.argmax(distance)))
        centres.append(x[chosen[-1]])
    return chosen


def best(values):
    return values.argsort(descending=True).tolist()


@pytest.mark.parametrize("normalize", [True, False])
def test_choice_is_the_farthest_from_those_before(normalize):
    x, y, _ = clusters(n=40)
    rows = x / np.linalg.norm(x, axis=1, keepdims=True) if normalize else x
    chosen = best(k_center(labelled(x, y), normalize=normalize))
    first = int(np.argmin(np.linalg.norm(rows - rows.mean(0), axis=1)))
    assert chosen[0] == first
    assert chosen[1:15] == farthest_first(rows, [rows[first]], 14)


def test_a_pool_is_covered_around_the_core():
    x, y, _ = clusters(n=40)
    found = order(*pair(x[:10], y[:10], x[10:], y[10:]), normalize=False).tolist()
    assert found[:12] == farthest_first(x[10:], x[:10], 12)
    assert sorted(found) == list(range(30))


def test_as_many_centres_as_clusters_reach_every_cluster():
    x, y, _ = clusters(n=90, classes=9, p=20, spread=0.05, wrong=0)
    assert sorted(y[best(k_center(labelled(x, y)))[:9]].tolist()) == list(range(9))


def test_a_budget_leaves_its_choice_alone():
    x, y, _ = clusters()
    whole, part = best(k_center(labelled(x, y))), best(k_center(labelled(x, y), budget=10))
    assert part[:10] == whole[:10]
    assert part[10] == whole[10]  # the next one is known already
    assert sorted(part) == list(range(60))


def test_duplicates_come_last_in_the_order_of_the_rows():
    x, y, _ = clusters(n=20)
    x[[4, 9]] = x[0]
    assert sorted(best(k_center(labelled(x, y)))[-2:]) in ([0, 4], [0, 9], [4, 9])
    assert best(k_center(labelled(np.ones((4, 2)), [0, 1, 0, 1]))) == [0, 1, 2, 3]


def test_blocks_change_no_distance(monkeypatch):
    x, centres = (torch.from_numpy(clusters(seed)[0]) for seed in (0, 1))
    whole = nearest(x, centres)
    monkeypatch.setattr("diva.methods.k_center.BLOCK", 7 * len(centres))
    assert torch.allclose(nearest(x, centres), whole)
    assert torch.allclose(whole, torch.cdist(x, centres).amin(1) ** 2)


@pytest.mark.parametrize("budget", [0, 61])
def test_budget_out_of_range_is_refused(budget):
    x, y, _ = clusters()
    with pytest.raises(ValueError, match=rf"budget must lie in 1..60 \(the samples\), got {budget}"):
        k_center(labelled(x, y), budget=budget)
