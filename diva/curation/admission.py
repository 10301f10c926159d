"""What of a delivery joins the pool: what is new, of a class that may join, and no image of the core or the test set.

Frames in, frames out: indexes (`diva.store.index`), whose features are read where images are compared.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from diva.curation.neighbours import deduplicated, untested
from diva.store import index, manifest
from diva.text.targets import classes_of, familiar

CONTENT = ("sample_id", "pixels", "batch", "label")  # by which a sample is the same, and what it was called


@dataclass(frozen=True)
class PoolAdditions:
    """Index rows of the core, of the pool before, of what joins it, and of the delivery; a quarantine of the rest."""

    core: pl.DataFrame
    previous: pl.DataFrame
    admitted: pl.DataFrame
    candidates: pl.DataFrame
    refused: pl.DataFrame

    @property
    def in_groups_of_the_core(self) -> int:
        """How many of what joins share a group with the core, which does not vouch for them."""
        names = index.group_names(self.core)["group"].implode()
        return int(self.admitted["group"].drop_nulls().is_in(names).sum())

    def counts(self) -> dict[str, Any]:
        """For the metrics; what seldom occurs is named where it does."""
        waiting = self.previous["label"].null_count() + self.admitted["label"].null_count()
        seldom = {"unlabelled": waiting, "in_groups_of_the_core": self.in_groups_of_the_core}
        return {
            "candidates": len(self.candidates),
            "admitted": len(self.admitted),
            "quarantined": len(self.refused),
            "reasons": manifest.kinds(self.refused),
            "pool": len(self.previous) + len(self.admitted),
            **{name: count for name, count in seldom.items() if count},
        }


def admit(
    candidates: pl.DataFrame,
    before: pl.DataFrame,
    core: pl.DataFrame,
    test: pl.DataFrame,
    fixed: pl.DataFrame,
    *,
    new_classes: bool,
    near_test: float | None,
    near_duplicate: float | None,
    related: bool,
) -> PoolAdditions:
    """The pool after a delivery.

    Args:
        candidates: index of the delivery.
        before: index of the pool before it, samples that wait for a label included.
        core: its index.
        test: index of the test set, which comes before all: what is near one of its images must not train.
        fixed: `CONTENT` of all samples of core and test set.
        new_classes: whether classes join that the core lacks.
        near_test: as of `diva.curation.neighbours.untested`.
        near_duplicate: as of `diva.curation.neighbours.deduplicated`.
        related: whether samples of the core belong together unsaid; rows like them join their groups.
    """
    present = pl.concat([fixed, index.without_answered(before, candidates).select(CONTENT)])
    task, classes = manifest.task(), set(core["label"])
    if task != "classification":
        classes = familiar(task, candidates["label"].drop_nulls(), classes_of(task, classes))
    new, refused = index.admit(candidates, present, None if new_classes else classes, test)
    new, of_tested_groups = index.without_groups_of(new, test)
    new, saved_again = untested(new, test, core, near_test)
    earlier = pl.concat([test, core, index.labelled(before)])
    admitted, close = deduplicated(new, earlier, core, near_duplicate)
    previous = index.without_answered(before, admitted)
    if related:
        from diva.curation.posing import name_relatives  # brings torch

        admitted = name_relatives(admitted, index.with_groups(core, previous))
    return PoolAdditions(
        core, previous, admitted, candidates, pl.concat([refused, of_tested_groups, saved_again, close])
    )
