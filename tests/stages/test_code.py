import json
import subprocess
import sys
from pathlib import Path

import pytest

from diva.versions import closure
from stages import code

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Digests of this project's stages."""
    folder = tmp_path_factory.mktemp("code")
    for package in closure.PACKAGES:
        (folder / package).symlink_to(ROOT / package)
    subprocess.run([sys.executable, "-m", "stages.code"], cwd=folder, check=True, capture_output=True)
    return {stage: json.loads((folder / f"data/code/{stage}.json").read_text()) for stage in code.STAGES}


@pytest.mark.parametrize("stage", code.STAGES)
def test_whatever_a_stage_imports_is_known(made, stage):
    told = "import sys, importlib; importlib.import_module(sys.argv[1]); print(*sys.modules)"
    module = f"stages.{stage}"
    done = subprocess.run([sys.executable, "-c", told, module], cwd=ROOT, capture_output=True, text=True, check=True)
    files = {f"{name.replace('.', '/')}.py" for name in done.stdout.split() if name.split(".")[0] in closure.PACKAGES}
    threads = "diva/numerics/cores.py"  # what `stages` takes itself: how many, which changes no result
    loaded = {name for name in files if (ROOT / name).is_file()} - {threads}
    assert f"stages/{stage}.py" in loaded
    assert loaded <= set(code.files_of(stage))
    assert made[stage].keys() == ({"revision"} if stage in code.REVISIONS else set(code.files_of(stage)))


def test_methods_and_the_pages_parts_are_known(made):
    for stage in ("score", "evaluate"):  # evaluate explains what a round by a method left in the pool
        assert {"diva/methods/host_cp.py", "diva/curation/reweight.py"} <= made[stage].keys()
    assert {"diva/report/web/page.css", "diva/report/web/page.html.j2"} <= made["report"].keys()


def test_features_do_not_depend_on_closed_forms(made):
    assert (made["download"], made["extract"]) == ({"revision": 1}, {"revision": 1})
    for stage in ("download", "extract"):  # the pool's rows join groups, which rest on products
        assert not {"ridge.py", "detect.py", "derivative.py"} & {Path(name).name for name in code.files_of(stage)}
    assert not [stage for stage, files in made.items() if "diva/commands/cli.py" in files]


def test_an_edit_changes_the_digests_of_what_imports_the_file_and_no_others(source_tree, monkeypatch):
    monkeypatch.setattr(code, "STAGES", ("fit", "start"))
    Path("stages/start.py").write_text("import diva.unrelated\n")

    def digests():
        closure.imports.cache_clear()
        code.code()
        return [Path(f"data/code/{stage}.json").read_bytes() for stage in code.STAGES]

    fit, start = digests()
    Path("diva/deep/second.py").write_text("from diva import first  # edited\n")
    assert digests() != [fit, start]
    assert digests()[1] == start


def recorded(monkeypatch, published: bool, **content: dict) -> dict[str, dict]:
    """What ``code`` writes where it wrote this before."""
    monkeypatch.setattr(code, "STAGES", ("extract", "fit", "report"))
    monkeypatch.setattr(code, "recorded_code", lambda: content)
    monkeypatch.setattr(code, "has_published_rounds", lambda: published)
    code.code()
    return {stage: json.loads(Path(f"data/code/{stage}.json").read_text()) for stage in code.STAGES}


OLD = {name: {"diva/earlier.py": "0" * 64} for name in ("extract", "fit", "report")}


@pytest.mark.parametrize("published", [True, False])
def test_code_of_what_published_rounds_rest_on_is_history(source_tree, monkeypatch, published):
    Path("stages/report.py").touch()
    now = recorded(monkeypatch, published, **OLD)
    assert now["extract"] == OLD["extract"]  # digests by an earlier version of the stage: of the first revision
    assert (now["fit"] == OLD["fit"]) is published
    assert now["report"] != OLD["report"]


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("before", [OLD["extract"], {"revision": 2}])
def test_features_are_made_anew_for_another_revision_once_no_published_round_rests_on_them(
    source_tree, monkeypatch, published, before
):
    Path("stages/report.py").touch()
    monkeypatch.setitem(code.REVISIONS, "extract", 3)
    assert recorded(monkeypatch, published, extract=before)["extract"] == (before if published else {"revision": 3})
    monkeypatch.setitem(code.REVISIONS, "extract", before.get("revision", 1))
    assert recorded(monkeypatch, published, extract=before)["extract"] == before
