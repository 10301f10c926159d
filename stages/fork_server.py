"""Runs a command whose stages share the libraries of one process: ``python -m stages.fork_server COMMAND…``.

Loading torch and scikit-learn takes longer than most stages of a small project take. This process loads them once; the
processes ``python -m stages.<verb>`` that the command starts ask it to run their stage in a fork of itself, with their
arguments, environment and streams. The project's own code is loaded once, too, and anew after an edit. A process that
differs from this one in environment, folder or interpreter runs its stage itself, as all do without a server.

Without a command it serves whoever has its address in the environment, until it is killed: a night has one for all of
its rounds (`diva.versions.pipeline.loaded_libraries`), and DVC, too, is loaded once.

Nothing is left behind: command and forks are killed with the server, a fork, and what it started, with the process that
asked for it. On Linux alone; elsewhere the command runs as it stands.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from diva.versions import fork_client
from diva.versions.fork_client import ACCEPTED, ADDRESS, NUMBER
from diva.versions.leash import end_with_parent
from stages import fork_code

SHARED = ("numpy", "yaml", "h5py", "pydantic", "polars")
TENSORS = (*SHARED, "torch", "scipy.linalg", "scipy.optimize", "PIL.Image")
LEARNERS = (*TENSORS, "sklearn.linear_model", "sklearn.neural_network", "sklearn.svm")
NEEDLESS = "pandas"  # which scikit-learn imports where it is there, and uses for frames alone: a third of its time
LIBRARIES: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("extract", "fit", "score", "extend", "augment", "multimodal", "suggest"), TENSORS
)
LIBRARIES |= dict.fromkeys(("reweight", "evaluate"), LEARNERS)
LIBRARIES["download"] = (*SHARED, "PIL.Image", "scipy.spatial")  # which draws the example
DVC = ("diva.versions.reproduction", "diva.versions.transfer")
LIBRARIES |= dict.fromkeys(
    (module.rpartition(".")[2] for module in DVC),
    ("dvc.cli", "dvc.commands.repro", "dvc.commands.data_sync", "dvc.data_cloud", "dvc.lock", "dvc.repo.datasets",
     "dvc.repo.graph", "dvc.repo.index", "dvc.repo.open_repo", "dvc.repo.plots", "dvc.rwlock", "dvc.scm",
     "dvc_data.hashfile.status", "dvc_data.index.push", "fsspec.implementations.memory", "pyparsing.testing"),
)  # fmt: skip
# that an allocator starts anew in a fork; and that takes away what other processes spilled, which no stage does
THREADS = {"jemalloc_bg_thd", "polars-ooc-clea"}
ENVIRONMENT = dict(os.environ)  # before libraries set variables of their own
CHANGES = {ADDRESS, "DIVA_INTERIM_ROUND", "PWD", "OLDPWD", "SHLVL", "_"}  # from process to process


class Fork(NamedTuple):
    """A fork at work, a descriptor that says when it ends, and the connection to the process that waits for it."""

    process: int
    ended: int
    client: socket.socket


def serve(command: list[str]) -> int:
    """Exit status of the command, 128 and the signal's number where it was killed; without one, serve for ever."""
    signal.signal(signal.SIGINT, lambda *_: None)  # the command and the forks have it, too
    address = fork_client.new_address() if command else os.environ[ADDRESS]
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(f"\0{address}")
        listener.listen()
        selector.register(listener, selectors.EVENT_READ)
        while not command:
            answer(listener, selector)
        environment = os.environ | {ADDRESS: address}
        child = subprocess.Popen(command, env=environment, preexec_fn=end_with_parent)  # noqa: S603 - the caller's own
        selector.register(os.pidfd_open(child.pid), selectors.EVENT_READ)
        while child.poll() is None:
            answer(listener, selector)
        for work in {key.data for key in selector.get_map().values() if key.data}:
            finish(work, selector)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def answer(listener: socket.socket, selector: selectors.BaseSelector) -> None:
    """Wait for what happens next; what has ended counts before what begins."""
    happened = [key for key, _ in selector.select()]
    for key in happened:
        if key.data and key.fd in selector.get_map():
            finish(key.data, selector)
    if any(key.fileobj is listener for key in happened):
        accept(listener, selector)


