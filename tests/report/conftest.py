"""Every test here runs in a folder of its own, beside what a finished run left."""

from pathlib import Path

import pytest

from tests.projects import stage_inputs as small

SECTIONS = {
    "report": {"calls": 30, "thumbnail": 96, "rows": 50_000, "megabytes": 14},
    "score": {"methods": ["soft"]},
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with parameters."""
    monkeypatch.chdir(tmp_path)
    small.write_params(**SECTIONS)
    return tmp_path
