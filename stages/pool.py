"""Stage ``pool``: the pool's index after one more batch."""

import logging

import polars as pl

from diva.store import index, ledger, manifest, paths, tables
from stages.command import run
from stages.params import section
from stages.params.download import Download

logger = logging.getLogger(__name__)


def pool(batch: str) -> None:
    """The previous index and, after it, what the batch brings that was nowhere before."""
    accept = section.read("download", Download).new_classes == "accept"
    book = ledger.read()
    previous = index.read(paths.pool(ledger.link(book, batch).previous))
    candidates = index.index(batch, manifest.read(paths.manifest(batch)), paths.features(batch))
    classes = None if accept else set(index.read(paths.CORE)["label"])
    admitted, refused = index.admit(candidates, taken(book, previous), classes)
    index.write(paths.pool(batch), pl.concat([previous, admitted]))
    tables.write(paths.quarantine("pool", batch), refused, manifest.QUARANTINE)
    counts = {
        "candidates": len(candidates),
        "admitted": len(admitted),
        "quarantined": len(refused),
        "reasons": manifest.kinds(refused),
        "pool": len(previous) + len(admitted),
    }
    tables.write_json(paths.METRICS / "pool" / f"{batch}.json", counts)
    logger.info("%s: %d candidates, %d admitted, %d set aside %s; the pool holds %d", batch, *counts.values())


def taken(book: ledger.Ledger, previous: pl.DataFrame) -> pl.DataFrame:
    """sample_id and batch of core, test set and the pool so far."""
    fixed = [name for name in ("core", "test") if name in book.batches]
    frames = [manifest.read(paths.manifest(name)).select("sample_id", batch=pl.lit(name)) for name in fixed]
    return pl.concat([*frames, previous.select("sample_id", "batch")])


if __name__ == "__main__":
    run(pool, "batch")
