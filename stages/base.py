"""Stage ``base``: the set and the pool that a compacted history starts from, where the next round looks."""

import logging

from diva.store import atomic, curated, index, ledger, manifest, paths, tables
from stages.command import run

logger = logging.getLogger(__name__)


def base(round: str) -> None:  # noqa: A002 - the option's name
    """Curated set, pool index and planted truth of the ledger's base."""
    entry = ledger.read().base[round]
    state, pool = curated.read(paths.base("curated")), index.whole(paths.base("pool"), further=True)
    index.require_same_making(paths.features("core"), pool["features"])
    curated.write(paths.curated(round), state)
    index.write(paths.pool(entry.pool), pool)
    tables.write(paths.truth("base"), tables.read(paths.base("truth"), manifest.TRUTH), manifest.TRUTH)
    stored = paths.BASE / "moments.h5"  # which bases of early versions lack
    atomic.copy(stored if stored.is_file() else paths.MOMENTS, paths.moments(round))
    logger.info("%s: %d samples and a pool of %d, from %s", round, len(state), len(pool), entry.version)


if __name__ == "__main__":
    run(base, "round")
