"""Stage ``reweight``: weights of the newest set, once and last, and whether they help on rows of the core held out."""

import logging
from dataclasses import asdict

import polars as pl
import torch

from diva.curation import rows
from diva.curation.benefit import Members, weights_benefit
from diva.curation.reweight import reweight
from diva.numerics.precision import fit_ridge
from diva.store import curated, index, ledger, paths, release, tables
from stages.command import run
from stages.params import section
from stages.params.release import ReleaseSettings
from stages.params.reweight import Reweight

logger = logging.getLogger(__name__)


def main() -> None:
    """data/weights: a weight per sample, the history of the steps; what they are worth on held-out rows of the core."""
    settings, book = section.read("reweight", Reweight), ledger.read()
    flagged_out = section.read("release", ReleaseSettings).flagged == "out"
    pool, state = index.read(paths.pool(ledger.newest_pool(book))), curated.read(book.latest)
    weighed = release.to_weigh(settings.over, state, pool, release.obeyed(book))
    problem = rows.read_problem().with_classes(weighed["label"])
    chunks, classes = rows.prepared(weighed, problem), len(problem.classes)
    sums = rows.counted(weighed, book.latest, pool, problem).moments
    together = rows.group_numbers(weighed, index.groups(index.read(paths.CORE), pool))
    result = reweight(fit_ridge(chunks, classes, problem.ridge, sums=sums, groups=together), **settings.weighing)
    columns = {"weight": result.weights, "derivative": result.derivative, "margin": result.margin}
    frame = pl.DataFrame({"sample_id": weighed["sample_id"], **{name: c.numpy() for name, c in columns.items()}})
    tables.write(paths.WEIGHTS, frame, release.WEIGHTS)
    members = Members(chunks, classes, problem.ridge, *masks(weighed, state))
    weighing = settings.weighing | {"steps": len(result.history)}
    held_out = weights_benefit(members, settings.folds, flagged_out=flagged_out, **weighing)
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
    if result.warning:
        logger.warning(result.warning)
    logger.info("%d steps over %d samples; held-out error %s", len(history), len(weighed), held_out)


def masks(weighed: pl.DataFrame, state: pl.DataFrame) -> tuple[torch.Tensor, torch.Tensor]:
    """Where (n,) a sample is of the core, and where its label is called wrong."""
    said = state.select("sample_id", core=pl.col("origin") == "core", wrong="flagged")
    joined = weighed.select("sample_id").join(said, on="sample_id", how="left", maintain_order="left")
    core, wrong = (
        torch.from_numpy(joined[name].fill_null(value=False).to_numpy().copy()) for name in ("core", "wrong")
    )
    return core, wrong


if __name__ == "__main__":
    run(main)
