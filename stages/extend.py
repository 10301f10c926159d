"""Stage ``extend``: what a round adds, and what it calls wrong among members and additions; it only decides."""

import logging

from diva.curation import round as rounds
from diva.curation import tasks
from diva.curation.rows import read_problem
from diva.methods import registry
from diva.store import curated, index, ledger, moments, paths, tables
from stages.command import run
from stages.policy import policy

logger = logging.getLogger(__name__)


def extend(round: str) -> None:  # noqa: A002 - the option's name
    """data/rounds/<round>.parquet, from what the round's ledger entry names and nothing else; the new set's moments."""
    entry = ledger.round_(ledger.read(), round)
    state = curated.read(entry.previous, rounds.COLUMNS)
    pool = index.read(paths.pool(entry.pool), only={*index.SCHEMA} - {"path", "pixels"})
    review = tables.read(paths.review(entry.review), curated.REVIEW)
    problem = read_problem().with_classes(pool["label"])
    core, stored = moments.core(problem.classes), moments.newest(entry.previous, pool, problem.classes)
    groups = index.groups(core.rows, pool)
    basis = rounds.Basis(state, pool.drop("group"), review, problem, core, stored, groups)
    settings = policy(entry)
    outcome = rounds.decide(basis, settings, registry, tasks.of(problem).rules)
    tables.write(paths.changes(round), outcome.changes, curated.CHANGES)
    moments.write_round(round, outcome.moments, problem.classes, outcome.features)
    tables.write_json(paths.metrics(f"rounds/{round}"), rounds.metrics(entry.pool, outcome))
    turn, warning = outcome.choice.turn, outcome.choice.noise.warning(settings.loss)
    if warning:
        logger.warning(warning)
    more = turn.stop or "more to come"
    logger.info("%s: %d of %d candidates added; %s", round, len(turn.index), turn.candidates, more)


if __name__ == "__main__":
    run(extend, "round")
