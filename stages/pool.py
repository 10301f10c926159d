"""Stage ``pool``: the pool's index after one more batch."""

import logging

import polars as pl

from diva.curation import admission
from diva.store import columns, index, ledger, manifest, paths, tables
from stages.command import run
from stages.params import section
from stages.params.download import Download
from stages.params.duplicates import Duplicates

logger = logging.getLogger(__name__)


def pool(batch: str) -> None:
    """The previous index and, after it, what the batch brings: what is new, and labels that were missing."""
    download, duplicates = section.read("download", Download), section.read("duplicates", Duplicates)
    book = ledger.read()
    link = paths.pool(ledger.link(book, batch).previous)
    before, candidates, core = index.whole(link), index.read_batch(batch), index.read(paths.CORE)
    index.require_same_making(paths.features(batch), pl.concat([core, before])["features"])
    test = index.read_batch("test") if "test" in book.batches else tables.empty(index.SCHEMA)
    made = admission.admit(
        candidates, before, core, test, fixed(book), new_classes=download.new_classes == "accept",
        near_test=duplicates.near_test, near_duplicate=duplicates.near_duplicate, related=paths.RELATIVES.exists(),
    )  # fmt: skip
    delivered, older = manifest.read(paths.manifest(batch), further=True), index.whole(link, further=True)
    parts = ((made.previous, older), (made.admitted, delivered, older))  # labels that come later say nothing else
    index.write(paths.pool(batch), tables.stacked(columns.described(rows, *sources) for rows, *sources in parts))
    tables.write(paths.quarantine("pool", batch), made.refused, manifest.QUARANTINE)
    counts = made.counts()
    tables.write_json(paths.METRICS / "pool" / f"{batch}.json", counts)
    about = (batch, len(candidates), len(made.admitted), manifest.describe_refused(made.refused), counts["pool"])
    logger.info("%s: %d candidates, %d admitted, %s; the pool holds %d", *about)
    if len(candidates) and not len(made.admitted):
        reason = max(counts["reasons"], key=counts["reasons"].get)
        logger.warning("%s: nothing of it is used, %d samples are set aside; most: %s", batch, len(candidates), reason)
    if shared := made.in_groups_of_the_core:
        logger.info("%s: %d samples share a group with the core, which does not vouch for them", batch, shared)


def fixed(book: ledger.Ledger) -> pl.DataFrame:
    """sample_id, pixels, batch and label of all samples of core and test set."""
    names = [name for name in ("core", "test") if name in book.batches]
    frames = [manifest.read(paths.manifest(name)).with_columns(batch=pl.lit(name)) for name in names]
    return pl.concat([frame.select(admission.CONTENT) for frame in frames])


if __name__ == "__main__":
    run(pool, "batch")
