"""What changed between the set before and the newest one: totals, and counts by class."""

from typing import NamedTuple

import polars as pl

from diva.text.words import Column, Row, Table, count
from diva.versions import difference

MOST = 12  # classes shown, those that changed most


class Changes(NamedTuple):
    """Since which round; totals as (name, figure); classes that changed most."""

    since: str
    totals: tuple[tuple[str, str], ...]
    by_class: Table


def compare(before: pl.DataFrame | None, after: pl.DataFrame, since: str) -> Changes | None:
    """None where there is no set before."""
    if before is None:
        return None
    changed = difference.difference(members(before), members(after))
    by_class = difference.counts(changed)
    totals = {name: value for name, value in difference.totals(by_class).items() if name != "reweighted"}
    flags = {"newly flagged": (before, after), "no longer flagged": (after, before)}
    totals |= {
        name: len(flagged(new).join(flagged(old), on="sample_id", how="anti")) for name, (old, new) in flags.items()
    }
    return Changes(since, tuple((name, count(value)) for name, value in totals.items()), table(by_class))


def members(state: pl.DataFrame) -> pl.DataFrame:
    """Members of a set; the weights of an earlier one are not kept, so all are 1."""
    return state.filter(pl.col("status") == "member").select("sample_id", "label", weight=pl.lit(1.0))


def flagged(state: pl.DataFrame) -> pl.DataFrame:
    """Members that are flagged."""
    return state.filter(pl.col("flagged") & (pl.col("status") == "member")).select("sample_id")


def table(by_class: dict[str, dict[str, int]]) -> Table:
    """The classes that changed most."""
    kinds = ("added", "removed", "relabelled")
    rows = sorted(by_class.items(), key=lambda row: (-sum(row[1][kind] for kind in kinds), row[0]))
    shown = [Row((name, *(count(row[kind]) for kind in kinds))) for name, row in rows[:MOST]]
    title = "Classes that changed most" if len(rows) > MOST else "By class"
    return Table(title, (Column("class", number=False), *map(Column, kinds)), tuple(shown))
