"""How a stage is run from the command line: its option, its log, and its mistakes as messages."""

import argparse
import gc
import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from diva.numerics import cores
from diva.store import paths
from diva.text import progress
from diva.text.harmless import Lines, plain, spare_encodings
from stages.params import section
from stages.params.memory import Memory


def run(stage: Callable[..., None], *options: str) -> NoReturn:
    """Run ``stage`` with its options (``batch`` becomes ``--batch``) and end the process.

    A mistake in the input is one message on stderr and exit code 1; a traceback is left to faults of the program.
    """
    spare_encodings()
    gc.freeze()  # what was imported stays
    gc.enable()
    log = logging.StreamHandler(sys.stderr)
    log.setFormatter(Lines("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[log])
    parser = argparse.ArgumentParser(prog=f"python -m {_module(stage)}", description=stage.__doc__)
    for option in options:
        parser.add_argument(f"--{option}", required=True)
    try:
        with progress.shown(_module(stage).rpartition(".")[2]):
            grant_memory()
            stage(**vars(parser.parse_args()))
    except (ValueError, OSError, MemoryError) as error:
        sys.stderr.write(plain(f"{_module(stage)}: {str(error) or 'memory does not suffice.'}\n"))
        sys.exit(1)
    sys.exit(0)


def grant_memory() -> None:
    """Let rows stay in as much memory as params.yaml grants; a project from before that section goes by the machine."""
    content = section.load() if paths.PARAMS.is_file() else {}
    granted = section.validate(content.get("memory", {"rows": "auto"}), Memory, f"{paths.PARAMS}:memory").rows
    if granted != "auto":
        os.environ.setdefault(cores.MEMORY, str(granted))


def _module(stage: Callable[..., None]) -> str:
    spec = getattr(sys.modules[stage.__module__], "__spec__", None)
    return spec.name if spec else stage.__module__
