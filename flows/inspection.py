"""A first look at a delivery, in a process of its own: ``python -m flows.inspection SOURCE SET`` prints its checksum.

What comes from outside may be made to crash whatever reads it, or to keep it busy for ever; parsers of HDF5 and parquet
are large. A crash here, or an hour without an end, refuses the delivery, and the night goes on.
"""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from diva.versions.locks import SCRATCH
from diva.versions.processes import leashed

LOCK = SCRATCH / "inspection.lock"
LIMIT = 3600.0  # seconds: at a disk's usual speed, half a terabyte
COMMAND = (sys.executable, "-m", "flows.inspection")


def checksum(path: Path, source: str, to: str = "pool") -> str:
    """Checksum of a delivery that can be read, and stand beside the core; a run looks at ``path`` once.

    Raises:
        ValueError: it cannot, or its reader crashed; the message names it.
    """
    said, fault = look(path, source, to)
    if fault:
        raise ValueError(fault)
    return said.partition("\t")[0]


def options(path: Path, source: str, to: str = "pool") -> dict[str, Any]:
    """The options with which a delivery that was looked at is read: its format, where it has one."""
    return dict(json.loads(look(path, source, to)[0].partition("\t")[2] or "{}"))


@cache
def look(path: Path, source: str, to: str = "pool") -> tuple[str, str]:  # noqa: ARG001 - the key of the cache
    """The checksum and, after a tab, the options as JSON; or "" and what is wrong."""
    with leashed([*COMMAND, source, to], LOCK) as process, _limited(process) as late:
        lines = [line for line in (process.stdout or "") if line.strip()]
        status = process.wait()
    if late.is_set():
        return "", f"{source} must be readable within {LIMIT:.0f} s, but took too long; deliver it in parts."
    if status == 0:
        return lines[-1].strip(), ""
    if status == 1 and lines:
        return "", lines[-1].strip()
    how = signal.strsignal(status - 128) if 128 < status < 128 + signal.NSIG else f"status {status}"
    return "", f"{source} must be readable, but its reader crashed ({how}); do not trust where it came from."


@contextmanager
def _limited(process: "subprocess.Popen[str]") -> Iterator[threading.Event]:
    """End a leashed process that lasts longer than the limit; the event says that it did."""
    late = threading.Event()

    def end() -> None:
        late.set()
        if process.stdin:
            process.stdin.close()  # the leash

    timer = threading.Timer(LIMIT, end)
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def main(source: str, to: str = "pool") -> int:
    """0, and checksum and options on standard output; 1 and why not."""
    from diva.ingest import annotations, project, sources
    from diva.store import digests, ledger
    from flows import provenance

    try:
        if to == "labels":
            annotations.read(Path(source))
            sys.stdout.write(digests.sha256(Path(source)) + "\n")
            return 0
        chosen = project.options_of(source, to)
        provenance.require_same_source(ledger.read(), source, to, chosen)
        sys.stdout.write(f"{sources.checksum(source, chosen)}\t{json.dumps(chosen)}\n")
    except (ValueError, OSError, MemoryError) as error:
        sys.stdout.write(f"{' '.join(str(error).split()) or 'memory does not suffice'}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
