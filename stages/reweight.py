"""Stage ``reweight``: weights of the newest set, once and last, and whether they help on rows of the core held out."""

import logging
from dataclasses import asdict
from typing import Any

import polars as pl

from diva.curation import rows, tasks, weighed_sets
from diva.numerics.residence import rows_stay
from diva.store import curated, index, ledger, paths, release, tables
from diva.text.words import amount
from stages.command import run
from stages.params import section
from stages.params.release import ReleaseSettings
from stages.params.reweight import Reweight

logger = logging.getLogger(__name__)


@rows_stay()
def main() -> None:
    """data/weights: a weight per sample, the history of the steps; what they are worth on held-out rows of the core."""
    settings, asked = section.read("reweight", Reweight), section.read("release", ReleaseSettings)
    candidates = {name: weigh(name, settings, asked) for name in asked.sets(settings.over)}
    chosen = weighed_sets.choose(candidates, asked.weights)
    frame, result, held_out = (getattr(candidates[chosen["name"]], name) for name in ("frame", "result", "held_out"))
    columns = {"weight": result.weights, "derivative": result.derivative, "margin": result.margin}
    weights = pl.DataFrame({"sample_id": frame["sample_id"], **{name: c.numpy() for name, c in columns.items()}})
    tables.write(paths.WEIGHTS, weights, release.WEIGHTS)
    release.write_calls(candidates[chosen["name"]].calls)
    history = [asdict(step) for step in result.history]
    tables.write_json(paths.WEIGHTS_HISTORY, {"steps": history, "watched": list(result.watched_losses)})
    metrics = {
        "steps": len(history),
        "temperature": result.loss.temperature,
        "samples": len(frame),
        "held_out": held_out.figures(),
        **({"set": chosen} if asked.set != "members" else {}),
        "loss": [step["loss"] for step in history],
        **result.start.accuracy,
    }
    tables.write_json(paths.metrics("reweight"), metrics)
    if result.warning:
        logger.warning(result.warning)
    logger.info("%s over %s", amount(len(history), "step"), amount(len(frame), "sample"))


def weigh(over: str, settings: Reweight, asked: ReleaseSettings) -> Any:
    """Weights of the members, or of these and the rest of the pool."""
    book = ledger.read()
    pool, state = index.read(paths.pool(ledger.newest_pool(book))), curated.read(book.latest)
    frame = release.to_weigh(over, state, pool, release.obeyed(book))
    problem, core = rows.read_problem().with_classes(frame["label"]), index.read(paths.CORE)
    to_weigh = weighed_sets.ToWeigh(frame, state, book.latest, pool, core, problem)
    judged, out = asked.set != "members" and over == "everything", asked.flagged == "out"
    return tasks.of(problem).weigh(to_weigh, settings.weighing, folds=settings.folds, flagged_out=out, judged=judged)


if __name__ == "__main__":
    run(main)
