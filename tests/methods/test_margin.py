import numpy as np
import pytest
import torch

from diva.methods.inputs import labelled, pair
from diva.methods.margin import margin, order, smallest_margin, smallest_margin_order
from tests import naive
from tests.methods.samples import clusters

RIDGE = 0.1


def unit_rows(x):
    z = torch.from_numpy(x / np.linalg.norm(x, axis=1, keepdims=True))
    return torch.cat([z, torch.ones(len(z), 1).double()], 1)


def by_loops(predictions, labels):
    rows = [(row.tolist(), int(label)) for row, label in zip(predictions, labels, strict=True)]
    return torch.tensor([row[y] - max(row[:y] + row[y + 1 :]) for row, y in rows], dtype=torch.float64)


def test_margins_come_from_refits():
    x, y, _ = clusters(n=30)
    labels = torch.from_numpy(y)
    predictions = naive.loo_predictions_by_refits(unit_rows(x), labels, 3, RIDGE, torch.ones(30).double())
    expected = by_loops(predictions, labels)
    assert torch.allclose(margin(labelled(x, y), ridge=RIDGE), -expected, atol=1e-10)
    assert torch.allclose(smallest_margin(labelled(x, y), ridge=RIDGE), -expected.abs(), atol=1e-10)


def test_orders_come_from_the_cores_model():
    x, y, _ = clusters(n=60)
    core, pool = unit_rows(x[:30]), unit_rows(x[30:])
    head = naive.head(core, torch.from_numpy(y[:30]), 3, RIDGE, torch.ones(30).double())
    m = by_loops(pool @ head, y[30:])
    arguments = (x[:30], y[:30], x[30:], y[30:])
    assert order(*pair(*arguments), ridge=RIDGE).tolist() == m.argsort(descending=True).tolist()
    assert smallest_margin_order(*pair(*arguments), ridge=RIDGE).tolist() == m.abs().argsort().tolist()


@pytest.mark.parametrize("normalize", ["unit", "none", "standardize"])
def test_pool_is_scaled_like_the_core(normalize):
    x, y, bad = clusters(n=60)
    positions = order(*pair(x[:30], y[:30], x[30:], y[30:]), normalize=normalize)
    assert set(np.flatnonzero(bad[30:]).tolist()) == set(positions[-int(bad[30:].sum()) :].tolist())


def test_one_class_in_the_core_is_refused():
    x, _, _ = clusters(n=10)
    with pytest.raises(ValueError, match="at least 2 different classes, got 1"):
        order(*pair(x[:5], [0] * 5, x[5:], [0, 1, 0, 1, 0]))
