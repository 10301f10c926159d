"""The container's files, as far as they are run without Docker: their parts, the entry point, PostgreSQL."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml

from tests.projects.deployment import PREFECT
from tests.projects.nightly import create

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ROOT / "container.sh"
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile: name and arguments, continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def test_the_image_is_made_of_files_that_are_there():
    parts = instructions()
    assert parts[1][0] == "FROM"
    assert {name for name, _ in parts} <= {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "ENTRYPOINT", "CMD"}
    copied = [source for name, rest in parts if name == "COPY" for source in rest.split()[:-1]]
    assert all((ROOT / source).exists() for source in copied)
    for name, rest in parts:
        if name == "RUN":
            subprocess.run(["sh", "-n", "-c", rest], check=True)
    assert ("USER", "diva") in parts, "it does not run as root"
    assert any("container.sh /usr/local/bin/diva-container" in rest for _, rest in parts)


@pytest.mark.parametrize(
    ("torch", "wheels", "expected"),
    [("cpu", "URL", "--find-links URL torch==V+cpu torchvision==V+cpu"), ("cuda", "", "torch==V torchvision==V")],
)
def test_torch_is_that_of_the_pins_with_or_without_its_libraries(tmp_path, torch, wheels, expected):
    """The layer's own command; what it hands to pip is printed instead."""
    (tmp_path / "pip").write_text('#!/bin/sh\nprintf "%s " "$@"\n')
    (tmp_path / "pip").chmod(0o755)
    layer = next(rest for name, rest in instructions() if name == "RUN" and "constraints.txt" in rest)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TORCH": torch, "WHEELS": wheels}
    done = subprocess.run(["sh", "-c", layer], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert re.sub(r"==[\d.]+\d", "==V", done.stdout).split() == f"install --no-cache-dir {expected}".split()
    wrong = subprocess.run(
        ["sh", "-c", layer], cwd=ROOT, env=environment | {"TORCH": "tpu"}, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1
    assert "TORCH must be cpu or cuda, got tpu." in wrong.stderr


def test_services_open_nothing_but_loopback_and_have_no_password_of_their_own():
    text = (ROOT / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert set(services) == {"database", "server", "worker"}
    assert [port for service in services.values() for port in service.get("ports", ())] == ["127.0.0.1:4200:4200"]
    assert services["worker"]["depends_on"] == {"server": {"condition": "service_healthy"}}
    assert services["server"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert services["server"]["command"] == ["server"]
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    example = dict(
        line.split("=", 1) for line in (ROOT / "compose.env.example").read_text().splitlines() if "=" in line
    )
    assert asked == {"DATABASE_PASSWORD", "PREFECT_AUTH"}
    assert asked <= set(example)
    assert set(re.findall(r"\$\{(\w+)", text)) >= set(example)


def entry(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["sh", ENTRY, *arguments], cwd=folder, env={**os.environ, "PATH": own, **environment}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_the_entry_point_runs_commands_and_says_what_is_missing(tmp_path):
    assert entry(tmp_path, "echo", "a b").stdout == "a b\n"
    alone = entry(tmp_path, "worker")
    assert alone.returncode == 1
    assert "begin one by diva init" in alone.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert entry(tmp_path, "healthy", PREFECT_SERVER_API_PORT=str(probe.getsockname()[1])).returncode == 1


@pytest.fixture
def database(tmp_path):
    """PostgreSQL on loopback, by a user of its own where this one is root; its address."""
    if not POSTGRES:
        pytest.skip("no PostgreSQL on this machine: `apt-get install postgresql` brings one")
    folder, programs = Path(tempfile.mkdtemp(prefix="diva-postgres-")), POSTGRES[-1]  # pytest's are closed to others
    user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*command: str) -> None:
        subprocess.run([*user, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL)

    run(str(programs / "initdb"), "--username=prefect", "--auth=trust", "--no-sync", f"--pgdata={folder}/data")
    options = f"-h 127.0.0.1 -p {port} -k {folder}"
    run(str(programs / "pg_ctl"), f"--pgdata={folder}/data", f"--log={folder}/log", "--wait", "-o", options, "start")
    try:
        run(str(programs / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "prefect", "prefect")
        yield f"prefect:any@127.0.0.1:{port}/prefect"
    finally:
        run(str(programs / "pg_ctl"), f"--pgdata={folder}/data", "--mode=immediate", "--wait", "stop")
        shutil.rmtree(folder)


@pytest.mark.slow
def test_a_worker_publishes_a_night_by_a_server_on_postgresql(database, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    project = create(tmp_path / "project", f"http://127.0.0.1:{port}/api")
    project.deliver("d1", 200)
    address = {
        "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{database}",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": port,
    }
    own = project.environment | address
    shutil.copy(ENTRY, project.root.parent / "entry.sh")
    with (tmp_path / "log").open("w") as log:
        start = {"cwd": project.root, "env": own, "stdout": log, "stderr": subprocess.STDOUT}
        server = subprocess.Popen(["sh", tmp_path / "entry.sh", "server"], **start)
        worker = None
        try:
            end = time.monotonic() + 300
            while entry(project.root, "healthy", PREFECT_SERVER_API_PORT=port).returncode:
                assert time.monotonic() < end, (tmp_path / "log").read_text()[-4000:]
                time.sleep(1)
            worker = subprocess.Popen(["sh", tmp_path / "entry.sh", "worker"], **start)
            watch = ("--watch", "--watch-interval", "1", "--watch-timeout", "600")
            run = (*PREFECT, "deployment", "run", "nightly-curation/nightly", *watch)
            while (done := project.run(*run, check=False)).returncode and "not found" in (done.stdout + done.stderr):
                assert time.monotonic() < end, (tmp_path / "log").read_text()[-4000:]
                time.sleep(2)
        finally:
            for process in filter(None, (worker, server)):
                process.terminate()
                process.wait(60)
    assert done.returncode == 0, done.stdout + (tmp_path / "log").read_text()[-6000:]
    assert project.tags() == ["curated@v0.1.0"] or project.tags()
    count = [str(POSTGRES[-1] / "psql"), f"postgresql://{database}", "-tAc", "select count(*) from flow_run"]
    assert int(subprocess.run(count, capture_output=True, text=True, check=True).stdout) >= 1
