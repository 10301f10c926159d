"""How flows are started without a deployment: Prefect stays in the project, mistakes become messages."""

import gc
import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from diva.text.harmless import plain, spare_encodings
from diva.versions.locks import RunningError, exclusive
from flows import options, server, work
from flows.options import Options

BUSY = 75  # EX_TEMPFAIL: try again later
LINE = "%(asctime)s | %(levelname)-7s | %(message)s"  # without the names that Prefect draws for runs and tasks


def say(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(plain(text) + "\n")
    sys.stdout.flush()


def stop(error: BaseException) -> NoReturn:
    """End the process with the error's message."""
    sys.stderr.write(plain(f"{error}\n"))
    sys.exit(BUSY if isinstance(error, RunningError) else 1)


@contextmanager
def server_of_run() -> Iterator[None]:
    """Before Prefect is imported: report to `make server` where it runs, else to a server for the time of this run."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT", LINE)
    os.environ.setdefault("PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT", LINE)
    server.spare_loopback()
    if "PREFECT_API_URL" in os.environ:
        yield
    elif server.ready(port := server.usual_port()):
        if port != server.PORT:
            os.environ["PREFECT_API_URL"] = f"http://{server.HOST}:{port}/api"
        server.introduce()
        yield
    else:
        with server.temporary() as address:
            os.environ["PREFECT_API_URL"] = address
            try:
                yield
            finally:
                _end_reports()


def _tells(record: logging.LogRecord) -> bool:
    """Whether a line says more than that a part of the run began or ended well, or where a temporary server is."""
    return not re.match(r"Beginning flow run|Finished in state Completed\(|View at http://127\.", record.getMessage())


def _end_reports() -> None:
    """Send what Prefect still has to log while its server is there, and nothing later."""
    if "prefect.logging.handlers" not in sys.modules:
        return
    from prefect.logging.handlers import APILogHandler, APILogWorker

    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        for handler in [handler for handler in logger.handlers if isinstance(handler, APILogHandler)]:
            logger.removeHandler(handler)
    APILogWorker.drain_all(timeout=10)


def nightly() -> NoReturn:
    """``python -m flows.nightly``: a night without work ends before Prefect is imported."""
    asked = options.parse("flows.nightly", "Take in deliveries and publish rounds.")

    def look() -> list[str]:
        obstacles: list[str] = []
        reasons = work.reasons(asked, obstacles.append)
        say("\n".join(reasons or ["Nothing to do.", *obstacles]))  # a run says them itself
        return reasons

    run("flows.nightly", asked, look)


def extend() -> NoReturn:
    """``python -m flows.extend``."""
    run("flows.extend", options.parse("flows.extend", "Publish one round."), lambda: ["it is asked for"])


def run(module: str, asked: Options, reasons: Callable[[], list[str]]) -> NoReturn:
    """Run a module's flow, if there is reason to; what it refuses is a message and a non-zero exit status."""
    spare_encodings()
    try:
        with exclusive():
            if reasons():
                with server_of_run():
                    gc.disable()  # Prefect's imports leave no garbage, and looking for it takes a fifth of their time
                    flow = importlib.import_module(module).run
                    gc.enable()
                    for handler in logging.root.handlers:  # of the terminal; what Prefect stores stays whole
                        handler.addFilter(_tells)
                    say(flow(asked))
    except (ValueError, OSError, RuntimeError) as error:
        stop(error)
    sys.exit(0)
