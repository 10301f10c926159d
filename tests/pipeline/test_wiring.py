"""dvc.yaml says what the code does: every stage depends on its code, params are what is read, imports go one way."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from scmrepo.git import Git

from diva.versions import closure
from stages import code

ROOT = Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
ROUND_STAGES = {"extend", "curate"}  # a published round is history: its code's commit stands in the ledger
HEAVY = {"torch", "torchvision"}
SCORING = ("fit", "score", "extend")


def body(name: str) -> dict:
    return STAGES[name].get("do", STAGES[name])


def sections(file: Path) -> set[str]:
    """Sections of params.yaml that a stage reads: the first argument of every ``read("name", Model)``."""
    calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    reads = [call for call in calls if ast.unparse(call.func) in ("section.read", "read") and len(call.args) == 2]
    return {call.args[0].value for call in reads if isinstance(call.args[0], ast.Constant)}


@pytest.mark.parametrize("name", sorted(STAGES.keys() - {"code"}))
def test_a_stage_depends_on_its_own_code_and_on_no_other(name):
    expected = [] if name in ROUND_STAGES else [f"data/code/{name}.json"]
    assert [dep for dep in body(name)["deps"] if dep.startswith(("data/code/", "diva", "stages"))] == expected


def test_the_code_of_every_stage_but_rounds_is_known():
    assert {*code.STAGES} == STAGES.keys() - {"code"} - ROUND_STAGES
    assert body("code")["outs"] == [f"data/code/{name}.json" for name in code.STAGES]
    assert body("code")["deps"] == list(closure.PACKAGES)


@pytest.mark.parametrize("name", sorted(STAGES))
def test_params_equal_the_sections_that_are_read(name):
    declared = {entry for entry in body(name).get("params", []) if isinstance(entry, str)}
    assert declared == sections(ROOT / "stages" / f"{name}.py")


@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_stage_runs_the_module_of_its_name(name):
    assert body(name)["cmd"].startswith(f"python -m stages.{name}")


def test_packages_hold_no_code_that_a_dependency_could_miss():
    environment = ROOT / "stages" / "__init__.py"  # sets how idle threads wait, which changes no result
    doors = {ROOT / "diva" / "__init__.py", ROOT / "diva" / "estimators" / "__init__.py"}  # which no stage imports
    for init in {*ROOT.glob("diva/**/__init__.py"), *ROOT.glob("stages/**/__init__.py")} - {environment, *doors}:
        statements = ast.parse(init.read_text()).body
        assert all(isinstance(node, ast.Expr | ast.Assign) for node in statements), init


def uses(file: Path) -> set[str]:
    """Modules of ours that a file imports itself."""
    found = {f"{name.replace('.', '/')}.py" for name in closure.module_names(file)}
    return {name for name in found if (ROOT / name).is_file()}


# What each package may import of ours, beside itself. Nothing here goes up, and no two packages import each other.
MAY_IMPORT = {
    "text": set(),
    "numerics": {"text"},
    "store": {"numerics", "text"},
    "vision": {"store", "numerics", "text"},
    "ingest": {"vision", "store", "numerics", "text"},
    "curation": {"store", "numerics", "text"},
    "methods": {"curation", "numerics", "text"},
    "versions": {"ingest", "store", "text"},
    "report": {"versions", "ingest", "vision", "curation", "store", "text"},
    "review": {"versions", "ingest", "vision", "store", "text"},
    "commands": {"review", "report", "versions", "curation", "ingest", "vision", "store", "text"},
    "estimators": {"inputs", "methods", "curation", "numerics", "text"},
    "inputs": {"curation", "numerics", "text"},
}
NO_CLOSED_FORM = {"chunks", "cores", "device", "parallel"}  # of numerics: types of rows, where they are computed with
VALUES = {"diva.numerics.ridge.Moments", "diva.numerics.normalize.Scaling"}  # what files hold, as values without a form


def package(file: str) -> str:
    """The package of a file: `store` of `diva/store/paths.py`, `stages` of `stages/fit.py`."""
    first, *rest = Path(file).with_suffix("").parts
    return rest[0] if first == "diva" else first


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_imports_go_one_way(name):
    files = [*ROOT.glob(f"diva/{name}/**/*.py"), *ROOT.glob(f"diva/{name}.py")]
    assert files, f"there is no package {name}"
    for file in files:
        upward = {use for use in uses(file) if package(use) not in MAY_IMPORT[name] | {name}}
        assert not upward, f"{file.relative_to(ROOT)} imports {sorted(upward)}"


@pytest.mark.parametrize(
    ("first", "absent"),
    [("diva/vision/image_features.py", "torchvision"), *((f"stages/{name}.py", "sklearn") for name in SCORING)],
)
def test_what_a_stage_seldom_needs_is_imported_where_it_is_needed(first, absent):
    """Nothing that a file imports at once, itself or through others, imports it at once."""
    seen, files = set(), [ROOT / first]
    for file in files:
        statements = ast.parse(file.read_text(encoding="utf-8")).body
        modules = {name for node in statements for name in imported(node)}
        seen |= {name.partition(".")[0] for name in modules}
        paths = [ROOT / f"{name.replace('.', '/')}.py" for name in modules]
        files += [path for path in paths if path.is_file() and path not in files]
    assert len(files) > 15
    assert "torch" in seen
    assert absent not in seen


def imported(node: ast.stmt) -> set[str]:
    """Modules that a statement imports, or may import: `from a import b` gives a and a.b."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return set()


