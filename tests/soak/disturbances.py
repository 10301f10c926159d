"""What goes wrong in a night, one thing at a time; after each, the next run must complete as if nothing had been.

Each takes the project, a source of chance and the seconds of a night, runs the flow (or tries to), puts right what only
people can put right, and says what happened.
"""

import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.flows.kill import wait_for_none
from tests.projects.checkout import Project
from tests.projects.in_process import run_here

Disturbance = Callable[[Project, random.Random, float], str]
# a run in a session of its own that ends with this process, however that ends (PR_SET_PDEATHSIG)
BOUND = (
    "import ctypes, runpy; ctypes.CDLL(None).prctl(1, 9); "
    "runpy.run_module('flows.nightly', run_name='__main__', alter_sys=True)"
)


def options(project: Project) -> dict[str, str]:
    """Of nights: a project that has a git remote shares it."""
    return {"git_remote": "origin"} if project.git("remote") else {}


def nightly(project: Project) -> tuple[str, ...]:
    """A run's command."""
    return (sys.executable, "-c", BOUND, *(["--git-remote", "origin"] if options(project) else []))


def killed(project: Project, chance: random.Random, span: float, alone: bool = False, how: int = signal.SIGKILL) -> str:
    """The run's process group, or the flow's process alone, at a random moment."""
    delay = chance.uniform(0.3, span)
    with (project.root / ".dvc" / "tmp" / "killed.log").open("w") as log:
        run = project.start(*nightly(project), start_new_session=True, stdout=log, stderr=subprocess.STDOUT)
        try:
            status = run.wait(delay)
        except subprocess.TimeoutExpired:
            (os.kill if alone else os.killpg)(run.pid, how)
            run.wait()
            wait_for_none(project.root)
            return f"{'flow' if alone else 'group'} got {signal.Signals(how).name} after {delay:.0f} s"
    assert status == 0, (project.root / ".dvc" / "tmp" / "killed.log").read_text()[-4000:]
    return f"done before a kill at {delay:.0f} s"


def flow_killed(project: Project, chance: random.Random, span: float) -> str:
    """The flow alone: DVC and the stage at work must end with it."""
    return killed(project, chance, span, alone=True)


def terminated(project: Project, chance: random.Random, span: float) -> str:
    """As systemd ends a service that takes too long."""
    return killed(project, chance, span, alone=chance.random() < 0.5, how=signal.SIGTERM)


def remote_gone(project: Project, chance: random.Random, span: float) -> str:
    """No push: the round stays unpublished."""
    tags = project.tags()
    with away(project.root / ".remote"):
        state = run_here(**options(project)).state
    assert state.is_failed()
    assert re.search("dvc (push|pull) failed", str(state.message)), state.message
    assert project.tags() == tags, "published without its data"
    return "push failed, nothing published"


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """A folder is gone for a while, and cannot be made anew."""
    folder.rename(folder.with_name(".away"))
    folder.write_text("gone")
    try:
        yield
    finally:
        folder.unlink()
        folder.with_name(".away").rename(folder)


def lock_cut_short(project: Project, chance: random.Random, span: float) -> str:
    """dvc.lock ends in the middle, as a killed DVC leaves it."""
    lock = project.root / "dvc.lock"
    whole = lock.read_text()
    cut = chance.randrange(len(whole))
    lock.write_text(whole[:cut])
    return f"dvc.lock cut to {cut} of {len(whole)} bytes"


def index_locked(project: Project, chance: random.Random, span: float) -> str:
    """A git that was killed left its lock behind."""
    stale = project.root / ".git" / "index.lock"
    stale.touch()
    state = run_here(**options(project)).state
    assert state.is_failed()
    assert "index.lock" in str(state.message)
    stale.unlink()
    return "refused, naming .git/index.lock"


def ledger_broken(project: Project, chance: random.Random, span: float) -> str:
    """Somebody edited the ledger."""
    book = project.root / "data/ledger.yaml"
    whole = book.read_text()
    wrong = chance.choice([whole + "surprise: 1\n", whole.replace("previous: b", "previous: c", 1), whole[:-9] + " ["])
    book.write_text(wrong)
    state = run_here(**options(project)).state
    assert state.is_failed()
    assert "ledger.yaml" in str(state.message)
    project.git("checkout", "--quiet", "data/ledger.yaml")
    return "refused, naming data/ledger.yaml"


def two_at_once(project: Project, chance: random.Random, span: float) -> str:
    """A second run begins while one is at work."""
    first = project.start(*nightly(project))
    pause = threading.Event()
    while first.poll() is None and not holds(project, first.pid):
        pause.wait(0.05)
    second = project.run(*nightly(project), check=False)
    told, _ = first.communicate()
    assert first.returncode == 0, told
    assert second.returncode == 75, second.stdout + second.stderr
    return "the second ended at once"


def holds(project: Project, process: int) -> bool:
    """Whether a process has taken the lock of a run."""
    lock = project.root / ".dvc/tmp/nightly.lock"
    return lock.is_file() and lock.read_text() == f"process {process}\n"


def output_changed(project: Project, chance: random.Random, span: float) -> str:
    """A published set is overwritten where it lies."""
    found = chance.choice(sorted((project.root / "data/curated").glob("r*.parquet")))
    found.chmod(0o644)
    found.write_bytes(b"rotten")
    return f"{found.name} overwritten"


def cache_lost(project: Project, chance: random.Random, span: float) -> str:
    """Files of DVC's cache vanish."""
    files = sorted(path for path in (project.root / ".dvc/cache/files").rglob("*") if path.is_file())
    gone = chance.sample(files, len(files) // 10)
    for path in gone:
        path.unlink()
    return f"{len(gone)} of {len(files)} files of the cache lost"


ALL: dict[str, Disturbance] = {
    "killed": killed,
    "flow killed": flow_killed,
    "terminated": terminated,
    "remote gone": remote_gone,
    "lock cut short": lock_cut_short,
    "index locked": index_locked,
    "ledger broken": ledger_broken,
    "two at once": two_at_once,
    "output changed": output_changed,
    "cache lost": cache_lost,
}


def both_at_once(project: Project, chance: random.Random, span: float) -> str:
    """The other operator's night begins at the same time, and takes in the same delivery."""
    clones = [project, Project(project.root.with_name("b" if project.root.name == "a" else "a"), project.api)]
    dates = (f"GIT_COMMITTER_DATE=2026-03-0{day}T02:00:00+0000" for day in (1, 2))  # equal commits would not diverge
    runs = [clone.start("env", date, *nightly(clone)) for date, clone in zip(dates, clones, strict=True)]
    outcomes = {
        clone.root.name: (run.communicate()[0], run.returncode) for clone, run in zip(clones, runs, strict=True)
    }
    late = [clone for clone in clones if outcomes[clone.root.name][1]]
    assert len(late) < len(clones), outcomes
    for clone in late:
        assert "`diva sync`" in outcomes[clone.root.name][0], outcomes
        clone.diva("sync")
        clone.run(*nightly(clone))
    return f"{late[0].root.name} came late" if late else "one after the other"


OF_TWO: dict[str, Disturbance] = {"both at once": both_at_once}
