"""Prefect on this machine: ``python -m flows.server`` starts server and worker; a run without them brings a server.

Both listen on loopback only, ask for a token, and keep their books in the project's ``.prefect`` (see prefect.toml).
Who may start a flow runs code as this user: without a token that would be everybody with a login on this machine. The
token is told to nobody but a process of this user's: while ours is down, anybody may listen at its address.
"""

import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil

from diva.versions.locks import SCRATCH
from diva.versions.processes import environment, leashed

HOST, PORT = "127.0.0.1", 4200  # of `make server`; prefect.toml has them too
POOL = "nightly"
PATIENCE = 300.0  # seconds for a first start, which makes the database, on a busy machine
PREFECT = (sys.executable, "-m", "prefect")
HOME = Path(".prefect")
TOKEN, PROFILES = HOME / "token", HOME / "profiles.toml"
SERVED, ASKED = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"  # what a server wants, what a client gives


def answers(port: int) -> bool:
    """Whether a Prefect server is ready on this machine."""
    try:
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        connection.request("GET", "/api/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def is_own(port: int) -> bool:
    """Whether it is this user who listens on that port of this machine."""
    return any(
        link.status == psutil.CONN_LISTEN and link.laddr == (HOST, port)
        for process in psutil.process_iter()
        for link in _links(process)
    )


def _links(process: psutil.Process) -> list[Any]:
    """Connections of a process, if it is this user's."""
    with suppress(psutil.Error):
        if process.uids().effective == os.geteuid():
            return process.net_connections("tcp4")
    return []


def ready(port: int) -> bool:
    """Whether a server of this user's is ready: such a one may be told the token."""
    return answers(port) and is_own(port)


def command(port: int) -> list[str]:
    """Starts a server."""
    return [*PREFECT, "server", "start", "--host", HOST, "--port", str(port), "--log-level", "ERROR"]


def token() -> str:
    """What `make server` wants to hear, made once, for this user's eyes alone; Prefect's own commands are told, too."""
    if not TOKEN.is_file():
        HOME.mkdir(exist_ok=True)
        TOKEN.touch(0o600)
        TOKEN.write_text(f"diva:{secrets.token_urlsafe(32)}", encoding="utf-8")
    secret = TOKEN.read_text(encoding="utf-8").strip()
    if not PROFILES.exists():
        PROFILES.touch(0o600)
        PROFILES.write_text(f'active = "diva"\n\n[profiles.diva]\n{ASKED} = "{secret}"\n', encoding="utf-8")
    return secret


def introduce() -> None:
    """Let this process's client give the token of `make server`, where there is one."""
    if TOKEN.is_file():
        os.environ.setdefault(ASKED, token())


@contextmanager
def temporary() -> Iterator[str]:
    """A server for the time of the block, which ends with this process whatever happens; yields its address.

    It wants a token of its own, which this process and those that it starts find in their environment.
    """
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    start = [*command(port), "--no-ui"]
    with (
        environment(dict.fromkeys((SERVED, ASKED), f"diva:{secrets.token_urlsafe(32)}")),
        leashed(start, SCRATCH / "server.lock", output=subprocess.DEVNULL) as process,
    ):
        wait_for(port, process.poll)
        yield f"http://{HOST}:{port}/api"


def wait_for(port: int, status: Callable[[], int | None]) -> None:
    """Return once the server is ready; RuntimeError where its process ends, or takes too long."""
    end = time.monotonic() + PATIENCE
    while not ready(port):
        if status() is not None or time.monotonic() > end:
            raise RuntimeError(f"Prefect's server does not answer on port {port}; `prefect server start` tells why.")
        time.sleep(0.2)


def settle() -> None:
    """Say what an earlier server left at work that no process holds, and end it."""
    from flows import leftovers  # imports Prefect, which reads its address when it is imported

    for outcome in leftovers.settle():
        sys.stderr.write(f"{outcome}\n")


def main() -> NoReturn:
    """Server and worker until Ctrl-C, or until either ends, which ends both."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.environ.setdefault("DO_NOT_TRACK", "1")
    port = int(os.environ.get("PREFECT_SERVER_API_PORT", str(PORT)))
    if answers(port):
        sys.exit(f"A Prefect server runs on port {port} already.")
    os.environ["PREFECT_API_URL"] = f"http://{HOST}:{port}/api"
    os.environ[SERVED] = os.environ[ASKED] = token()  # by the environment: a command line can be read by all
    running = [subprocess.Popen(command(port))]  # noqa: S603 - our own words
    try:
        wait_for(port, running[0].poll)
        settle()
        worker = [*PREFECT, "worker", "start", "--pool", POOL, "--type", "process"]  # makes the pool
        running.append(subprocess.Popen(worker))  # noqa: S603 - as above
        while all(process.poll() is None for process in running):
            time.sleep(1)
    except KeyboardInterrupt:
        pass  # the terminal has told both
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait()
    sys.exit(0)


if __name__ == "__main__":
    main()
