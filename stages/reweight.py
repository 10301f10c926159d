"""Stage ``reweight``: weights of the newest set, once and last, and whether they help on folds held out."""

import logging
from dataclasses import asdict
from functools import reduce
from operator import add

import polars as pl
import torch

from diva.curation.evaluation import Head, train
from diva.curation.reweight import WeightPath, reweight
from diva.numerics.chunks import Subset
from diva.numerics.precision import fit_ridge
from diva.numerics.ridge import Moments, moments
from diva.store import curated, index, ledger, paths, release, tables
from diva.text.progress import track
from stages import rows
from stages.command import run
from stages.params import section
from stages.params.reweight import Reweight

logger = logging.getLogger(__name__)


def main() -> None:
    """data/weights: a weight per sample, the history of the steps, the comparison on held-out folds."""
    settings, fit, book = section.read("reweight", Reweight), rows.read_fit(), ledger.read()
    pool = index.read(paths.pool(ledger.newest_pool(book)))
    weighed = newest(settings.over, book, pool)
    classes = fit.with_classes(weighed["label"])
    chunks = rows.prepared(weighed, classes, fit)
    known = rows.counted(weighed, book.latest, pool, classes, fit)
    result = weigh(chunks, len(classes), fit.ridge, settings, known.moments)
    columns = {"weight": result.weights, "derivative": result.derivative, "margin": result.margin}
    frame = pl.DataFrame({"sample_id": weighed["sample_id"], **{name: c.numpy() for name, c in columns.items()}})
    tables.write(paths.WEIGHTS, frame, release.WEIGHTS)
    held_out = compare(chunks, len(classes), fit.ridge, settings)
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


def newest(over: str, book: ledger.Ledger, pool: pl.DataFrame) -> pl.DataFrame:
    """Members of the newest set; with ``everything``, also what the pool still holds, as people left it."""
    state = curated.read(book.latest)
    members = state.filter(pl.col("status") == "member")
    if over == "members":
        return members
    rest = pool.join(state, on="sample_id", how="anti", maintain_order="left")
    kept = curated.reviewed(rest, release.obeyed(book))
    return pl.concat([members.select(pool.columns[:-1]), kept.select(pool.columns[:-1])])


def weigh(
    chunks: rows.Rows | Subset, classes: int, ridge: float, settings: Reweight, sums: Moments | None = None
) -> WeightPath:
    """Reweight by the section's settings; ``sums`` are the moments at weight 1."""
    return reweight(
        fit_ridge(chunks, classes, ridge, sums=sums),
        loss=settings.loss, steps=settings.steps, step_size=settings.step_size, seed=settings.seed,
    )  # fmt: skip


def compare(chunks: rows.Rows, classes: int, ridge: float, settings: Reweight) -> dict[str, float | int]:
    """Error on held-out folds of the set, trained on the rest with and without weights fitted on that rest."""
    n = chunks.shape[0]
    fold = torch.randperm(n, generator=torch.Generator().manual_seed(settings.seed)) % settings.folds
    wrong = {"with_weights": 0, "without_weights": 0}
    parts = [moments(Subset(chunks, fold == left), classes) for left in range(settings.folds)]
    whole = reduce(add, parts)
    for left in track(range(settings.folds), settings.folds, "folds"):
        rest, held = Subset(chunks, fold != left), Subset(chunks, fold == left)
        weighed = weigh(rest, classes, ridge, settings, whole - parts[left])
        heads = {
            "with_weights": train(rest, classes, ridge, weighed.weights),
            "without_weights": Head(weighed.start, float("nan")),
        }
        for name, head in heads.items():
            wrong[name] += int((~head.correct(held)).sum())
    return {**{name: count / n for name, count in wrong.items()}, "folds": settings.folds}


if __name__ == "__main__":
    run(main)