def accept(listener: socket.socket, selector: selectors.BaseSelector) -> None:
    """Answer a process that asks: fork for it, or close where it is not like this one and runs its stage itself."""
    client, streams = listener.accept()[0], list[int]()
    try:
        client.settimeout(10)
        request, streams = received(client)
        if fork_client.owner(client) != os.getuid() or not alike(request) or not loaded(request["command"][0]):
            raise ValueError("another login, another environment, or libraries that cannot be shared.")
        server, process = os.getpid(), fork()
        if not process:
            run(request, streams, server)
        work = Fork(process, os.pidfd_open(process), client)
        for end in (work.ended, client):
            selector.register(end, selectors.EVENT_READ, work)
        client.sendall(ACCEPTED)
    except BrokenPipeError:
        return  # it has ended: the selector sees that, too
    except (OSError, ValueError):
        client.close()
    finally:
        for stream in streams:
            os.close(stream)


def received(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request, and the descriptors of the streams that came with it."""
    first, streams, _, _ = socket.recv_fds(client, NUMBER.size, 3)
    rest, text = NUMBER.unpack(first)[0], b""
    while len(text) < rest and (part := client.recv(rest - len(text))):
        text += part
    return json.loads(text), streams


def alike(request: dict[str, Any]) -> bool:
    """Whether a process has the folder, the interpreter and the environment of this one, and runs a stage, or DVC."""
    module = request["command"][0]
    serves = module in DVC or module.removeprefix("stages.").isidentifier()
    same = all(request[name] == value for name, value in fork_client.description().items())
    return serves and same and unchanging(request["environment"]) == unchanging(ENVIRONMENT)


def unchanging(environment: dict[str, str]) -> dict[str, str]:
    """Without what shells, DVC and this module set."""
    return {name: value for name, value in environment.items() if name not in CHANGES and not name.startswith("DVC_")}


def loaded(module: str) -> bool:
    """Load what a stage's forks share; whether that worked and left no thread that a fork would lack."""
    sys.modules.setdefault(NEEDLESS, None)  # type: ignore[arg-type]
    try:
        for name in LIBRARIES.get(module.rpartition(".")[2], SHARED):
            importlib.import_module(name)
    except Exception:
        return False
    finally:
        if sys.modules[NEEDLESS] is None:
            del sys.modules[NEEDLESS]
    fork_code.load(module)
    threads = [task for task in Path("/proc/self/task").iterdir() if int(task.name) != os.getpid()]
    return {(task / "comm").read_text().strip() for task in threads} <= THREADS


def fork() -> int:
    """0 in the new process, in this one its number."""
    gc.freeze()  # else the first search for garbage copies all there is
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return os.fork()


def run(request: dict[str, Any], streams: list[int], server: int) -> NoReturn:
    """Run a module as ``python -m`` does, and end."""
    end_with_parent()
    module, *arguments = request["command"]
    if os.getppid() != server:  # it was killed before that
        os._exit(1)
    for stream, number in zip(streams, range(3), strict=True):
        os.dup2(stream, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(request["environment"])
    if module in DVC:
        for name in os.environ.keys() - request["environment"]:
            del os.environ[name]
        os.setpgid(0, 0)  # with what it starts, which asks for forks in its turn
        gc.enable()
    else:
        del os.environ[ADDRESS]
    fork_code.keep(module)
    sys.argv, status = ["-m", *arguments], 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        sys.stderr.write(f"{error.code}\n" if isinstance(error.code, str) else "")
    except BaseException as error:
        traceback.print_exc()
        status = 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def finish(work: Fork, selector: selectors.BaseSelector) -> None:
    """Hand a fork's status on once it ends, or end it where the process that asked for it has ended."""
    if not os.waitid(os.P_PID, work.process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        os.kill(work.process, signal.SIGKILL)
    with suppress(ProcessLookupError):  # a stage has no group of its own
        os.killpg(work.process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(work.process, 0)[1])
    for end in (work.ended, work.client):
        selector.unregister(end)
    with suppress(OSError):
        work.client.sendall(NUMBER.pack(status))
    work.client.close()
    os.close(work.ended)


if __name__ == "__main__":
    usable = sys.platform == "linux" and hasattr(os, "pidfd_open")
    sys.exit(serve(sys.argv[1:]) if usable else subprocess.run(sys.argv[1:], check=False).returncode)  # noqa: S603
