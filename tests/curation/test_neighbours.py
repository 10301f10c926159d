"""Near-duplicates against a loop over all pairs; blocks and chunks change nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diva.curation import neighbours
from diva.curation.neighbours import Array, mean, near_duplicates
from diva.numerics.chunks import InMemory


def chunks(rows: Array, size: int = 100) -> InMemory:
    return InMemory(rows, np.zeros(len(rows), np.int64), size)


def naive(rows: Array, references: Array, centre: Array, threshold: float) -> list[tuple[int, int]]:
    """The definition: references first, then earlier rows that stay."""

    def cosine(a: Array, b: Array) -> float:
        a, b = a - centre, b - centre
        return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))

    found: list[tuple[int, int]] = []
    for i, row in enumerate(rows):
        far = [j for j, other in enumerate(references) if cosine(row, other) >= threshold]
        kept = [j for j in range(i) if found[j] == (-1, -1) and cosine(row, rows[j]) >= threshold]
        found.append((far[0] if far else -1, kept[0] if kept and not far else -1))
    return found


NUMBERS = {"n": st.integers(0, 40), "m": st.integers(0, 20), "size": st.integers(1, 15), "block": st.integers(1, 9)}


@given(seed=st.integers(0, 999), **NUMBERS)
def test_the_first_stays_whatever_the_blocks(seed: int, n: int, m: int, size: int, block: int) -> None:
    random = np.random.default_rng(seed)
    rows, references, centre = random.normal(size=(n, 3)), random.normal(size=(m, 3)), random.normal(size=3) / 9
    before, neighbours.BLOCK = neighbours.BLOCK, block
    try:
        near = near_duplicates(chunks(rows, size), chunks(references, size), centre, 0.9)
    finally:
        neighbours.BLOCK = before
    assert list(zip(near.reference.tolist(), near.row.tolist(), strict=True)) == naive(rows, references, centre, 0.9)
    assert (near.cosine[near.any] >= 0.9 - 1e-5).all()
    assert np.isnan(near.cosine[~near.any]).all()


def test_a_chain_keeps_its_ends() -> None:
    angles = np.deg2rad([0, 20, 40])
    rows = np.stack([np.cos(angles), np.sin(angles)], 1)
    near = near_duplicates(chunks(rows), chunks(rows[:0]), np.zeros(2), float(np.cos(np.deg2rad(25))))
    assert near.row.tolist() == [-1, 0, -1], "the last is near the second only, which does not stay"


def test_equal_rows_are_near_at_one_and_a_row_that_is_the_mean_is_near_nothing() -> None:
    rows = np.array([[1.0, 2], [1, 2], [4, 0], [4, 0]])
    centre = mean(chunks(rows, 3))
    assert centre.tolist() == [2.5, 1]
    assert near_duplicates(chunks(rows), chunks(rows[:0]), centre, 1.0).row.tolist() == [-1, 0, -1, 2]
    assert not near_duplicates(chunks(rows[:2]), chunks(rows[:0]), rows[0], 0.5).any.any()


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.5, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold must be a cosine above 0 and at most 1"):
        near_duplicates(chunks(np.eye(2)), chunks(np.eye(2)), np.zeros(2), threshold)


def test_references_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="references must have 2 features, as the rows, got 3"):
        near_duplicates(chunks(np.eye(2)), chunks(np.eye(3)), np.zeros(2), 0.9)


def test_many_pairs_are_said_first_with_the_hours_that_they_take(caplog, monkeypatch):
    rows = np.random.default_rng(0).standard_normal((30, 4))
    near_duplicates(chunks(rows), chunks(rows[:5]), np.zeros(4), 0.9)
    assert not caplog.records
    monkeypatch.setattr(neighbours, "MANY", 30 * 5 + 30 * 29 // 2 - 1)
    near_duplicates(chunks(rows), chunks(rows[:5]), np.zeros(4), 0.9)
    near_duplicates(chunks(rows), chunks(rows[:5]), np.zeros(4), 0.9, within=False)  # fewer
    assert len(caplog.records) == 1
    assert neighbours.outlook(300_000, 45_000_000_000, 5_000_000).startswith(
        "300,000 rows are compared for near-duplicates, 4.5e+10 pairs: about 2.5 hours."
    )
