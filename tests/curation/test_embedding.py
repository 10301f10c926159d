"""Points on the map are the first principal components of the core, and stay where they are when samples come."""

import numpy as np
import pytest

from diva.curation.embedding import axes, points
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
    made = points(chunked(core, 3), axes(chunked(core, 5)))
    assert np.allclose(np.abs(made), np.abs(expected), atol=1e-9)
    assert made[:, 0].std() == pytest.approx(1)
    assert np.allclose(by.shares, s[:2] ** 2 / (s**2).sum())
    assert (np.take_along_axis(by.directions, np.abs(by.directions).argmax(0)[None], 0) > 0).all()
    more = np.concatenate([core, draw.normal(size=(5, 12))])
    assert np.array_equal(points(chunked(more), by)[:n], points(chunked(core), by))


@pytest.mark.parametrize("core", [np.ones((9, 3)), np.ones((0, 3)), np.ones((2, 3))])
def test_a_core_that_does_not_vary_lies_in_one_point(core: np.ndarray) -> None:
    assert not points(chunked(np.ones((4, 3))), axes(chunked(core)))[:, 1].any()
