"""How a stage is run from the command line: its option, its log, and its mistakes as messages."""

import argparse
import gc
import logging
import sys
from collections.abc import Callable
from typing import NoReturn

from diva.text import progress
from diva.text.harmless import Lines, plain, spare_encodings


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
            stage(**vars(parser.parse_args()))
    except (ValueError, OSError, MemoryError) as error:
        sys.stderr.write(plain(f"{_module(stage)}: {str(error) or 'memory does not suffice.'}\n"))
        sys.exit(1)
    sys.exit(0)


def _module(stage: Callable[..., None]) -> str:
    spec = getattr(sys.modules[stage.__module__], "__spec__", None)
    return spec.name if spec else stage.__module__
