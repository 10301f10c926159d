"""Stage ``curate``: apply what a round decided, and what people did, to the set before it."""

import logging

from diva.store import curated, index, ledger, paths, tables
from stages.command import run

logger = logging.getLogger(__name__)


def curate(round: str) -> None:  # noqa: A002 - the option's name
    """The curated set after a round of the ledger."""
    entry = ledger.round_(ledger.read(), round)
    before, pool = curated.read(entry.previous), index.read(paths.pool(entry.pool), only=curated.SCHEMA)
    changes = tables.read(paths.changes(round), curated.CHANGES)
    review = curated.possible(tables.read(paths.review(entry.review), curated.REVIEW), before, pool)
    state = curated.apply(round, before, changes, pool, review)
    curated.write(paths.curated(round), state)
    counts = curated.counts(state)
    tables.write_json(paths.METRICS / "curate" / f"{round}.json", counts)
    logger.info("%s: %s", round, ", ".join(f"{count} {name}" for name, count in counts.items()))


if __name__ == "__main__":
    run(curate, "round")
