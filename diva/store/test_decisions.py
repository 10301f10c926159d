"""What people decided about labels of the test set: data/reviews/test-decisions.csv, in git, apart from all others.

``evaluate`` tells the error by them beside that of the given labels. Nothing that trains reads them, and no rollback
takes them back.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from diva.store import decisions, paths, tables
from diva.text.targets import Vocabulary

FILE = paths.TEST_DECISIONS
EMPTY = f"{','.join(decisions.SCHEMA)}\n"  # the file of a new project


class Settled(NamedTuple):
    """A test set as people decided.

    Attributes:
        labels: (n,), theirs where they gave one, else as given.
        stays: (n,), False where they left a sample out.
        decided: (n,), whether anybody decided.
    """

    labels: pl.Series
    stays: npt.NDArray[np.bool_]
    decided: npt.NDArray[np.bool_]


def read() -> pl.DataFrame:
    """All decisions, one per sample, as ``decisions.SCHEMA``; ValueError where somebody broke the file."""
    if not FILE.is_file():
        return tables.empty(decisions.SCHEMA)
    frame = tables.conform(tables.parse(tables.read_csv, FILE, "table"), decisions.SCHEMA, str(FILE))
    if frame["sample_id"].is_duplicated().any():
        twice = frame.filter(pl.col("sample_id").is_duplicated())["sample_id"][0]
        raise ValueError(f"{FILE} must have one decision a sample, got two on {twice}; take one of them out.")
    as_written = pl.col("note", "reviewer").map_elements(tables.as_written, return_dtype=pl.String)
    return frame.with_columns(as_written)


def add(said: pl.DataFrame) -> None:
    """Put more decisions (``decisions.SCHEMA``) there, of which the new stand, ordered by sample."""
    rest = read().join(said, on="sample_id", how="anti")
    whole = pl.concat([rest, said.select(rest.columns)]).sort("sample_id")
    decisions.write(FILE, (decisions.Decision(*row) for row in whole.iter_rows()))


def settled(test: pl.DataFrame, said: pl.DataFrame, vocabulary: Vocabulary) -> Settled:
    """A test set (sample_id, label) by decisions on it; those on samples that it lacks count nowhere.

    Args:
        test: rows that test.
        said: the decisions.
        vocabulary: labels there are.

    Raises:
        ValueError: a label that is none of them.
    """
    joined = test.select("sample_id", "label").join(
        said.select("sample_id", "decision", new="label"), on="sample_id", how="left", maintain_order="left"
    )
    changed = pl.when(pl.col("decision") == "relabel").then("new").otherwise("label")
    labels = joined.select(changed.alias("label"))["label"]
    if strange := [label for label in labels.unique(maintain_order=True) if not vocabulary.knows(label)]:
        raise ValueError(f"{FILE} must name labels of core or pool, got {strange[0]!r}; correct it there.")
    return Settled(
        labels,
        (joined["decision"] != "reject").fill_null(value=True).to_numpy(),
        joined["decision"].is_not_null().to_numpy(),
    )
