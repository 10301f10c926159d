"""Stage ``suggest``: which samples that wait for a label to have labelled next, and what the model would call them."""

import logging

from diva.curation import labels_wanted
from diva.curation.labels_wanted import Asking
from diva.store import curated, index, ledger, paths, release, suggested, tables
from stages.command import run
from stages.params import section
from stages.params.suggest import Suggest

logger = logging.getLogger(__name__)


def suggest(batch: str) -> None:
    """data/suggested/<batch>.parquet, of the batch or, by the name ``pool``, of all of them; metrics."""
    settings, book = section.read("suggest", Suggest), ledger.read()
    pool, state = index.whole(paths.pool(ledger.newest_pool(book))), curated.read(book.latest)
    waits = labels_wanted.waiting(pool, release.obeyed(book), batch)
    asking = Asking(**settings.model_dump(exclude={"of"}))
    wanted = labels_wanted.want(waits, state, pool, index.read(paths.CORE), book.latest, asking)
    tables.write(paths.suggested(batch), wanted.samples, suggested.SCHEMA)
    tables.write_json(paths.metrics(f"suggest/{batch}"), wanted.metrics)
    logger.info(
        "%s: %d of %d samples without a label, by %s", batch, len(wanted.samples), len(waits), wanted.choice.rule
    )
    if wanted.choice.message:
        logger.warning(wanted.choice.message)


if __name__ == "__main__":
    run(suggest, "batch")
