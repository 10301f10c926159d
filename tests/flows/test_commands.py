"""Commands end with their caller, one run at a time, and what a killed DVC leaves is put right."""

import os
import signal
import subprocess
import sys

import pytest

from diva.versions.cache import LOCK
from diva.versions.locks import COMMAND, SCRATCH, RunningError, exclusive
from diva.versions.pipeline import dvc, locked_stages, repair
from diva.versions.processes import BusyError, CommandError, git, leashed
from flows import options, terminal
from tests.projects.checkout import ROOT
from tests.projects.processes import alive, eventually

CALLER = """
import sys
from diva.versions.processes import leashed
grandchild = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
child = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
with leashed([sys.executable, "-c", child, grandchild]) as process:
    print(process.stdout.readline().strip(), flush=True)
    process.wait()
"""
HOLD = "from diva.versions.locks import exclusive\nwith exclusive(): pass"
GOOD = "0123456789abcdef0123456789abcdef"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_command_and_its_children_end_with_the_caller(fresh, how):
    caller = fresh.start(sys.executable, "-c", CALLER)
    grandchild = int(caller.stdout.readline())
    assert alive(grandchild)
    caller.send_signal(how)
    caller.communicate()
    assert eventually(lambda: not alive(grandchild))


def test_a_command_waits_for_the_last_process_of_a_killed_run(fresh):
    with leashed([sys.executable, "-c", "import signal; print('first', flush=True); signal.pause()"]) as first:
        first.stdout.readline()
        second = fresh.start(
            sys.executable, "-m", "diva.versions.leash", str(COMMAND), "echo", "second", stdin=subprocess.PIPE
        )
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(1)
    assert second.stdout.readline() == "second\n"
    second.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own means")
def test_a_command_ends_with_its_leash_when_that_is_killed(fresh):
    waits = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    with leashed([sys.executable, "-c", waits]) as process:
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
        assert eventually(lambda: not alive(pid))


def test_a_command_hands_its_status_on(fresh):
    with leashed([sys.executable, "-c", "raise SystemExit(7)"]) as process:
        assert process.wait() == 7


def test_a_failed_command_says_what_it_said(fresh):
    with pytest.raises(CommandError, match=r"dvc repro nonsense failed:(.|\n)*nonsense"):
        dvc("repro", "nonsense")
    with pytest.raises(CommandError, match="git frobnicate failed"):
        git("frobnicate")


def test_another_dvc_at_work_is_told_from_other_failures(fresh):
    holder = "from dvc.repo import Repo\nrepo = Repo()\nwith repo.lock:\n    print('held', flush=True)\n    input()"
    process = fresh.start(sys.executable, "-c", holder, stdin=subprocess.PIPE)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(BusyError):
        dvc("add", "params.yaml")
    process.communicate("\n")


def test_a_lock_file_cut_short_loses_no_stage(fresh):
    stage = f"    cmd: x\n    outs:\n    - path: a\n      md5: {GOOD}\n"
    whole = f"schema: '2.0'\nstages:\n  fit:\n{stage}  start:\n{stage}"
    LOCK.write_text(whole)
    fresh.commit()
    for size in range(0, len(whole) - 1, 5):
        LOCK.write_text(whole[:size])
        assert set(locked_stages()) == {"fit", "start"}, whole[:size]
        assert locked_stages()["fit"]["outs"][0]["md5"] == GOOD
    LOCK.unlink()
    assert set(locked_stages()) == {"fit", "start"}, "it was deleted"
    LOCK.write_text(f"{whole}  score:\n{stage}")
    repair()
    assert set(locked_stages()) == {"fit", "start", "score"}


def test_a_lock_file_cut_short_before_any_commit_goes(fresh):
    LOCK.write_text("schema: '2.0'\nstages:\n  fit:\n    cm")
    repair()
    assert not LOCK.exists()
    assert locked_stages() == {}


def test_a_list_of_running_processes_cut_short_goes(fresh):
    repair()
    running = SCRATCH / "rwlock"
    running.write_text('{"read": {"/x": [')
    repair()
    assert not running.exists()
    running.write_text("{}")
    repair()
    assert running.exists()


def test_the_lock_is_the_processs_own_and_free_after_the_block(fresh):
    with exclusive(), exclusive():
        done = fresh.run(sys.executable, "-c", HOLD, check=False)
        assert f"Another run (process {os.getpid()}) is at work here" in done.stderr
    assert fresh.run(sys.executable, "-c", HOLD).returncode == 0


def test_the_library_of_versions_can_be_imported_without_fcntl(tmp_path):
    told = "import sys; sys.modules['fcntl'] = None; import " + ", ".join(
        f"diva.versions.{file.stem}" for file in sorted((ROOT / "diva/versions").glob("[a-z]*.py"))
    )
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_running_is_an_exit_status_of_its_own(capsys):
    with pytest.raises(SystemExit) as end:
        terminal.stop(RunningError("at work"))
    assert (end.value.code, capsys.readouterr().err) == (75, "at work\n")


def test_options_of_the_command_line():
    told = options.parse("flows.nightly", "", ["--max-rounds", "3", "--watch", "in", "--keep"])
    assert (told.max_rounds, told.watch, told.stale) == (3, "in", "keep")
    assert options.parse("flows.nightly", "", ["--budget", "0"]).budget == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [(["--max-rounds", "0"], "--max-rounds: input should be greater than or equal to 1, got 0"),
     (["--budget", "many"], "--budget: input should be a valid integer"),
     (["--keep", "--rebase"], "not allowed with argument --keep")],
)  # fmt: skip
def test_mistakes_on_the_command_line_are_named(capsys, given, message):
    with pytest.raises(SystemExit):
        options.parse("flows.nightly", "", given)
    assert message in capsys.readouterr().err
