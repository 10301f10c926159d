"""How flows are started without a deployment: Prefect stays in the project, mistakes become messages."""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import NoReturn

from diva.text.harmless import plain
from flows import lock, server, work
from flows.options import Options

HELD = ExitStack()  # until the process ends
BUSY = 75  # EX_TEMPFAIL: try again later


def say(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(plain(text) + "\n")
    sys.stdout.flush()


def stop(error: BaseException) -> NoReturn:
    """End the process with the error's message."""
    sys.stderr.write(plain(f"{error}\n"))
    sys.exit(BUSY if isinstance(error, lock.RunningError) else 1)


def settle_server() -> None:
    """Before Prefect is imported: report to `make server` where it runs, else to a server for the time of this run."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    if "PREFECT_API_URL" in os.environ:
        return
    if server.ready(server.PORT):
        server.introduce()
    else:
        os.environ["PREFECT_API_URL"] = HELD.enter_context(server.temporary())


def hold() -> None:
    """Take the lock for the rest of the process, or end it."""
    try:
        HELD.enter_context(lock.only_run())
    except lock.RunningError as error:
        stop(error)


def begin(options: Options) -> None:
    """Before Prefect is imported: hold the lock, look for work, end the process where there is none."""
    hold()
    try:
        found = work.reasons(options)
    except (ValueError, OSError, RuntimeError) as error:
        stop(error)
    say("\n".join(found) or "Nothing to do.")
    if not found:
        sys.exit(0)
    settle_server()


def finish(run: Callable[[], object]) -> None:
    """Run a flow; what it refuses is a message and a non-zero exit status."""
    try:
        say(str(run()))
    except (ValueError, OSError, RuntimeError) as error:
        stop(error)
