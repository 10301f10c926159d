"""A first look at a delivery, in a process of its own: ``python -m flows.inspection SOURCE`` prints its checksum.

What comes from outside may be made to crash whatever reads it; parsers of HDF5 and parquet are large. A crash here
refuses the delivery, and the night goes on.
"""

import signal
import sys
from functools import cache
from pathlib import Path

from flows.commands import SCRATCH, leashed

LOCK = SCRATCH / "inspection.lock"
COMMAND = (sys.executable, "-m", "flows.inspection")


def checksum(place: Path, source: str) -> str:
    """Checksum of a delivery that can be read, and stand beside the core; a run looks at ``place`` once.

    Raises:
        ValueError: it cannot, or its reader crashed; the message names it.
    """
    found, fault = look(place, source)
    if fault:
        raise ValueError(fault)
    return found


@cache
def look(place: Path, source: str) -> tuple[str, str]:  # noqa: ARG001 - the key of the cache
    """The checksum, or "" and what is wrong."""
    with leashed([*COMMAND, source], LOCK) as process:
        lines = [line for line in (process.stdout or "") if line.strip()]
        status = process.wait()
    if status == 0:
        return lines[-1].strip(), ""
    if status == 1 and lines:
        return "", lines[-1].strip()
    how = signal.strsignal(status - 128) if 128 < status < 128 + signal.NSIG else f"status {status}"
    return "", f"{source} must be readable, but its reader crashed ({how}); do not trust where it came from."


def main(source: str) -> int:
    """0 and the checksum on standard output; 1 and why not."""
    from diva.store import ledger, sources
    from flows import provenance

    try:
        provenance.require_same_source(ledger.read(), source)
        sys.stdout.write(sources.checksum(source, {}) + "\n")
    except (ValueError, OSError, MemoryError) as error:
        sys.stdout.write(f"{' '.join(str(error).split()) or 'memory does not suffice'}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
