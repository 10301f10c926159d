"""Stage ``suggest``: which samples that wait for a label to have labelled next, and what the model would call them."""

import logging
from typing import Any

import polars as pl

from diva.curation import rows
from diva.methods import registry
from diva.store import curated, index, ledger, paths, release, suggested, tables
from stages.command import run
from stages.params import section
from stages.params.suggest import Suggest

logger = logging.getLogger(__name__)


def suggest(batch: str) -> None:
    """data/suggested/<batch>.parquet, of the batch or, by the name ``pool``, of all of them; metrics."""
    settings, book = section.read("suggest", Suggest), ledger.read()
    pool, state = index.whole(paths.pool(ledger.newest_pool(book))), curated.read(book.latest)
    waits = pool.filter(pl.col("label").is_null() & (pl.lit(batch == "pool") | (pl.col("batch") == batch)))
    waits = curated.reviewed(waits, release.obeyed(book))  # without what people rejected
    frame = curated.members(state.filter(~pl.col("flagged")))
    problem = rows.read_problem().with_classes(frame["label"])
    groups = index.groups(index.read(paths.CORE), pool)
    fitted = rows.fitted(rows.counted(frame, book.latest, index.labelled(pool), problem), problem, groups)
    chunks = rows.prepared(waits.with_columns(label=pl.lit(problem.classes[0])), problem)  # labels play no part
    choice = registry.suggest(
        settings.rule, fitted, chunks, budget=min(settings.budget, len(waits)), temperature=problem.temperature,
        groups=rows.group_numbers(waits, groups), per_class=settings.per_class, seed=settings.seed,
    )  # fmt: skip
    names = [problem.classes[code] if code >= 0 else None for code in choice.label.tolist()]
    share = (choice.gain / choice.history[:1]).tolist()
    because = [suggested.reason(choice.rule, *values) for values in zip(share, choice.gain.tolist(), strict=True)]
    table = waits[choice.index.tolist()].select("sample_id", "path").with_row_index("rank", 1)
    numbers = {"probability": choice.probability.numpy(), "gain": choice.gain.numpy()}
    about: dict[str, Any] = {"reason": because, "suggested_label": pl.Series(names, dtype=pl.String), **numbers}
    table = table.with_columns(**{name: pl.Series(name, values) for name, values in about.items()})
    tables.write(paths.suggested(batch), table.with_columns(pl.col("probability").fill_nan(None)), suggested.SCHEMA)
    history = [value for value in choice.history.tolist() if value == value] or [None]
    before, after = history[0], history[-1]
    metrics = {"waiting": len(waits), "suggested": len(table), "rule": choice.rule, "before": before, "after": after}
    tables.write_json(paths.metrics(f"suggest/{batch}"), metrics | {"message": choice.message})
    logger.info("%s: %d of %d samples without a label, by %s", batch, len(table), len(waits), choice.rule)
    if choice.message:
        logger.warning(choice.message)


if __name__ == "__main__":
    run(suggest, "batch")
