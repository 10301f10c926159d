"""Ledgers of tests: a core, a test set, deliveries."""

from pathlib import Path
from typing import Any

from diva.ingest import sources
from diva.store import ledger

Source = tuple[str, dict[str, Any]]


def write(
    core: Source, *, path: Path = Path("data/ledger.yaml"), settings: Any = None, **batches: Source
) -> ledger.Ledger:
    """A ledger of a core and further batches, in the working directory unless a path is given.

    Args:
        core: source and options.
        path: of the ledger.
        settings: of a round on the newest pool; None for no round.
        batches: source and options of the test set (`test`) and of deliveries, by name.
    """
    source, options = core
    book = ledger.start(ledger.Batch(source=source, checksum=sources.checksum(source, options), options=options))
    for name, (source, options) in batches.items():
        book = sources.accept(book, name, source, options)
    if settings is not None:
        book = ledger.plan_round(book, settings)
    ledger.write(path, book)
    return book
