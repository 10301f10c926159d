"""Points on the map are the first principal components of the core, and stay where they are when samples come."""

import numpy as np
import pytest

from diva.curation.embedding import axes, landmarks, umap
from diva.numerics.chunks import InMemory


def chunked(rows: np.ndarray, size: int = 1000) -> InMemory:
    return InMemory(rows, np.zeros(len(rows)), size)


@pytest.mark.parametrize("n", [200, 7])  # more rows than features, and fewer
def test_points_are_those_of_the_singular_value_decomposition_whatever_the_chunks(n: int) -> None:
    draw = np.random.default_rng(n)
    core = draw.normal(size=(n, 12)) * np.linspace(5, 1, 12) + 3
    by = axes(chunked(core))
    _, s, v = np.linalg.svd(core - core.mean(0), full_matrices=False)
    expected = (core - core.mean(0)) @ v[:2].T / (s[0] / np.sqrt(n))
    made = axes(chunked(core, 5)).points(chunked(core, 3))
    assert np.allclose(np.abs(made), np.abs(expected), atol=1e-9)
    assert made[:, 0].std() == pytest.approx(1)
    assert np.allclose(by.shares, s[:2] ** 2 / (s**2).sum())
    assert (np.take_along_axis(by.directions, np.abs(by.directions).argmax(0)[None], 0) > 0).all()
    more = np.concatenate([core, draw.normal(size=(5, 12))])
    assert np.array_equal(by.points(chunked(more))[:n], by.points(chunked(core)))


@pytest.mark.parametrize("core", [np.ones((9, 3)), np.ones((0, 3)), np.ones((2, 3))])
def test_a_core_that_does_not_vary_lies_in_one_point(core: np.ndarray) -> None:
    assert not axes(chunked(core)).points(chunked(np.ones((4, 3))))[:, 1].any()


def test_a_sample_lies_by_the_nearest_landmarks_and_a_landmark_where_it_is() -> None:
    draw = np.random.default_rng(0)
    core, places = draw.normal(size=(40, 6)).astype(np.float32), draw.normal(size=(40, 2))
    by = landmarks(chunked(core), places)
    standard = (places - places.mean(0)) / places[:, 0].std()
    assert np.allclose(by.points(chunked(core, 7)), standard, atol=1e-3)
    other = draw.normal(size=(9, 6)).astype(np.float32)
    rows = [(row - core.mean(0)).astype(np.float64) for row in (*core, *other)]
    unit = np.array([row / np.linalg.norm(row) for row in rows])
    for point, row in zip(by.points(chunked(other, 4)), unit[40:], strict=True):
        cosines = unit[:40] @ row
        nearest = np.argsort(-cosines)[:5]
        weights = 1 / (1 - cosines[nearest])
        assert np.allclose(point, weights @ standard[nearest] / weights.sum(), atol=1e-4)


def test_umap_keeps_classes_together_and_is_the_same_for_the_same_seed() -> None:
    pytest.importorskip("umap", reason="the extra umap is not installed")
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    rows = (4 * np.eye(3)[labels] @ draw.normal(size=(3, 8)) + draw.normal(size=(60, 8))).astype(np.float32)
    places = umap(chunked(rows), 10, 0.1, seed=0)
    assert np.array_equal(places, umap(chunked(rows), 10, 0.1, seed=0))
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    same = labels[:, None] == labels[None]
    assert distances[same].mean() < distances[~same].mean() / 2
    with pytest.raises(ValueError, match=r"embed\.neighbours must be less than the core's 10 samples, got 10"):
        umap(chunked(rows[:10]), 10, 0.1, seed=0)
