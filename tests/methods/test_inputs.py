import numpy as np
import pytest
import torch

from diva.methods.inputs import labelled, pair
from diva.numerics.normalize import unit


@pytest.mark.parametrize(
    ("given", "kept"),
    [(np.float16, torch.float32), (np.float32, torch.float32), (np.float64, torch.float64), (np.uint8, torch.float64)],
)
def test_precision_follows_the_features(given, kept):
    assert labelled(np.ones((2, 3), dtype=given), [0, 1]).features.dtype == kept


def test_lists_arrays_and_tensors_are_the_same():
    rows = [[1.0, 2.0], [3.0, 4.0]]
    for features in (rows, np.array(rows), torch.tensor(rows, dtype=torch.float64)):
        assert labelled(features, ["b", "a"]).features.tolist() == rows


@pytest.mark.parametrize(
    ("labels", "classes", "codes", "k"),
    [
        (["b", "a", "b"], None, [1, 0, 1], 2),
        (["b", "a", "b"], ["b", "c", "a"], [0, 2, 0], 3),
        ([7, 3, 7], None, [1, 0, 1], 2),
        ([2, 0, 2], 4, [2, 0, 2], 4),
        ([2.0, 0.0, 2.0], None, [1, 0, 1], 2),
        ([True, False, True], None, [1, 0, 1], 2),
        (torch.tensor([5, 1, 5]), None, [1, 0, 1], 2),
        (np.array(["x", "y", "x"], dtype=object), None, [0, 1, 0], 2),
    ],
)
def test_labels_become_codes(labels, classes, codes, k):
    data = labelled(np.ones((3, 1)), labels, classes)
    assert data.labels.tolist() == codes
    assert data.classes == k
    assert [rows.tolist() for rows in data.members()] == [[i for i in range(3) if codes[i] == c] for c in range(k)]


@pytest.mark.parametrize(
    ("features", "labels", "classes", "message"),
    [
        (np.ones(3), [0, 1, 0], None, r"features must have shape \(n, p\) with n, p > 0, got \(3,\)"),
        (np.ones((0, 3)), [], None, "features must have shape"),
        (np.ones((2, 2)) * 1j, [0, 1], None, "features must be real"),
        (np.array([[1.0], [np.nan]]), [0, 1], None, "features must be finite, got NaN or infinity in row 1"),
        (np.array([[np.inf], [1.0]]), [0, 1], None, "in row 0"),
        (np.ones((2, 1)), [0, 1, 2], None, r"labels must have one entry per row of features \(2\), got 3"),
        (np.ones((2, 1)), [[0], [1]], None, r"labels must have shape \(n,\), got \(2, 1\)"),
        (np.ones((2, 1)), [0, np.nan], None, "labels must be integers or strings, got nan in row 1"),
        (np.ones((2, 1)), [0.5, 1], None, "labels must be integers or strings, got 0.5 in row 0"),
        (np.ones((2, 1)), np.array(["a", None], dtype=object), None, "labels must not be missing, got None in row 1"),
        (np.ones((2, 1)), [0, 2], 2, r"labels must be codes in 0..1, got 0..2"),
        (np.ones((2, 1)), [-1, 1], 2, r"labels must be codes in 0..1, got -1..1"),
        (np.ones((2, 1)), ["a", "b"], 2, "labels must be codes"),
        (np.ones((2, 1)), ["a", "b"], ["a", "c"], "labels must be among the 2 classes, got .*b"),
    ],
)
def test_bad_input_is_named(features, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        labelled(features, labels, classes)


def test_too_few_classes_are_refused():
    with pytest.raises(ValueError, match="labels must hold at least 2 different classes, got 1"):
        labelled(np.ones((3, 1)), [4, 4, 4]).require_classes(2)


def test_core_and_pool_share_their_codes():
    core, pool = pair(np.ones((2, 1)), ["b", "c"], np.ones((2, 1)), ["a", "c"])
    assert (core.labels.tolist(), pool.labels.tolist()) == ([1, 2], [0, 2])
    assert core.classes == pool.classes == 3
    with pytest.raises(ValueError, match="pool_features must have 1 columns, like the core's, got 2"):
        pair(np.ones((2, 1)), [0, 1], np.ones((2, 2)), [0, 1])
    with pytest.raises(ValueError, match="at least 2 different classes, got 1"):
        pair(np.ones((2, 1)), [0, 0], np.ones((2, 1)), [0, 1])[0].require_classes(2)


def test_a_zero_row_stays_zero():
    assert unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]
