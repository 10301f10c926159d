"""Projects of a test's own."""

from collections.abc import Iterator

import pytest

from tests.projects.checkout import Project
from tests.projects.in_process import at
from tests.projects.nightly import create


@pytest.fixture
def published(deployed, tmp_path) -> Iterator[Project]:
    """A copy of a project with a published round, to change at will; the test runs in it."""
    project = deployed.copy(tmp_path / "project")
    with at(project):
        yield project


@pytest.fixture
def fresh(tmp_path) -> Iterator[Project]:
    """A project in which nothing has run; the test runs in it."""
    project = create(tmp_path / "project")
    with at(project):
        yield project
