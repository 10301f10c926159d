"""A run is killed while a stage, DVC or git is at work; the next one completes as if nothing had been."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.faults.case import UNHARMED, Case
from tests.faults.system import Scene, forget, remember, second_night, stopped_at
from tests.flows.kill import state
from tests.projects.checkout import Project
from tests.projects.in_process import at
from tests.projects.nightly import create

# Slow: every test run kills three runs already, in tests/flows and in the soak.
pytestmark = [pytest.mark.xdist_group("flows"), pytest.mark.slow]
LATER = {  # in the second night, what each stage writes, and its command
    "download": ("data/manifests/b002.parquet", "python -m stages.download --batch b002"),
    "extract": ("data/features/b002.h5", "python light.py extract b002"),
    "pool": ("data/pool/b002.parquet", "python -m stages.pool --batch b002"),
    "extend": ("data/rounds/r002.parquet", "python light.py extend r002"),
    "curate": ("data/curated/r002.parquet", "python -m stages.curate --round r002"),
    "reweight": ("data/weights/weights.parquet", "python light.py reweight"),
    "release": ("data/release/train.parquet", "python -m stages.release"),
    "evaluate": ("data/metrics/evaluate.json", "python light.py evaluate"),
    "report": ("data/report/index.html", "python light.py report"),
}
FIRST = {  # in the first
    "code": ("data/code/download.json", "python -m stages.code"),
    "fit": ("data/fit/fit.json", "python light.py fit"),
    "score": ("data/scores/soft.parquet", "python light.py score soft"),
    "start": ("data/curated/r000.parquet", "python -m stages.start"),
}
REAL = {
    "extract": ("data/features/core.h5", "python -m stages.extract --batch core"),
    "fit": ("data/fit/fit.json", "python -m stages.fit"),
    "score": ("data/scores/soft.parquet", "python -m stages.score --method soft"),
    "extend": ("data/rounds/r001.parquet", "python -m stages.extend --round r001"),
    "reweight": ("data/weights/weights.parquet", "python -m stages.reweight"),
    "evaluate": ("data/metrics/evaluate.json", "python -m stages.evaluate"),
    "report": ("data/report/index.html", "python -m stages.report"),
}
Whom = Literal["all", "flow", "stage"]
HOW: dict[str, tuple[signal.Signals, Whom]] = {
    "SIGKILL in": (signal.SIGKILL, "all"),
    "SIGTERM in": (signal.SIGTERM, "flow"),
    "SIGTERM of": (signal.SIGTERM, "stage"),
}
TOLD = {"all": "of all processes", "flow": "of the flow alone", "stage": "of the stage's process alone"}


@pytest.fixture(autouse=True)
def _never_hangs() -> None:
    """Runs have limits of their own."""


def kills(stages: dict[str, tuple[str, str]], what: str) -> list[object]:
    return [
        Case(f"{how} {stage}{what}", "kills", told(how, *stages[stage]), UNHARMED).param(stage, *stages[stage], how)
        for stage in stages
        for how in HOW
    ]


def told(how: str, output: str, command: str) -> str:
    signal_, whom = HOW[how]
    light = "; a light stand-in for the stage" if "light.py" in command else ""
    return f"{signal_.name} {TOLD[whom]}, at the moment in which {output} gets its name{light}"


@pytest.fixture
def before(deployed: Project, grown: Project, tmp_path: Path) -> Iterator[Scene]:
    """Before the second night."""
    scene = second_night(deployed, grown, tmp_path / "project")
    with at(scene.project):
        yield scene


@pytest.fixture
def outset(deployed: Project, api: str, tmp_path: Path) -> Iterator[Scene]:
    """Before the first night."""
    project = create(tmp_path / "project", api)
    project.deliver("d1", 200)
    remember(project, deployed)
    with at(project):
        yield Scene(project, state(deployed))


@pytest.fixture(scope="session")
def real(api: str, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A first night with the real stages."""
    project = create(tmp_path_factory.mktemp("real") / "project", api, light=False)
    project.deliver("d1", 200)
    project.nightly()
    return project


def killed_in_a_stage(scene: Scene, stage: str, output: str, command: str, how: str) -> None:
    tags = scene.project.tags()
    if stage != "report":  # whose results DVC does not remember: git has some of its outputs
        forget(scene.project, command)
    said = stopped_at(scene.project, output, *HOW[how])
    assert HOW[how][1] != "stage" or f"failed to reproduce '{stage}" in said
    assert scene.project.tags() == tags, "published half"
    assert stage in {name.partition("@")[0] for name in scene.completes().stages}


@pytest.mark.parametrize(("case", "stage", "output", "command", "how"), kills(LATER, ""))
def test_a_run_killed_in_a_stage_goes_on(
    before: Scene, case: Case, stage: str, output: str, command: str, how: str
) -> None:
    killed_in_a_stage(before, stage, output, command, how)


@pytest.mark.parametrize(("case", "stage", "output", "command", "how"), kills(FIRST, " of the first night"))
def test_a_first_run_killed_in_a_stage_goes_on(
    outset: Scene, case: Case, stage: str, output: str, command: str, how: str
) -> None:
    killed_in_a_stage(outset, stage, output, command, how)


@pytest.mark.parametrize(("case", "stage", "output", "command", "how"), kills(REAL, ", the real stage"))
def test_a_run_killed_in_a_real_stage_goes_on(
    real: Project, api: str, tmp_path: Path, case: Case, stage: str, output: str, command: str, how: str
) -> None:
    project = create(tmp_path / "project", api, light=False)
    project.deliver("d1", 200)
    remember(project, real)
    with at(project):
        killed_in_a_stage(Scene(project, state(real)), stage, output, command, how)


OTHERS = [
    Case("SIGKILL while DVC writes its lock", "kills", "dvc.lock is opened for writing", UNHARMED).param("/dvc.lock"),
    Case("SIGKILL in the run's own records", "kills", "the ledger with the next round gets its name", UNHARMED).param(
        "data/ledger.yaml"
    ),
]


@pytest.mark.parametrize(("case", "output"), OTHERS)
def test_a_run_killed_between_stages_goes_on(before: Scene, case: Case, output: str) -> None:
    stopped_at(before.project, output, signal.SIGKILL, "all")
    before.completes()
