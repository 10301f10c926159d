"""Near-duplicates: rows whose features, less the mean μ of the core's, point the same way; the first stays.

    cos(i, j) = ⟨x_i − μ, x_j − μ⟩ / (‖x_i − μ‖ ‖x_j − μ‖) ≥ threshold,    i after j, j kept

j runs over the references, then over earlier rows that are kept themselves: b near a and c near b leave a and c, unless
c is near a too. Products are taken block by block, so memory is a few blocks (m, p) and one (m, m), whatever n is.
numpy and polars alone: the stage that admits to the pool starts without torch.
"""

import logging
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from diva.numerics.chunks import Chunks
from diva.store import index, manifest
from diva.store.features import FeatureFile
from diva.store.streams import FeatureRows
from diva.text.progress import track

logger = logging.getLogger(__name__)
Array = npt.NDArray[Any]
Positions = npt.NDArray[np.int64]
BLOCK = 2048  # rows a side of one product
CHUNK = 8192  # rows read at once
MANY = 20_000_000_000  # pairs, those of 200,000 rows, from which a run says first how long they take
TELLING = 256  # columns from which a cosine tells an image saved again from another image
REMEDY = "Nothing to do; duplicates.near_duplicate and near_test say from which cosine images count as the same."


class NearDuplicates(NamedTuple):
    """What each row is a near-duplicate of.

    Attributes:
        reference: (n,) position among the references, −1 where none is near.
        row: (n,) position of an earlier row, −1 where none is near or a reference is.
        cosine: (n,) with the row it is near; NaN where there is none.
    """

    reference: Positions
    row: Positions
    cosine: Array

    @property
    def any(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the row is a near-duplicate."""
        return (self.reference >= 0) | (self.row >= 0)


def without_test(
    core: pl.DataFrame,
    tested: pl.Series,
    test: pl.DataFrame,
    threshold: float | None,
    near_test: float | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The core without test images and near-duplicates, and without classes that this leaves one sample of.

    Args:
        core: its index.
        tested: ids of all samples of the test set.
        test: index of those that have features.
        threshold: as of `deduplicated`.
        near_test: as of `untested`.

    Returns:
        The core, and what left it as rows of a quarantine.
    """
    equal = core["sample_id"].is_in(tested.implode()) | index.delivered_ready(core, test)
    equal |= core["pixels"].is_in(test["pixels"].drop_nulls().implode()).fill_null(value=False)
    others, tested_groups = index.without_groups_of(core.filter(~equal), test)
    clear, saved_again = untested(others, test, others, near_test)
    rest, close = deduplicated(clear, test, clear, threshold)
    single = pl.len().over(manifest.class_of(manifest.task())) == 1
    refused = [
        manifest.set_aside(core.filter(equal), "in the test set: test images never train", "Nothing to do."),
        tested_groups,
        saved_again,
        close,
        manifest.set_aside(
            rest.filter(single), "class of one sample: leave-one-out needs two", "Add a second sample of this class."
        ),
    ]
    return rest.filter(~single), pl.concat(refused)


def untested(
    candidates: pl.DataFrame, test: pl.DataFrame, core: pl.DataFrame, threshold: float | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candidates that are no test image saved again, and the others as rows of a quarantine.

    Features of a network alone tell; those that came ready, or in few columns, may lie close and be different samples.
    The cost is candidates × test × p multiplications, a block of each in memory.

    Args:
        candidates: index rows.
        test: index rows of the test set.
        core: index rows whose mean is taken off.
        threshold: cosine from which a candidate counts as a test image; None to keep all.
    """
    if threshold is None or candidates.is_empty() or test.is_empty():
        return candidates, manifest.refusals([])
    stored = FeatureFile(test["features"][0])
    if stored.attributes.get("backbone", "ready") == "ready" or stored.shape[1] < TELLING:
        return candidates, manifest.refusals([])
    return deduplicated(candidates, test, core, threshold, within=False)


def deduplicated(
    candidates: pl.DataFrame,
    references: pl.DataFrame,
    core: pl.DataFrame,
    threshold: float | None,
    within: bool = True,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candidates near no reference and no earlier candidate, and the others as rows of a quarantine.

    Args:
        candidates: index rows, in the order in which the first stays.
        references: index rows that came before all of them.
        core: index rows whose mean is taken off.
        threshold: cosine from which two are near; None to keep all.
        within: whether candidates are compared with each other, too.
    """
    if threshold is None or candidates.is_empty():
        return candidates, manifest.refusals([])
    duplicates = near_duplicates(
        feature_rows(candidates), feature_rows(references), mean(feature_rows(core)), threshold, within
    )
    before = pl.concat([frame.select("sample_id", "batch") for frame in (references, candidates)])
    position = np.where(duplicates.reference >= 0, duplicates.reference, len(references) + duplicates.row)
    first = before[np.where(duplicates.any, position, 0)].select(of="sample_id", where="batch")
    reason = pl.format("near duplicate: of {} in {}, cosine {}", "of", "where", pl.col("cosine").round(4))
    joined = candidates.hstack(first).with_columns(cosine=pl.Series(duplicates.cosine))
    close = pl.Series(duplicates.any)
    return candidates.filter(~close), manifest.set_aside(joined.filter(close), reason, REMEDY)


def feature_rows(frame: pl.DataFrame) -> FeatureRows:
    """The features that rows of an index or a set name."""
    return FeatureRows(frame["features"].to_list(), frame["row"].to_list(), [0] * len(frame), CHUNK)


def mean(chunks: Chunks) -> Array:
    """Mean of the features (p,), float64."""
    n, p = chunks.shape
    total = np.zeros(p)
    for features, _, _ in chunks:
        total += np.asarray(features, np.float64).sum(0)
    return total / max(n, 1)


def near_duplicates(
    rows: Chunks, references: Chunks, centre: Array, threshold: float, within: bool = True
) -> NearDuplicates:
    """Which rows are near a reference or near an earlier row that stays.

    Args:
        rows: n rows, in the order in which the first stays.
        references: rows that came before all of them; may be none.
        centre: μ (p,).
        threshold: cosine from which two rows are near, above 0 and at most 1.
        within: whether rows are compared with each other, too.

    Raises:
        ValueError: the threshold is out of range, or references of another width.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a cosine above 0 and at most 1, got {threshold}.")
    n = rows.shape[0]
    if n and references.shape[0] and references.shape[1] != rows.shape[1]:
        raise ValueError(f"references must have {rows.shape[1]} features, as the rows, got {references.shape[1]}.")
    result = NearDuplicates(np.full(n, -1), np.full(n, -1), np.full(n, np.nan))
    pairs = n * references.shape[0] + within * n * (n - 1) // 2
    for span, block in track(directions(rows, centre), n, "rows", lambda part: len(part[1])):
        if span.start == 0 and pairs > MANY:
            logger.warning("%s", outlook(n, pairs, pairs_a_second(block)))
        _compare(span, block, directions(references, centre) if references.shape[0] else (), threshold, result)
        if within:
            _within(span, block, rows, centre, threshold, result)
    return result


def pairs_a_second(block: Array) -> float:
    """How many pairs of rows are compared in a second, by the product of a block with itself."""
    started = time.perf_counter()
    _first(block @ block.T, 1.0, np.zeros(len(block), np.bool_))
    return float(len(block) ** 2 / max(time.perf_counter() - started, 1e-9))


def outlook(n: int, pairs: int, rate: float) -> str:
    """What comparing many pairs takes, and what does without."""
    return (
        f"{n:,} rows are compared for near-duplicates, {pairs:.1e} pairs: about {pairs / rate / 3600:.1f} hours. "
        "duplicates.near_duplicate: null in params.yaml does without, near_test: null without that of test images."
    )


def directions(chunks: Chunks, centre: Array, size: int = BLOCK) -> Iterator[tuple[slice, Array]]:
    """Rows less the centre, at unit length, block by block; a row that is the centre is near nothing (0)."""
    for features, _, rows in chunks:
        for start in range(0, len(features), size):
            block = np.asarray(features[start : start + size], np.float64) - centre
            length = np.linalg.norm(block, axis=1, keepdims=True)
            unit = np.divide(block, length, out=np.zeros_like(block), where=length > 0).astype(np.float32)
            yield slice(rows.start + start, rows.start + start + len(unit)), unit


def _compare(span: slice, block: Array, references: Any, threshold: float, result: NearDuplicates) -> None:
    """The first reference that each row of a block is near."""
    for there, others in references:
        cosine = block @ others.T
        first, new = _first(cosine, threshold, result.any[span])
        result.reference[span][new] = there.start + first[new]
        result.cosine[span][new] = cosine[new, first[new]]


def _first(cosine: Array, threshold: float, earlier: Array) -> tuple[Positions, npt.NDArray[np.bool_]]:
    """The first column of each row at or above the threshold, and which rows have one and had none before."""
    close = cosine >= threshold - 1e-6  # what float32 rounds: equal rows are near at a threshold of 1
    return close.argmax(1), close.any(1) & ~earlier


def _within(span: slice, block: Array, rows: Chunks, centre: Array, threshold: float, result: NearDuplicates) -> None:
    """The first earlier row that stays and that each row of a block is near."""
    for there, others in directions(rows, centre):
        if there.start == span.start:
            break
        cosine = np.where(result.any[there], -1, block @ others.T)
        first, new = _first(cosine, threshold, result.any[span])
        result.row[span][new] = there.start + first[new]
        result.cosine[span][new] = cosine[new, first[new]]
    cosine = block @ block.T
    close = np.tril(cosine >= threshold - 1e-6, -1)
    for i in np.flatnonzero(close.any(1)):
        earlier = np.flatnonzero(close[i] & ~result.any[span])
        if len(earlier) and not result.any[span.start + i]:
            result.row[span.start + i] = span.start + earlier[0]
            result.cosine[span.start + i] = cosine[i, earlier[0]]
