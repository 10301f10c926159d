"""Stage ``score``: what one method says of every sample of the core."""

import logging

from diva.store import curated, index, paths, tables
from stages import rows
from stages.command import run
from stages.params import section
from stages.params.curate import Curate
from stages.params.score import Score
from stages.scored import suspicion, table

logger = logging.getLogger(__name__)


def score(method: str) -> None:
    """data/scores/<method>.parquet: score, margin, flag and suggested label of the core."""
    settings, clean_up = section.read("score", Score), section.read("curate", Curate)
    if method not in settings.methods:
        raise ValueError(f"method must be one of score.methods, {', '.join(settings.methods)}, got {method}.")
    fit, core = rows.read_fit(), index.read(paths.CORE)
    found = suspicion(rows.prepared(core, fit.classes, fit), len(fit.classes), fit.ridge, method, clean_up)
    tables.write(paths.scores(method), table(core["sample_id"], found, fit.classes), curated.SCORES)
    counts = {"samples": len(core), "flagged": int(found.flagged.sum()), "rate": found.rate, "message": found.message}
    tables.write_json(paths.metrics(f"scores/{method}"), counts | found.model.accuracy)
    logger.info("%s: %d of %d labels called wrong", method, counts["flagged"], counts["samples"])


if __name__ == "__main__":
    run(score, "method")
