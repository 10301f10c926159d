import json
import subprocess
import sys
from pathlib import Path

import pytest

from stages import code

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "stages/fit.py": "from diva import first\n\ndef later():\n    import diva.lazy\n",
    "diva/__init__.py": "",
    "diva/first.py": "import json\nfrom diva.deep.second import name\n",
    "diva/deep/second.py": "from diva import first\n",
    "diva/lazy.py": "",
    "diva/unrelated.py": "",
    "flows/other.py": "",
}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    code.imports.cache_clear()
    yield tmp_path
    code.imports.cache_clear()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Digests of this project's stages."""
    folder = tmp_path_factory.mktemp("code")
    for package in code.PACKAGES:
        (folder / package).symlink_to(ROOT / package)
    subprocess.run([sys.executable, "-m", "stages.code"], cwd=folder, check=True, capture_output=True)
    return {stage: json.loads((folder / f"data/code/{stage}.json").read_text()) for stage in code.STAGES}


def test_files_are_followed_through_packages_functions_and_circles(tree):
    expected = ["diva/deep/second.py", "diva/first.py", "diva/lazy.py", "stages/fit.py"]
    assert code.closure([Path("stages/fit.py")]) == expected


def test_a_file_that_is_no_python_is_named_with_its_line(tree):
    Path("diva/lazy.py").write_text("fine = 1\ndef def\n")
    with pytest.raises(ValueError, match=r"diva/lazy\.py:2 must be Python"):
        code.closure([Path("stages/fit.py")])


@pytest.mark.parametrize("stage", code.STAGES)
def test_whatever_a_stage_imports_is_known(made, stage):
    told = "import sys, importlib; importlib.import_module(sys.argv[1]); print(*sys.modules)"
    module = f"stages.{stage}"
    done = subprocess.run([sys.executable, "-c", told, module], cwd=ROOT, capture_output=True, text=True, check=True)
    files = {f"{name.replace('.', '/')}.py" for name in done.stdout.split() if name.split(".")[0] in code.PACKAGES}
    loaded = {name for name in files if (ROOT / name).is_file()}
    assert f"stages/{stage}.py" in loaded
    assert loaded <= set(code.files_of(stage))
    assert made[stage].keys() == ({"revision"} if stage in code.REVISIONS else set(code.files_of(stage)))


def test_what_is_taken_without_an_import_is_known(made):
    assert {"diva/methods/host_cp.py", "diva/curation/reweight.py"} <= made["score"].keys()
    assert {"diva/report/web/page.css", "diva/report/web/page.html.j2"} <= made["report"].keys()


def test_features_do_not_depend_on_closed_forms(made):
    assert (made["download"], made["extract"]) == ({"revision": 1}, {"revision": 1})
    for stage in ("download", "extract", "pool"):
        assert not {"ridge.py", "detect.py", "derivative.py"} & {Path(name).name for name in code.files_of(stage)}
    assert not [stage for stage, files in made.items() if "diva/commands/cli.py" in files]


def test_an_edit_changes_the_digests_of_what_imports_the_file_and_no_others(tree, monkeypatch):
    monkeypatch.setattr(code, "STAGES", ("fit", "start"))
    Path("stages/start.py").write_text("import diva.unrelated\n")

    def digests():
        code.imports.cache_clear()
        code.code()
        return [Path(f"data/code/{stage}.json").read_bytes() for stage in code.STAGES]

    fit, start = digests()
    Path("diva/deep/second.py").write_text("from diva import first  # edited\n")
    assert digests() != [fit, start]
    assert digests()[1] == start


def recorded(monkeypatch, published: bool, **content: dict) -> dict[str, dict]:
    """What ``code`` writes where it wrote this before."""
    monkeypatch.setattr(code, "STAGES", ("extract", "fit", "report"))
    monkeypatch.setattr(code, "recorded", lambda: content)
    monkeypatch.setattr(code, "has_published_rounds", lambda: published)
    code.code()
    return {stage: json.loads(Path(f"data/code/{stage}.json").read_text()) for stage in code.STAGES}


OLD = {name: {"diva/earlier.py": "0" * 64} for name in ("extract", "fit", "report")}


@pytest.mark.parametrize("published", [True, False])
def test_code_of_what_published_rounds_rest_on_is_history(tree, monkeypatch, published):
    Path("stages/report.py").touch()
    now = recorded(monkeypatch, published, **OLD)
    assert now["extract"] == OLD["extract"]  # digests by an earlier version of the stage: of the first revision
    assert (now["fit"] == OLD["fit"]) is published
    assert now["report"] != OLD["report"]


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("before", [OLD["extract"], {"revision": 2}])
def test_features_are_made_anew_for_another_revision_once_no_published_round_rests_on_them(
    tree, monkeypatch, published, before
):
    Path("stages/report.py").touch()
    monkeypatch.setitem(code.REVISIONS, "extract", 3)
    assert recorded(monkeypatch, published, extract=before)["extract"] == (before if published else {"revision": 3})
    monkeypatch.setitem(code.REVISIONS, "extract", before.get("revision", 1))
    assert recorded(monkeypatch, published, extract=before)["extract"] == before


def test_what_was_recorded_is_read_by_lock_and_cache(tree):
    stored = Path(".dvc/cache/files/md5/ab") / ("c" * 30)
    stored.parent.mkdir(parents=True)
    stored.write_text('{"revision": 1}')
    outs = [{"path": "data/code/extract.json", "md5": "ab" + "c" * 30}, {"path": "data/code/fit.json", "md5": "d" * 32}]
    Path("dvc.lock").write_text(json.dumps({"stages": {"code": {"outs": outs}}}))
    assert code.recorded() == {"extract": {"revision": 1}}
