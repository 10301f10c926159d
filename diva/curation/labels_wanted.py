"""Which samples of the pool to have labelled next, under the newest set, and what its model would call them."""

from typing import Any, NamedTuple

import polars as pl

from diva.curation import rows, tasks
from diva.curation.suggest import Suggestion, suggest
from diva.store import curated, index, suggested

WHOLE_POOL = "pool"  # in place of the name of a batch


class Asking(NamedTuple):
    """How many samples are asked for at most, by which rule, and of one suggested label at most; None: no limit."""

    rule: str
    budget: int
    per_class: int | None
    seed: int


class Wanted(NamedTuple):
    """Samples to label, with the schema of `diva.store.suggested`, of how many that wait; why fewer, in words."""

    samples: pl.DataFrame
    waiting: int
    choice: Suggestion

    @property
    def metrics(self) -> dict[str, Any]:
        """The expected variance before and after, where the rule has it."""
        history = [value for value in self.choice.history.tolist() if value == value] or [None]
        counts = {"waiting": self.waiting, "suggested": len(self.samples), "rule": self.choice.rule}
        return {**counts, "before": history[0], "after": history[-1], "message": self.choice.message}


def waiting(pool: pl.DataFrame, review: pl.DataFrame, batch: str) -> pl.DataFrame:
    """Index rows of a batch, or of the `WHOLE_POOL`, without a label, but for those that people rejected."""
    asked = pl.lit(batch == WHOLE_POOL) | (pl.col("batch") == batch)
    return curated.reviewed(pool.filter(pl.col("label").is_null() & asked), review)


def want(
    waits: pl.DataFrame, state: pl.DataFrame, pool: pl.DataFrame, core: pl.DataFrame, latest: str, asking: Asking
) -> Wanted:
    """Choose among what waits.

    Args:
        waits: index rows without a label.
        state: the newest curated set; its flagged members do not train here.
        pool: index of the whole pool.
        core: index of the core.
        latest: the round that the set is of.
        asking: how many, and how.
    """
    frame = curated.members(state.filter(~pl.col("flagged")))
    problem = rows.read_problem().with_classes(frame["label"])
    groups = index.groups(core, pool)
    chunks = rows.prepared(waits.with_columns(label=pl.lit(problem.classes[0])), problem)  # labels play no part
    counted = (frame, latest, index.labelled(pool), problem)
    fitted, judged, names = tasks.of(problem).outlook(counted, groups, chunks, asking.rule)
    choice = suggest(
        fitted, chunks, budget=min(asking.budget, len(waits)), rule=asking.rule, per_class=asking.per_class,
        temperature=problem.temperature, groups=rows.group_numbers(waits, groups), seed=asking.seed,
        judged=judged,
    )  # fmt: skip
    return Wanted(described(waits[choice.index.tolist()], choice, names), len(waits), choice)


def described(samples: pl.DataFrame, choice: Suggestion, classes: list[str]) -> pl.DataFrame:
    """The chosen samples in order, with reason, suggested label and its probability."""
    share = (choice.gain / choice.history[:1]).tolist()
    because = [suggested.reason(choice.rule, *values) for values in zip(share, choice.gain.tolist(), strict=True)]
    names = [classes[code] if code >= 0 else None for code in choice.label.tolist()]
    return samples.select("sample_id", "path").with_row_index("rank", 1).with_columns(
        reason=pl.Series(because, dtype=pl.String),
        suggested_label=pl.Series(names, dtype=pl.String),
        probability=pl.Series(choice.probability.numpy()).fill_nan(None),
        gain=pl.Series(choice.gain.numpy()),
    )  # fmt: skip
