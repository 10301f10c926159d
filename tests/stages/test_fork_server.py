"""Stages in forks of one process end as they would by themselves, and leave nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diva.store import evaluation
from diva.versions import pipeline
from diva.versions.fork_client import ADDRESS, new_address
from stages import fork_server
from tests.projects.checkout import ROOT
from tests.projects.processes import alive, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets, descriptors of processes")
PROBE = """
import os, signal, sys
from stages.word import WORD

if __name__ == "__main__":
    processes, stage = (os.getpid(), os.getppid()), os.environ.get("DVC_STAGE")
    print(WORD, *processes, "numpy" in sys.modules, *sys.argv[1:], stage, flush=True)
    sys.argv[1:] == ["wait"] and signal.pause()
    sys.argv[1:] == ["error"] and sys.exit("It went wrong.")
    sys.argv[1:] == ["kill"] and os.kill(os.getpid(), signal.SIGTERM)
"""
COMMANDS = """
echo $PPID
python -m stages.probe one; echo $?
DVC_STAGE=probe python -m stages.probe two; echo $?
OTHER=1 python -m stages.probe three; echo $?
sed -i s/first/second/ stages/word.py
python -m stages.probe error; echo $?
python -m stages.probe kill; echo $?
exit 5
"""


DVC = """
import os, subprocess
from diva.versions import fork_client

if __name__ == "__main__":
    fork_client.run_elsewhere()
    print(os.getpid(), flush=True)
    subprocess.run("echo $$; python -m stages.probe wait & sleep 600", shell=True)
"""


@pytest.fixture
def run(tmp_path):
    """Starts a command in a folder with the project's code, a stage ``probe`` and a ``transfer`` that runs it."""
    for folder in ("diva", "stages"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "stages/probe.py").write_text(PROBE)
    (tmp_path / "stages/word.py").write_text("WORD = 'first'")
    (tmp_path / "diva/versions/transfer.py").write_text(DVC)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(tmp_path)}
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | {"text": True}

    def run(*command, session=False, **variables):
        words = [sys.executable, "-m", *command]
        env = environment | variables
        return subprocess.Popen(words, cwd=tmp_path, env=env, start_new_session=session, **streams)

    return run


@pytest.fixture
def start(run):
    """Starts a command of the shell with the server."""
    return lambda text: run("stages.fork_server", "sh", "-c", text)


def test_a_fork_runs_a_stage_as_its_own_process_would(start):
    process = start(COMMANDS)
    said, errors = process.communicate(timeout=120)
    server, *lines = said.splitlines()
    words = [line.split() for line in lines[::2]]
    assert [(line[2] == server, *line[3:]) for line in words] == [
        (True, "True", "one", "None"), (True, "True", "two", "probe"),
        (False, "False", "three", "None"),  # another environment: by itself
        (True, "True", "error", "None"), (True, "True", "kill", "None"),
    ]  # fmt: skip
    assert [line[0] for line in words] == ["first"] * 3 + ["second"] * 2  # code is read anew
    assert lines[1::2] == ["0", "0", "0", "1", str(128 + signal.SIGTERM)]
    assert "It went wrong." in errors
    assert process.returncode == 5


@pytest.mark.parametrize("whose", ["server", "client", "fork"])
def test_a_fork_ends_with_its_server_and_with_the_process_that_asks(start, whose):
    process = start("python -m stages.probe wait & echo $!; wait $!; exit 3")
    client = int(process.stdout.readline())
    fork = int(process.stdout.readline().split()[1])
    assert alive(fork)
    assert alive(client)
    os.kill({"server": process.pid, "client": client, "fork": fork}[whose], signal.SIGKILL)
    assert eventually(lambda: not alive(fork) and not alive(client))
    assert process.wait(30) == (-signal.SIGKILL if whose == "server" else 3)


@pytest.mark.parametrize("whose", ["leash", "client", "fork"])
def test_a_night_s_server_leaves_nothing_of_dvc_behind(run, whose):
    address = {ADDRESS: new_address()}  # folders of processes that test beside this one have equal names
    leash = run("diva.versions.leash", "lock", *pipeline.SERVER, session=True, **address)
    assert eventually(lambda: f"@{address[ADDRESS]}" in Path("/proc/net/unix").read_text())
    client = run("diva.versions.transfer", **address)
    fork, shell = (int(client.stdout.readline()) for _ in range(2))
    stage, parent = map(int, client.stdout.readline().split()[1:3])
    assert os.getpgid(fork) == fork == os.getpgid(shell)  # DVC is a fork, and so is the stage that it starts
    assert os.getsid(fork) == os.getsid(parent) == leash.pid
    if whose == "leash":  # the night was killed
        leash.stdin.close()
    else:
        os.kill({"client": client.pid, "fork": fork}[whose], signal.SIGKILL)
    assert eventually(lambda: not any(map(alive, (fork, shell, stage))))
    assert client.wait(30) != 0
    leash.stdin.close()
    assert leash.wait(30) == 128 + signal.SIGKILL


def test_a_fork_has_the_modules_that_its_stage_imports_and_no_others():
    modules = "import sys; import stages.release; from stages import fork_code; print(*sorted(fork_code.own()))"
    loads = "from stages import fork_code; [fork_code.load(f'stages.{name}') for name in ('report', 'release', 'pool')]"
    keeps = f"{loads}; fork_code.keep('stages.release'); before = fork_code.own(); {modules}; print(*sorted(before))"
    plain, forked = (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for code in (modules, keeps)
    )
    after, before = (set(line.split()) for line in forked.splitlines())
    assert after == set(plain.split())
    assert after - before == {"stages.fork_code", "stages.release"}


def test_nights_reproduce_with_the_server():
    assert pipeline.SERVER[1:3] == ("-m", "stages.fork_server")
    assert evaluation.INTERIM in fork_server.CHANGES
