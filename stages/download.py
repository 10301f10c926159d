"""Stage ``download``: bring a delivery, or read it in place, and write what it holds."""

import logging
import shutil

from diva.store import ledger, manifest, paths, sources, tables
from stages.command import run
from stages.params import section
from stages.params.download import Download

logger = logging.getLogger(__name__)


def download(batch: str) -> None:
    """Manifest, quarantine, planted truth and metrics of one batch of the ledger."""
    settings = section.read("download", Download)
    entry = ledger.batch(ledger.read(), batch)
    source = sources.open_source(entry.source, entry.options, workers=settings.workers, max_pixels=settings.max_pixels)
    sources.verify(source, entry, batch)
    write(batch, bring(source, batch))


def bring(source: sources.Source, batch: str) -> manifest.Delivery:
    """Read a source; nothing stays in the batch's folder where it turns out to be unusable."""
    folder = paths.raw(batch)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        delivery = source.read(folder)
        return manifest.for_core(delivery) if batch == "core" else delivery
    except BaseException:
        shutil.rmtree(folder)
        raise


def write(batch: str, delivery: manifest.Delivery) -> None:
    """Put a delivery on disk."""
    manifest.write(paths.manifest(batch), delivery.samples)
    tables.write(paths.quarantine("download", batch), delivery.refused, manifest.QUARANTINE)
    tables.write(paths.truth(batch), delivery.truth, manifest.TRUTH)
    counts = {
        "samples": len(delivery.samples),
        "classes": delivery.samples["label"].n_unique(),
        "quarantined": len(delivery.refused),
        "reasons": manifest.kinds(delivery.refused),
    }
    tables.write_json(paths.METRICS / "download" / f"{batch}.json", counts)
    logger.info("%s: %d samples of %d classes, %d set aside %s", batch, *counts.values())


if __name__ == "__main__":
    run(download, "batch")
