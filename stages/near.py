"""Near-duplicates among the rows of an index, for the core and for the pool."""

import numpy as np
import polars as pl

from diva.curation import neighbours
from diva.store import manifest
from diva.store.streams import FeatureRows

CHUNK = 8192  # rows read at once
REMEDY = "Nothing to do; neighbours.near_duplicate says from which cosine images count as the same."


def apart(
    candidates: pl.DataFrame, references: pl.DataFrame, core: pl.DataFrame, threshold: float | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candidates near no reference and no earlier candidate, and the others as rows of a quarantine.

    Args:
        candidates: index rows, in the order in which the first stays.
        references: index rows that came before all of them.
        core: index rows whose mean is taken off.
        threshold: cosine from which two are near; None to keep all.
    """
    if threshold is None or candidates.is_empty():
        return candidates, manifest.refusals([])
    near = neighbours.near_duplicates(_rows(candidates), _rows(references), neighbours.mean(_rows(core)), threshold)
    before = pl.concat([frame.select("sample_id", "batch") for frame in (references, candidates)])
    place = np.where(near.reference >= 0, near.reference, len(references) + near.row)
    told = before[np.where(near.found, place, 0)].select(of="sample_id", where="batch")
    reason = pl.format("near duplicate: of {} in {}, cosine {}", "of", "where", pl.col("cosine").round(4))
    joined = candidates.hstack(told).with_columns(cosine=pl.Series(near.cosine))
    found = pl.Series(near.found)
    return candidates.filter(~found), manifest.set_aside(joined.filter(found), reason, REMEDY)


def _rows(frame: pl.DataFrame) -> FeatureRows:
    return FeatureRows(frame["features"].to_list(), frame["row"].to_list(), [0] * len(frame), CHUNK)
