"""Runs the nightly flow in this process, in a project's folder and environment."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from tests.projects.checkout import Project

ENVIRONMENT = ("PATH", "OMP_NUM_THREADS", "PYTHONPATH", "GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE", "GIT_CONFIG_GLOBAL")


class Run(NamedTuple):
    """How a run ended, and the lines of DVC's log."""

    state: Any
    lines: list[str]

    @property
    def stages(self) -> set[str]:
        """Stages that DVC ran."""
        return {line.split("'")[1] for line in self.lines if line.startswith("Running stage")}


class Night(NamedTuple):
    """A night whose push failed, and the next one."""

    project: Project
    failed: Run
    tags: list[str]  # after the failure
    commits: int  # of rounds, after the failure
    finished: Run


@contextmanager
def at(project: Project) -> Iterator[None]:
    """This process in the project's folder, with its environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.root)
        for name in ENVIRONMENT:
            patch.setenv(name, project.environment[name])
        yield


def run_here(**parameters: Any) -> Run:
    """The flow, with one try per task."""
    from flows import extend, nightly

    lines: list[str] = []

    def dvc(*arguments: str, log: Any) -> None:
        real(*arguments, log=lambda line: (lines.append(line), log(line)))

    with pytest.MonkeyPatch.context() as patch:
        real = extend.dvc
        patch.setattr(extend, "dvc", dvc)
        for name in ("push", "commit", "tag"):
            patch.setattr(extend, name, getattr(extend, name).with_options(retries=0))
        return Run(nightly.nightly(**parameters, return_state=True), lines)
