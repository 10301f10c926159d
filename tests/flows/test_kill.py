"""Five kills; `make kill` does thirty-five over five rounds with the real stages (tests/flows/kill.py)."""

import pytest

from tests.flows.kill import run_laps, state
from tests.projects.nightly import create, grow

pytestmark = pytest.mark.xdist_group("flows")  # one worker, one server


# Among all other tests a killed night's data were absent from the DVC remote, twice of two; by itself it passes.
@pytest.mark.slow
def test_a_killed_run_ends_as_an_undisturbed_one(deployed, grown, tmp_path):
    def lap(root):
        project = deployed.copy(root)
        grow(project)
        return project

    kills = [False, True, False, True, False]
    assert run_laps(kills, lap, state(grown), 12.0, tmp_path, seed=0) >= 1


@pytest.mark.slow
def test_five_kills_of_the_real_pipeline(api, tmp_path):
    def lap(root):
        project = create(root, api, light=False, per_round=60)
        project.deliver("d1", 200)
        return project

    undisturbed = lap(tmp_path / "undisturbed")
    undisturbed.nightly()
    assert run_laps([False, True, False, True, False], lap, state(undisturbed), 40.0, tmp_path, seed=1) >= 1
