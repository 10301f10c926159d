"""Stage ``start``: the curated set r000 (the core), an empty pool b000 and an empty review v000."""

import logging

from diva.store import atomic, curated, index, ledger, manifest, paths, tables
from stages.command import run
from stages.params import section
from stages.params.curate import Curate

logger = logging.getLogger(__name__)


def start() -> None:
    """The core as the first curated set, after what its scores say."""
    settings = section.read("curate", Curate)
    core, scores = index.read(paths.CORE), tables.read(paths.scores(settings.score), curated.SCORES)
    state = curated.start(core, scores, settings.action, manifest.task())
    curated.write(paths.curated(ledger.ORIGIN["rounds"]), state)
    index.write(paths.pool(ledger.ORIGIN["pool"]), tables.empty(index.SCHEMA))
    tables.write(paths.review(ledger.REVIEW_ORIGIN), tables.empty(curated.REVIEW), curated.REVIEW)
    atomic.copy(paths.MOMENTS, paths.moments(ledger.ORIGIN["rounds"]))  # of the core: no round has stored any yet
    counts = curated.counts(state)
    tables.write_json(paths.metrics("start"), counts)
    logger.info("r000: %s", ", ".join(f"{count} {name}" for name, count in counts.items()))


if __name__ == "__main__":
    run(start)
