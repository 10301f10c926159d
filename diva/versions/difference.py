"""What changed between two curated sets, sample by sample and by class."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from diva.store import paths, release, tables
from diva.versions import contents
from diva.versions.published import Version

CHANGES = ("added", "removed", "relabelled", "reweighted")
SMALL = 1e-9  # weights closer than this are the same


def between(before: Version, after: Version) -> pl.DataFrame:
    """``difference`` of two versions."""
    return difference(members(before), members(after))


def members(version: Version) -> pl.DataFrame:
    """Members of a version: sample_id, label, weight."""
    return tables.read(contents.fetch(version, paths.TRAIN), release.TRAIN).select("sample_id", "label", "weight")


def difference(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """One row per sample and change.

    Args:
        before: members with sample_id, label, weight.
        after: the same, later.

    Returns:
        sample_id, change (added, removed, relabelled or reweighted), class (the later label, for removed the earlier),
        and what was before and after: label and weight, null where the sample was no member. A sample may be both
        relabelled and reweighted.
    """
    columns = {"label_before": "label", "weight_before": "weight"}
    joined = before.select("sample_id", **columns).join(
        after.select("sample_id", label_after="label", weight_after="weight"),
        on="sample_id",
        how="full",
        coalesce=True,
        maintain_order="left_right",
    )
    here, there = pl.col("label_after").is_not_null(), pl.col("label_before").is_not_null()
    both = here & there
    conditions = {
        "added": here & ~there,
        "removed": there & ~here,
        "relabelled": both & (pl.col("label_before") != pl.col("label_after")),
        "reweighted": both & ((pl.col("weight_before") - pl.col("weight_after")).abs() > SMALL),
    }
    rows = [joined.filter(condition).with_columns(change=pl.lit(name)) for name, condition in conditions.items()]
    changed = pl.concat(rows).with_columns(pl.coalesce("label_after", "label_before").alias("class"))
    return changed.select(
        "sample_id", "change", "class", "label_before", "label_after", "weight_before", "weight_after"
    )


def counts(changed: pl.DataFrame) -> dict[str, dict[str, int]]:
    """How often each change occurs, by class, in the order of the classes."""
    rows: dict[str, dict[str, int]] = {}
    for name, change, count in changed.group_by("class", "change").len().sort("class", "change").iter_rows():
        rows.setdefault(name, dict.fromkeys(CHANGES, 0))[change] = count
    return rows


def totals(by_class: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """How often each change occurs in all classes together."""
    return {change: sum(row[change] for row in by_class.values()) for change in CHANGES}


def as_json(before: str, after: str, changed: pl.DataFrame) -> dict[str, Any]:
    """Totals, counts by class, and every sample."""
    by_class = counts(changed)
    return {
        "before": before,
        "after": after,
        **totals(by_class),
        "by_class": by_class,
        "samples": changed.to_dicts(),
    }
