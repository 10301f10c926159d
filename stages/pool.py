"""Stage ``pool``: the pool's index after one more batch."""

import logging
from pathlib import Path
from typing import Any

import polars as pl

from diva.curation.neighbours import deduplicated, untested
from diva.store import columns, index, ledger, manifest, paths, tables
from stages.command import run
from stages.params import section
from stages.params.download import Download
from stages.params.duplicates import Duplicates

logger = logging.getLogger(__name__)


def pool(batch: str) -> None:
    """The previous index and, after it, what the batch brings: what is new, and labels that were missing."""
    accept = section.read("download", Download).new_classes == "accept"
    duplicates = section.read("duplicates", Duplicates)
    book = ledger.read()
    link = paths.pool(ledger.link(book, batch).previous)
    before = index.whole(link)
    candidates = index.read_batch(batch)
    core = index.read(paths.CORE)
    index.require_same_making(paths.features(batch), pl.concat([core, before])["features"])
    test = tested(book)
    present = taken(book, index.without_answered(before, candidates))
    new, refused = index.admit(candidates, present, None if accept else set(core["label"]), test)
    new, tested_groups = index.without_groups_of(new, test)
    new, saved_again = untested(new, test, core, duplicates.near_test)
    earlier = pl.concat([test, core, index.labelled(before)])
    admitted, close = deduplicated(new, earlier, core, duplicates.near_duplicate)
    previous = index.without_answered(before, admitted)
    if paths.RELATIVES.exists():  # samples of the core belong together though nobody said so
        from diva.curation.posing import name_relatives  # brings torch

        admitted = name_relatives(admitted, index.with_groups(core, previous))
    refused = pl.concat([refused, tested_groups, saved_again, close])
    index.write(paths.pool(batch), with_columns(previous, admitted, batch, link))
    tables.write(paths.quarantine("pool", batch), refused, manifest.QUARANTINE)
    counts: dict[str, Any] = {
        "candidates": len(candidates),
        "admitted": len(admitted),
        "quarantined": len(refused),
        "reasons": manifest.kinds(refused),
        "pool": len(previous) + len(admitted),
    }
    waiting = previous["label"].null_count() + admitted["label"].null_count()
    if waiting:
        counts["unlabelled"] = waiting
    shared = admitted["group"].drop_nulls().is_in(index.group_names(core)["group"].implode()).sum()
    if shared:
        counts["in_groups_of_the_core"] = shared
    tables.write_json(paths.METRICS / "pool" / f"{batch}.json", counts)
    about = (batch, len(candidates), len(admitted), manifest.describe_refused(refused), counts["pool"])
    logger.info("%s: %d candidates, %d admitted, %s; the pool holds %d", *about)
    if len(candidates) and not len(admitted):
        reason = max(counts["reasons"], key=counts["reasons"].get)
        logger.warning("%s: nothing of it is used, %d samples are set aside; most: %s", batch, len(candidates), reason)
    if shared:
        logger.info("%s: %d samples share a group with the core, which does not vouch for them", batch, shared)


def with_columns(previous: pl.DataFrame, admitted: pl.DataFrame, batch: str, before: Path) -> pl.DataFrame:
    """The index, and what deliveries say of its samples beside path and label."""
    delivered = manifest.read(paths.manifest(batch), further=True)
    parts = ((previous, index.whole(before, further=True)), (admitted, delivered))
    return tables.stacked(columns.described(rows, source) for rows, source in parts)


def taken(book: ledger.Ledger, previous: pl.DataFrame) -> pl.DataFrame:
    """sample_id, pixels and batch of core, test set and the pool so far."""
    fixed = [name for name in ("core", "test") if name in book.batches]
    content = ("sample_id", "pixels")
    frames = [manifest.read(paths.manifest(name)).select(*content, batch=pl.lit(name)) for name in fixed]
    return pl.concat([*frames, previous.select(*content, "batch")])


def tested(book: ledger.Ledger) -> pl.DataFrame:
    """Index of the test set, which comes before all: what is near one of its images must not train."""
    if "test" not in book.batches:
        return tables.empty(index.SCHEMA)
    return index.read_batch("test")


if __name__ == "__main__":
    run(pool, "batch")
