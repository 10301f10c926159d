"""Copies of the project in which the real pipeline runs, by the real ``dvc``."""

import pytest

from tests.projects import checkout
from tests.projects.checkout import Project


@pytest.fixture(scope="session")
def embedded(tmp_path_factory) -> Project:
    """The embedded default, run once; tests that change it take a copy of it."""
    fresh = checkout.embedded(tmp_path_factory.mktemp("embedded") / "project")
    fresh.repro()
    return fresh


@pytest.fixture
def rerun(embedded, tmp_path) -> Project:
    """A copy of the embedded default after its run, to change at will."""
    return embedded.copy(tmp_path / "project")


@pytest.fixture
def fresh(tmp_path) -> Project:
    """A copy in which nothing has run."""
    return checkout.embedded(tmp_path / "project")
