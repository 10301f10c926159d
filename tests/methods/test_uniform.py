import numpy as np

from diva.methods.inputs import labelled, pair
from diva.methods.uniform import balanced_order, balanced_uniform, order, uniform
from tests.methods.samples import clusters

X = np.ones((40, 2))
Y = np.array([0] * 20 + [1] * 15 + [2] * 5)


def best(values):
    return values.argsort(descending=True).tolist()


def test_every_sample_has_its_own_place():
    for method in (uniform, balanced_uniform):
        assert sorted(method(labelled(X, Y)).tolist()) == list(range(40))


def test_seed_decides():
    for method in (uniform, balanced_uniform):
        assert best(method(labelled(X, Y), seed=3)) == best(method(labelled(X, Y), seed=3))
        assert best(method(labelled(X, Y), seed=3)) != best(method(labelled(X, Y), seed=4))


def test_places_are_uniform():
    mean = np.mean([uniform(labelled(X, Y), seed=seed).numpy() for seed in range(400)], axis=0)
    assert np.abs(mean - 19.5).max() < 4 * (40**2 / 12 / 400) ** 0.5


def test_balanced_prefixes_are_as_balanced_as_can_be():
    chosen = best(balanced_uniform(labelled(X, Y), seed=1))
    for size in range(1, 41):
        counts = np.bincount(Y[chosen[:size]], minlength=3)
        left = np.bincount(Y, minlength=3) - counts
        assert counts[left > 0].max(initial=0) - counts[left > 0].min(initial=99) <= 1


def test_order_of_a_pool_takes_each_sample_once():
    x, y, _ = clusters()
    for choose in (order, balanced_order):
        assert sorted(choose(*pair(x[:20], y[:20], x[20:], y[20:]), seed=2).tolist()) == list(range(40))


def test_balanced_order_makes_up_for_the_core():
    chosen = balanced_order(*pair(np.ones((6, 1)), [0, 0, 0, 0, 1, 1], np.ones((6, 1)), [0, 0, 1, 1, 2, 2]))
    classes = np.array([0, 0, 1, 1, 2, 2])[chosen]
    assert classes[:2].tolist() == [2, 2]
    assert sorted(classes[2:4].tolist()) == [1, 1]
