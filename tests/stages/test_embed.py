"""On request the report's map is UMAP's."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from diva.curation import embedding
from diva.store import index, paths, tables
from stages import embed, report
from tests.projects import stage_inputs as small
from tests.projects.finished_run import finish, indexed
from tests.stages.test_report import SECTION


def test_the_core_is_placed_once_and_the_page_lies_by_it(workplace: Path) -> None:
    pytest.importorskip("umap", reason="the extra umap is not installed")
    settings = {"by": ["umap"], "neighbours": 5, "min_dist": 0.1, "landmarks": 10, "seed": 0}
    small.write_params(**SECTION | {"embed": settings})
    finish()
    index.write(paths.CORE, indexed("core"))
    with h5py.File(paths.features("core"), "r+") as file:
        file["features"][:] = np.random.default_rng(0).normal(size=file["features"].shape)
    embed.embed("umap")
    places = tables.read(paths.scores("umap"), embedding.PLACES)
    assert len(places) == 10
    assert set(places["sample_id"]) < set(index.read(paths.CORE)["sample_id"])
    made = paths.scores("umap").read_bytes()
    embed.embed("umap")
    assert paths.scores("umap").read_bytes() == made
    report.main()
    assert (
        "By UMAP of 10 samples of the core, and each other sample by the nearest of them:" in paths.REPORT.read_text()
    )
