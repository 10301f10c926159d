"""A Prefect server for the session, and tiny projects that nightly runs have published (xdist group ``flows``)."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from diva.versions import closure
from tests.projects.checkout import Project
from tests.projects.in_process import Night, at, run_here
from tests.projects.nightly import create, grow

# before anything imports Prefect
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"

SOURCES = {
    "stages/fit.py": "from diva import first\n\ndef later():\n    import diva.lazy\n",
    "diva/__init__.py": "",
    "diva/first.py": "import json\nfrom diva.deep.second import name\n",
    "diva/deep/second.py": "from diva import first\n",
    "diva/lazy.py": "",
    "diva/unrelated.py": "",
    "flows/other.py": "",
}


@pytest.fixture(scope="session")
def api() -> Iterator[str]:
    """Address of a real server on a free port."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        address = PREFECT_API_URL.value()
        assert address
        yield address
    shutil.rmtree(os.environ["PREFECT_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def deployed(api, tmp_path_factory) -> Project:
    """A project whose first delivery was published by its deployment, run by a real worker."""
    from tests.projects.deployment import run_deployment

    project = create(tmp_path_factory.mktemp("deployed") / "project", api)
    project.deliver("d1", 200)
    run_deployment(project)
    return project


@pytest.fixture(scope="session")
def night(deployed, tmp_path_factory) -> Night:
    """New code, parameters, a second delivery; its night finds the DVC remote gone, the next one finds it again."""
    project = deployed.copy(tmp_path_factory.mktemp("grown") / "project")
    grow(project)
    remote, away = project.root / ".remote", project.root / ".away"
    remote.rename(away)
    remote.write_text("gone")
    with at(project):
        failed = run_here()
        tags, commits = project.tags(), project.git("log", "--format=%s").count("Round")
        remote.unlink()
        away.rename(remote)
        finished = run_here()
    return Night(project, failed, tags, commits, finished)


@pytest.fixture(scope="session")
def grown(night) -> Project:
    """The project after that."""
    return night.project


@pytest.fixture
def source_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Modules that import one another, in the working directory."""
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    closure.imports.cache_clear()
    yield tmp_path
    closure.imports.cache_clear()
