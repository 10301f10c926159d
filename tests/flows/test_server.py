"""Prefect's server on this machine: loopback, and a token of its own."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil
import pytest

from flows import server, terminal
from tests.faults.case import UNHARMED, Case

pytestmark = pytest.mark.xdist_group("flows")


def status(url: str, login: str = "") -> int:
    """What the server answers to a question about its flows."""
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
    request = urllib.request.Request(f"{url}/flows/filter", b"{}", headers)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


ANSWERS = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
while True:
    asked, _ = listening.accept()
    asked.recv(1 << 16)
    asked.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
    asked.close()
"""
NOBODY = 65534


@contextmanager
def answering(user: int) -> Iterator[int]:
    """Somebody's program that answers as a Prefect server does; yields its port."""
    with subprocess.Popen([sys.executable, "-c", ANSWERS, str(user)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("own", [True, False], ids=["own", "another's"])
def test_the_token_is_told_to_a_server_of_this_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    user = os.geteuid() if own or os.geteuid() else NOBODY
    for name in ("PREFECT_API_URL", server.ASKED):
        monkeypatch.setenv(name, "")  # so that what is set below is taken back
        monkeypatch.delenv(name)
    monkeypatch.setattr(server, "temporary", lambda: nullcontext("http://temporary"))
    token = server.token()
    with answering(user) as port:
        if not own and user != NOBODY:  # who may not become another says that the listener is
            monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
        monkeypatch.setattr(server, "PORT", port)
        assert server.answers(port)
        assert server.ready(port) == own
        with terminal.server_of_run():
            assert os.environ.get(server.ASKED) == (token if own else None)
            assert os.environ.get("PREFECT_API_URL") == (None if own else "http://temporary")


REFUSES = ANSWERS.replace("    asked.recv(1 << 16)", "    health = b'/health' in asked.recv(1 << 16)").replace(
    'b"HTTP/1.0 200 OK', 'b"HTTP/1.0 %s" % (b"200 OK" if health else b"401 No") + b"'
)


@Case("another project's server", "operation", "on this one's port", UNHARMED).test
def test_the_server_of_another_project_is_told_from_ones_own_and_a_free_port_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another project's server answers, but not to this one's token."""
    monkeypatch.chdir(tmp_path)
    for name in (server.ASKED, "PREFECT_SERVER_API_PORT"):
        monkeypatch.delenv(name, raising=False)
    server.token()
    assert (tmp_path / ".prefect").stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(sys.modules[__name__], "ANSWERS", REFUSES)
    with answering(os.geteuid()) as port:
        monkeypatch.setattr(server, "PORT", port)
        assert server.answers(port)
        assert server.is_own(port)
        assert not server.ready(port)
        other = server.listening_port()
        assert other != port
        assert server.usual_port() == other
        assert f"export PREFECT_API_URL=http://127.0.0.1:{other}/api" in capsys.readouterr().err
    assert server.listening_port() == port
    assert server.usual_port() == port


@pytest.mark.slow  # a server's first start
def test_a_server_ends_on_the_first_sigterm_and_leaves_no_process(tmp_path: Path, project: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(project), "PREFECT_HOME": str(tmp_path / ".prefect")}
    port = server.free_port(0)
    environment |= {"PREFECT_SERVER_API_PORT": str(port), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    for name in ("PREFECT_API_URL", server.SERVED, server.ASKED):
        environment.pop(name, None)
    with subprocess.Popen([sys.executable, "-m", "flows.server"], cwd=tmp_path, env=environment) as process:
        while not server.answers(port):
            assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(120) == 0
    gone, alive = psutil.wait_procs(children, 30)
    assert (len(gone), alive) == (len(children), [])
    assert not server.answers(port)


@pytest.mark.slow  # a server's first start
def test_who_lacks_the_token_learns_nothing_and_nobody_outside_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / ".prefect"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    for name in ("PREFECT_API_URL", server.SERVED, server.ASKED):
        monkeypatch.delenv(name, raising=False)
    with server.temporary() as url:
        token, port = os.environ[server.ASKED], int(url.split(":")[2].partition("/")[0])
        assert server.answers(port)
        assert status(url) == 401
        assert status(url, "diva:guess") == 401
        assert status(url, token) == 200
        children = psutil.Process().children(recursive=True)
        heard = [link for child in children for link in child.net_connections("inet") if link.status == "LISTEN"]
        assert {link.laddr.ip for link in heard} == {"127.0.0.1"}
        assert not [child for child in children if token in " ".join(child.cmdline())]
    assert server.ASKED not in os.environ
