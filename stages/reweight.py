"""Stage ``reweight``: weights of the newest set, once and last, and whether they help on folds held out."""

import logging
from dataclasses import asdict

import polars as pl

from diva.curation import rows
from diva.curation.evaluation import held_out_errors
from diva.curation.reweight import reweight
from diva.numerics.precision import fit_ridge
from diva.store import curated, index, ledger, paths, release, tables
from stages.command import run
from stages.params import section
from stages.params.reweight import Reweight

logger = logging.getLogger(__name__)


def main() -> None:
    """data/weights: a weight per sample, the history of the steps, the comparison on held-out folds."""
    settings, book = section.read("reweight", Reweight), ledger.read()
    pool = index.read(paths.pool(ledger.newest_pool(book)))
    weighed = release.to_weigh(settings.over, curated.read(book.latest), pool, release.obeyed(book))
    problem = rows.read_problem().with_classes(weighed["label"])
    chunks, classes = rows.prepared(weighed, problem), len(problem.classes)
    sums = rows.counted(weighed, book.latest, pool, problem).moments
    result = reweight(fit_ridge(chunks, classes, problem.ridge, sums=sums), **settings.weighing)
    columns = {"weight": result.weights, "derivative": result.derivative, "margin": result.margin}
    frame = pl.DataFrame({"sample_id": weighed["sample_id"], **{name: c.numpy() for name, c in columns.items()}})
    tables.write(paths.WEIGHTS, frame, release.WEIGHTS)
    held_out = held_out_errors(chunks, classes, problem.ridge, settings.folds, **settings.weighing)
    history = [asdict(step) for step in result.history]
    tables.write_json(paths.WEIGHTS_HISTORY, {"steps": history, "watched": list(result.watched_losses)})
    metrics = {
        "steps": len(history),
        "temperature": result.loss.temperature,
        "samples": len(weighed),
        "held_out": held_out,
        "loss": [step["loss"] for step in history],
        **result.start.accuracy,
    }
    tables.write_json(paths.metrics("reweight"), metrics)
    logger.info("%d steps over %d samples; held-out error %s", len(history), len(weighed), held_out)


if __name__ == "__main__":
    run(main)
