"""Near-duplicates in the core: what is near a test image, or near an earlier image of the core, leaves it."""

from pathlib import Path

import h5py
import numpy as np
import polars as pl

from diva.curation.neighbours import without_test
from diva.store import index, manifest, paths
from tests.projects import stage_inputs as small


def core_and_test(*rows: list[float]) -> pl.DataFrame:
    """A test set of one image, the first row; a core of the others."""
    names = {"test": ["t0"], "core": [f"c{number}" for number in range(1, len(rows))]}
    for batch, part in (("test", rows[:1]), ("core", rows[1:])):
        samples = [manifest.Sample(name, f"{name}.png", "ab"[i % 2]) for i, name in enumerate(names[batch])]
        manifest.write(paths.manifest(batch), manifest.samples(samples))
        with h5py.File(small.extract(batch), "r+") as file:
            del file["features"]
            file.create_dataset("features", data=np.array(part, np.float32))
    return index.read_batch("core")


def references() -> tuple[pl.Series, pl.DataFrame]:
    """Ids of the test set, and its index."""
    return manifest.read(paths.manifest("test"))["sample_id"], index.read_batch("test")


ROWS = ([9.0, 0], [9, 0.01], [-9, 1], [-9.01, 1], [0, 5], [0, -7], [5, 5], [-5, -5])


def test_the_core_keeps_what_is_near_nothing_before_it(workplace: Path) -> None:
    core = core_and_test(*ROWS)
    kept, refused = without_test(core, *references(), 0.999)
    assert refused["sample_id"].to_list()[:2] == ["c1", "c3"]
    assert [reason.split(", cosine")[0] for reason in refused["reason"]][:2] == [
        "near duplicate: of t0 in test",
        "near duplicate: of c2 in core",
    ]
    assert kept["sample_id"].to_list() == ["c2", "c4", "c5", "c6", "c7"]


def test_without_a_threshold_only_equal_files_count(workplace: Path) -> None:
    kept, refused = without_test(core_and_test(*ROWS), *references(), None)
    assert (len(kept), len(refused)) == (7, 0)
