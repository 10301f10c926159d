"""Moments of a set from those of the core."""

import h5py
import numpy as np
import polars as pl
import pytest
import torch

from diva.curation import rows
from diva.numerics.normalize import Prepared
from diva.numerics.ridge import moments
from diva.store import moments as stored
from diva.store import paths
from diva.store.moments import Counted

CLASSES = ["a", "b", "c"]
FIT = rows.Problem(
    ridge=0.1, temperature=8.0, classes=CLASSES[:2], normalize="unit", chunk_size=7, device="cpu", dtype="float64",
    loo_error=0.0, grid=[], excluded=0,
)  # fmt: skip
PROBLEM = FIT.with_classes(pl.Series(CLASSES))


@pytest.fixture
def frame(tmp_path, monkeypatch):
    """Sixty samples with features on disk; the first forty are the core, whose moments are stored."""
    monkeypatch.chdir(tmp_path)
    g = np.random.default_rng(0)
    with h5py.File("features.h5", "w") as file:
        file["features"] = g.normal(size=(60, 5)).astype(np.float32)
    frame = pl.DataFrame(
        {
            "sample_id": [f"s{i}" for i in range(60)],
            "label": [CLASSES[i % 2] for i in range(60)],
            "features": ["features.h5"] * 60,
            "row": list(range(60)),
        }
    )
    core = rows.stored(frame[:40], CLASSES[:2], 7)
    rows.write_problem(FIT, moments(Prepared(core, "unit", dtype=torch.float64), 2), None)
    return frame


def core(frame):
    """The first forty, with the moments that are stored of them."""
    return Counted(frame[:40], stored.read(paths.MOMENTS, CLASSES))


def fresh(frame):
    return moments(rows.prepared(frame, PROBLEM), len(CLASSES))


@pytest.mark.parametrize(
    ("kept", "relabelled"),
    [
        (range(40), []),
        (range(60), []),
        (range(5, 40), []),  # five went, for good or not
        ([*range(3, 40), *range(50, 60)], [4, 11]),
        (range(30, 60), [31]),  # more has changed than stayed
    ],
)
def test_moments_of_a_set_are_the_cores_with_what_changed(frame, kept, relabelled):
    changed = pl.when(pl.col("row").is_in(relabelled)).then(pl.lit("c")).otherwise("label")
    now = frame[list(kept)].with_columns(label=changed)
    actual, expected = rows.moments_of(now, core(frame), PROBLEM), fresh(now)
    torch.testing.assert_close(actual.gram, expected.gram, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(actual.cross, expected.cross, rtol=1e-12, atol=1e-12)
    assert actual.count == expected.count == len(now)


def test_what_went_counts_nowhere_though_it_stays_in_the_stored_sums(frame):
    stored = core(frame)
    without = rows.moments_of(frame[1:40], stored, PROBLEM)
    assert stored.moments.count == 40
    assert without.count == 39
    z = next(iter(rows.prepared(frame[:1], PROBLEM))).features[0]
    torch.testing.assert_close(stored.moments.gram - without.gram, torch.outer(z, z), rtol=1e-9, atol=1e-12)
