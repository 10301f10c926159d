"""Fixtures that every test may use."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.projects import versioned
from tests.projects.checkout import ROOT, Project
from tests.projects.fixtures import api, deployed, grown, night, source_tree

__all__ = ["api", "deployed", "grown", "night", "source_tree"]  # fixtures
# the same examples every time, and as long as they take; HYPOTHESIS_PROFILE=explore looks for new ones
settings.register_profile("same", derandomize=True, deadline=None, max_examples=50, database=None)
settings.register_profile("explore", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say in the report which case of tests.faults it was, if any, also to a process that only counts."""
    report = yield
    report.user_properties += [("fault", list(mark.args[0].key)) for mark in item.iter_markers("fault")]
    return report


@pytest.fixture(scope="session")
def project() -> Path:
    """The checkout under test."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images, weights and features beside the checkout; skips where they are absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data beside the checkout (../shared/data) is absent")
    return folder


@pytest.fixture(scope="session")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with two published versions, for tests that only look (xdist group ``versions``: it is made once)."""
    return versioned.make(tmp_path_factory.mktemp("versions"))


@pytest.fixture(scope="session")
def compacted_versions(two_versions: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same, and a third version: compacted."""
    project = two_versions.copy(tmp_path_factory.mktemp("compacted") / "project")
    project.diva("compact")
    return project


@pytest.fixture(params=["blas", "torch"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way the products are computed on the CPU: scipy's BLAS, and the blocked columns that CUDA takes as well."""
    from diva.numerics import blas

    if request.param == "torch":
        monkeypatch.setattr(blas, "ROUTINES", None)
    elif blas.ROUTINES is None:
        pytest.skip("scipy's BLAS is absent")
    return str(request.param)
