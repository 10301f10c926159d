"""DVC's commands, and ``dvc.lock``: which md5 each stage's inputs and outputs have, whole or put right."""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from diva.store import atomic
from diva.versions import fork_client
from diva.versions.cache import LOCK
from diva.versions.locks import COMMAND, FORKS, SCRATCH, lock
from diva.versions.processes import CommandError, Log, environment, git, leashed, stream

logger = logging.getLogger(__name__)
DIGEST = re.compile(r"^[0-9a-f]{32}(\.dir)?$")

DVC, TRANSFER = ((sys.executable, "-m", module) for module in ("dvc", "diva.versions.transfer"))
SERVER, REPRODUCTION = ((sys.executable, "-m", name) for name in (fork_client.SERVER, "diva.versions.reproduction"))
TRANSFERS = ("push", "fetch", "pull")
READ = SCRATCH / "read.lock"  # of commands that read other versions, whatever is at work here


def dvc(*arguments: str, log: Log = logger.debug) -> None:
    """A DVC command, each line of its output to ``log``.

    Raises:
        BusyError: another DVC process is at work.
        CommandError: anything else went wrong.
    """
    repair()
    _run(arguments, log)


def dvc_read(*arguments: str) -> None:
    """A DVC command that changes nothing in the work tree; CommandError where it fails."""
    _run(arguments, logger.debug, READ)


def _run(arguments: Sequence[str], log: Log, guard: Path = COMMAND) -> None:
    reproduce = REPRODUCTION if fork_client.ADDRESS in os.environ else (*SERVER, *REPRODUCTION)
    command = TRANSFER if arguments[0] in TRANSFERS else reproduce if arguments[0] == "repro" else DVC
    stream([*command, *arguments], log, guard, name=" ".join(["dvc", *arguments]))


@contextmanager
def loaded_libraries() -> Iterator[None]:
    """Within the block DVC's commands, and the stages that they run, are forks of one server, which ends with it."""
    if sys.platform != "linux":
        yield
        return
    with environment({fork_client.ADDRESS: fork_client.new_address()}), leashed(SERVER, FORKS):
        yield


def up_to_date(*targets: str) -> bool:
    """Whether every stage has run on what lies here now, and data are what their .dvc files say; or only some."""
    try:
        dvc("status", "--quiet", *targets)
    except CommandError:
        return False
    return True


def repair() -> None:
    """Undo what a killed DVC may leave: it writes its lock files in place, so they may be cut short.

    A broken ``dvc.lock``, or a missing one, becomes the committed one (stages since then run again, or come from the
    cache); a broken list of running processes goes.
    """
    with lock(COMMAND):  # the last process of a killed run may still be writing
        pass
    running = SCRATCH / "rwlock"
    if running.is_file() and not _whole(running, json.loads):
        logger.warning("%s was cut short by a killed process; it goes.", running)
        running.unlink()
    committed = git("show", f":{LOCK}", check=False)  # as it was last committed, or rolled back to
    if (committed or LOCK.is_file()) and not _whole(LOCK, lambda text: _lock_content(text, committed)):
        logger.warning("%s is missing or cut short; the committed one takes its place.", LOCK)
        if committed:
            atomic.write_text(LOCK, committed + "\n")
        else:
            LOCK.unlink()


def _whole(path: Path, read: Callable[[str], Any]) -> bool:
    try:
        read(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return False
    return True


def _lock_content(text: str, committed: str = "") -> dict[str, Any]:
    """Stages of a lock file by name; an error where it is cut short, or lacks stages of another, ``known`` one."""
    # all scalars as text: a hash must never become a number
    stages: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))["stages"]  # noqa: S506
    for stage in stages.values():
        stage["cmd"]
        for entry in (*stage.get("deps", ()), *stage.get("outs", ())):
            if not DIGEST.match(entry["md5"]):
                raise ValueError(f"md5 must be 32 hexadecimal digits, got {entry['md5']}.")
    if committed and not _lock_content(committed).keys() <= stages.keys():
        raise ValueError("stages must be all that are known, got fewer.")
    return stages


def locked_stages(commit: str | None = None) -> dict[str, Any]:
    """Stages of ``dvc.lock`` in the work tree, or at a commit; empty where there is none."""
    if commit:
        text = git("show", f"{commit}:{LOCK}", check=False)
    else:
        repair()
        text = LOCK.read_text(encoding="utf-8") if LOCK.is_file() else ""
    return _lock_content(text) if text else {}
