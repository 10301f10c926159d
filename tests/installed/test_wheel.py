"""What the wheel holds, and that the repository is a project of the kind that it begins."""

import zipfile
from pathlib import Path

from diva.store import test_decisions
from diva.versions import scaffold
from tests.installed.conftest import ROOT


def test_the_wheel_puts_nothing_but_diva_on_the_import_path_and_is_small(wheel):
    with zipfile.ZipFile(wheel) as archive:
        top = {name.partition("/")[0] for name in archive.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"diva"}
    assert wheel.stat().st_size < 5_000_000


def test_the_repository_is_a_project_as_the_wheel_begins_one(wheel):
    """Its top-level files equal the package's: stages, flows, pipeline, settings, the example's ledger."""
    with zipfile.ZipFile(wheel) as archive:
        inside = [name for name in archive.namelist() if name.startswith("diva/template/") and not name.endswith("/")]
        brought = {name.removeprefix("diva/template/"): archive.read(name) for name in inside}
    here = {path: text.encode() for path, text in scaffold.brought().items()}
    example = {name: (ROOT / name).read_bytes() for name in ("params.yaml", "data/ledger.yaml")}
    licences = {name for name in brought if name.endswith(".pyc")}
    assert here.pop(test_decisions.FILE.as_posix()) == test_decisions.EMPTY.encode()  # which nobody brings
    assert brought.keys() - licences == here.keys() | example.keys()
    assert all(brought[name] == content for name, content in (here | example).items())
    assert not licences


def test_all_that_git_keeps_of_stages_and_flows_travels():
    for folder in ("stages", "flows"):
        files = {path.relative_to(ROOT).as_posix() for path in Path(ROOT, folder).rglob("*.py")}
        assert files <= scaffold.brought().keys()
