"""Stage ``download``: bring a delivery, or read it in place, and write what it holds."""

import logging
import shutil
from typing import Any

from diva.ingest import readers, sources
from diva.store import ledger, manifest, paths, tables
from diva.text.choices import Task
from diva.text.targets import classes_of, described
from diva.text.words import amount
from stages.command import run
from stages.params import section
from stages.params.download import Download

logger = logging.getLogger(__name__)
IN_PLACE = "Nothing was copied: the samples of this batch lie where they were delivered; data/manifests lists them.\n"
TAKE_BACK = (
    "Put the delivery right, or take it out: `diva init` without it, or, of one that came later and from which no "
    "round has drawn, `git checkout data/ledger.yaml`."
)


def download(batch: str) -> None:
    """Manifest, quarantine, planted truth and metrics of one batch of the ledger."""
    settings = section.read("download", Download)
    entry = ledger.batch(ledger.read(), batch)
    options: dict[str, int] = {"workers": settings.workers, "max_pixels": settings.max_pixels}
    try:
        delivery = bring(sources.open_batch(entry, batch, **options), batch, settings)
        write(batch, delivery._replace(samples=manifest.grouped(delivery.samples, settings.group_by)), settings.task)
    except (ValueError, OSError) as error:
        raise ValueError(f"{error} {TAKE_BACK}" if batch not in ("core", "test") else str(error)) from None


def bring(source: readers.Source, batch: str, settings: Download) -> manifest.Delivery:
    """Read a source; nothing stays in the batch's folder where it turns out to be unusable.

    A folder without samples says why: of an empty one, DVC warns whenever it looks.
    """
    folder = paths.raw(batch)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        delivery = manifest.spelt(source.read(folder), settings.task, settings.separator)
        if not any(folder.iterdir()):
            (folder / "README.txt").write_text(IN_PLACE, encoding="utf-8")
        return manifest.for_core(delivery, task=settings.task) if batch == "core" else delivery
    except BaseException:
        shutil.rmtree(folder)
        raise


def write(batch: str, delivery: manifest.Delivery, task: Task) -> None:
    """Put a delivery on disk."""
    manifest.write(paths.manifest(batch), delivery.samples, task)
    tables.write(paths.quarantine("download", batch), delivery.refused, manifest.QUARANTINE)
    tables.write(paths.truth(batch), delivery.truth, manifest.TRUTH)
    counts: dict[str, Any] = {
        "samples": len(delivery.samples),
        "classes": len(classes_of(task, delivery.samples["label"].drop_nulls())),
        "quarantined": len(delivery.refused),
        "reasons": manifest.kinds(delivery.refused),
    }
    waiting = delivery.samples["label"].null_count()
    if waiting:
        counts["unlabelled"] = waiting
    tables.write_json(paths.METRICS / "download" / f"{batch}.json", counts)
    aside = manifest.describe_refused(delivery.refused) + (f", {waiting} wait for their labels" if waiting else "")
    size = f"{amount(counts['samples'], 'sample')} of {described(task, counts['classes'])}"
    logger.info("%s: %s, %s", batch, size, aside)


if __name__ == "__main__":
    run(download, "batch")
