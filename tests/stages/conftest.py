"""Every test here runs in a folder of its own, as a stage does."""

from pathlib import Path

import pytest

from tests.projects import stage_inputs as small


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with parameters, as the working directory."""
    monkeypatch.chdir(tmp_path)
    small.write_params()
    return tmp_path
