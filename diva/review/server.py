"""The review server as a process: on loopback alone, on a port of its own, until Ctrl-C."""

import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn

from diva.review.application import ReviewRoutes
from diva.review.current import Current
from diva.review.guard import Guard
from diva.review.pending import Pending, one_review
from diva.store import paths

HOST = "127.0.0.1"


def serve(port: int, say: Callable[[str], None], reviewer: str | None = None) -> int:
    """Serve the report and save decisions until the process is asked to end; return how many wait then.

    Args:
        port: to listen on; 0 for any that is free.
        say: is told the address, once the server listens.
        reviewer: who decides; None where nobody says so.

    Raises:
        ValueError: there is no report, another review goes on, or the decisions that wait are wrong.
        OSError: the port is taken.
    """
    if not paths.REPORT.is_file():
        raise ValueError(f"{paths.REPORT} must exist, got nothing; `diva run` makes it.")
    current, root, token = Current(Path.cwd()), Path.cwd(), secrets.token_urlsafe(32)
    with one_review(), socket.create_server((HOST, port)) as listening:
        pending = Pending(current.about, reviewer=reviewer)
        review = ReviewRoutes(pending, current.gallery, token, root, current.is_overtaken, current.suggestions)
        own = listening.getsockname()[1]
        say(f"http://{HOST}:{own}/?token={token}")
        run(Guard(review.asgi(), own), listening)
        return len(pending)


def run(app: Guard, listening: socket.socket) -> None:
    """Answer requests until SIGINT or SIGTERM; no request is logged, since addresses hold the token."""
    config = uvicorn.Config(
        app, access_log=False, log_level="warning", lifespan="off", ws="none", server_header=False,
        timeout_graceful_shutdown=5, proxy_headers=False,
    )  # fmt: skip
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
