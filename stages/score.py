"""Stage ``score``: what one method says of every sample of the core."""

import logging

from diva.curation import rows, tasks
from diva.curation.suspicion import CleanUp
from diva.methods import registry
from diva.store import curated, index, paths, tables
from stages.command import run
from stages.params import section
from stages.params.curate import Curate
from stages.params.score import Score

logger = logging.getLogger(__name__)


def score(method: str) -> None:
    """data/scores/<method>.parquet: score, margin, flag and suggested label of the core."""
    settings, curate = section.read("score", Score), section.read("curate", Curate)
    if method not in settings.methods:
        raise ValueError(f"method must be one of score.methods, {', '.join(settings.methods)}, got {method}.")
    problem, core = rows.read_problem(), index.read(paths.CORE)
    together = rows.group_numbers(core, index.groups(core))
    clean_up = CleanUp(**curate.model_dump() | {"score": method})
    scores = tasks.of(problem).rules.score(core, problem, clean_up, registry, together)
    tables.write(paths.scores(method), scores.table, curated.SCORES)
    flagged, judged = int(scores.table["flagged"].sum()), {"rate": scores.rate, "message": scores.message}
    metrics = {"samples": len(core), "flagged": flagged} | judged | scores.model.accuracy
    tables.write_json(paths.metrics(f"scores/{method}"), metrics)
    logger.info("%s: %d of %d labels called wrong", method, flagged, len(core))


if __name__ == "__main__":
    run(score, "method")
