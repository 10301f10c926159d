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
from base64 import b64encode
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
ADDRESS = HOME / "port"  # of a server that found the usual one taken
SERVED, ASKED = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"  # what a server wants, what a client gives


def answers(port: int, path: str = "/api/health", login: str = "") -> bool:
    """Whether a Prefect server is ready on this machine, and lets in who brings this login."""
    headers = {"Authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
    try:
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        connection.request("GET", path, headers=headers)
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
    """Whether this project's server is ready: one of this user's, who alone is told the token, that takes it."""
    secret = os.environ.get(ASKED) or (token() if TOKEN.is_file() else "")
    return answers(port) and is_own(port) and answers(port, "/api/admin/version", secret)


def usual_port() -> int:
    """Where `make server` listens, or did the last time it found the usual port taken."""
    with suppress(OSError, ValueError):
        return int(ADDRESS.read_text(encoding="utf-8"))
    return PORT


def free_port(wanted: int) -> int:
    """The port that is wanted, or, where somebody listens there, any that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise RuntimeError("a port of this machine must be free, got none.")


def command(port: int) -> list[str]:
    """Starts a server."""
    return [*PREFECT, "server", "start", "--host", HOST, "--port", str(port), "--log-level", "ERROR"]


def token() -> str:
    """What `make server` wants to hear, made once, for this user's eyes alone; Prefect's own commands are told, too."""
    HOME.mkdir(exist_ok=True)
    HOME.chmod(0o700)  # the token, and a database of runs
    if not TOKEN.is_file():
        TOKEN.touch(0o600)
        TOKEN.write_text(f"diva:{secrets.token_urlsafe(32)}", encoding="utf-8")
    secret = TOKEN.read_text(encoding="utf-8").strip()
    if not PROFILES.exists():
        PROFILES.touch(0o600)
        PROFILES.write_text(f'active = "diva"\n\n[profiles.diva]\n{ASKED} = "{secret}"\n', encoding="utf-8")
    return secret


def spare_loopback() -> None:
    """Let no proxy of the environment stand between this machine and itself."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, HOST, "localhost"]))


def introduce() -> None:
    """Let this process's client give the token of `make server`, where there is one."""
    if TOKEN.is_file():
        os.environ.setdefault(ASKED, token())


@contextmanager
def temporary() -> Iterator[str]:
    """A server for the time of the block, which ends with this process whatever happens; yields its address.

    It wants a token of its own, which this process and those that it starts find in their environment.
    """
    port = free_port(0)
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


def end(*_: Any) -> NoReturn:
    """End on the first SIGTERM; a second one does not disturb the end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def listening_port() -> int:
    """A port for this project's server; ends the process where that runs already."""
    asked = os.environ.get("PREFECT_SERVER_API_PORT")
    wanted = int(asked or PORT)
    if any(map(ready, {wanted, usual_port()})):
        sys.exit(f"This project's Prefect server runs on port {wanted if ready(wanted) else usual_port()} already.")
    port = free_port(wanted)
    ADDRESS.unlink(missing_ok=True)
    if port != wanted:
        ADDRESS.write_text(f"{port}\n", encoding="utf-8")
        sys.stderr.write(
            f"Port {wanted} is another's; this project's server listens on {port}. In other terminals, first: "
            f"export PREFECT_API_URL=http://{HOST}:{port}/api\n"
        )
    return port


def main() -> NoReturn:
    """Server and worker until Ctrl-C or SIGTERM, or until either ends; whatever the end, neither outlives it."""
    signal.signal(signal.SIGTERM, end)
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ[SERVED] = os.environ[ASKED] = token()  # by the environment: a command line can be read by all
    spare_loopback()
    port, shown = listening_port(), sys.stdout.fileno()
    os.environ["PREFECT_API_URL"] = f"http://{HOST}:{port}/api"
    worker = [*PREFECT, "worker", "start", "--pool", POOL, "--type", "process"]  # makes the pool
    with suppress(KeyboardInterrupt), leashed(command(port), SCRATCH / "served.lock", shown) as served:
        wait_for(port, served.poll)
        settle()
        with leashed(worker, SCRATCH / "worker.lock", shown) as working:
            while served.poll() is None and working.poll() is None:
                time.sleep(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