def test_every_package_has_its_place():
    assert {package(file.relative_to(ROOT).as_posix()) for file in ROOT.glob("diva/**/*.py")} == MAY_IMPORT.keys() | {
        "__init__"
    }


@pytest.mark.parametrize("name", ["store", "ingest", "vision"])
def test_what_handles_files_imports_no_closed_form(name):
    for file in ROOT.glob(f"diva/{name}/**/*.py"):
        taken = {name for name in closure.module_names(file) if name.startswith("diva.numerics.")}
        modules = {name.rpartition(".")[0] for name in VALUES & taken}
        forms = {name for name in taken - VALUES - modules if name.split(".")[2] not in NO_CLOSED_FORM}
        assert not forms, file


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_imports_within_a_package_go_one_way_too(name):
    graph = {file: {ROOT / use for use in uses(file)} for file in ROOT.glob(f"diva/{name}/**/*.py")}
    while leaves := [file for file, used in graph.items() if not (used - {file}) & graph.keys()]:
        for file in leaves:
            del graph[file]
    assert not graph, f"a circle: {sorted(file.stem for file in graph)}"


def test_stages_do_not_import_flows():
    for file in ROOT.glob("stages/**/*.py"):
        assert not {use for use in uses(file) if use.startswith("flows/")}, file


def test_the_library_never_imports_the_orchestrators():
    """But for the modules that are DVC processes of their own, which nothing imports."""
    processes = {ROOT / f"diva/versions/{name}.py": f"diva.versions.{name}" for name in ("transfer", "reproduction")}
    for file in ROOT.glob("diva/**/*.py"):
        names = set(closure.module_names(file))
        assert file in processes or not {name.split(".")[0] for name in names} & {"dvc", "prefect"}, file
        assert not {*processes.values()} & names, file


LIGHT = ["stages.download", "stages.pool", "stages.start", "stages.curate", "stages.release", "stages.report",
         "diva.commands.cli", "stages.params.__main__"]  # fmt: skip


@pytest.mark.parametrize("module", LIGHT)
def test_stages_without_numbers_start_without_torch(module):
    told = "import sys, importlib; importlib.import_module(sys.argv[1]); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", told, module], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & set(loaded.stdout.split())


def test_git_takes_nothing_of_data_but_the_ledger_metrics_and_what_names_plain_data(tmp_path):
    shutil.copy(ROOT / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    taken = ["data/ledger.yaml", "data/takedowns.csv", "data/base.dvc", "data/reviews/v001.parquet.dvc"]
    taken += ["data/metrics/rounds/r001.json"]
    left = [
        "data/raw/core/1.png",
        "data/curated/r001.parquet",
        "data/reviews/v001.parquet",
        "data/release/train.parquet",
    ]
    for name in (*taken, *left):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["git", "add", "--all"], cwd=tmp_path, check=True)
    told = subprocess.run(["git", "ls-files", "data"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert told.stdout.split() == sorted(taken)
    scm = Git(str(tmp_path))  # DVC looks for names of plain data with another reader of .gitignore
    assert not any(scm.is_ignored(str(tmp_path / name)) for name in taken)
    assert not any(scm.is_ignored(f"{tmp_path / name}/") for name in ("data", "data/reviews"))
