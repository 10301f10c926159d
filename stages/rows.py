"""Rows of an index, ready for the closed forms, and the problem that ``fit`` posed for all of them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from diva.numerics import device
from diva.numerics.normalize import Normalization, Prepared, Scaling
from diva.numerics.parallel import Parts, cuts
from diva.numerics.ridge import Moments, moments, relabelled
from diva.store import paths, tables
from diva.store.streams import FeatureRows
from stages import cluster, sums
from stages.sums import Counted

Rows = Prepared | Parts

MOST = 1 << 26  # predictions (rows × classes) at once, of which the closed forms keep a few copies: some gigabytes


@dataclass(frozen=True)
class Fit:
    """What ``fit`` chose on the core, and how it computed: data/fit/fit.json."""

    ridge: float
    temperature: float
    classes: list[str]
    normalize: Normalization
    chunk_size: int
    device: str
    dtype: Literal["float32", "float64"]
    loo_error: float
    grid: list[dict[str, float]]
    excluded: int

    def with_classes(self, labels: pl.Series) -> list[str]:
        """The core's classes, in their order, and after them those that only ``labels`` have."""
        return [*self.classes, *sorted(set(labels.to_list()) - set(self.classes))]


def read_fit() -> Fit:
    """data/fit/fit.json."""
    return Fit(**json.loads(paths.FIT.read_text(encoding="utf-8")))


def write_fit(fit: Fit, core: Moments, scaling: Scaling | None) -> None:
    """data/fit/fit.json and data/fit/moments.h5."""
    sums.write(paths.MOMENTS, core, fit.classes, scaling)
    tables.write_json(paths.FIT, asdict(fit))


def counted(frame: pl.DataFrame, name: str, pool: pl.DataFrame, classes: Sequence[str], fit: Fit) -> Counted:
    """``frame``, a set much like that after the round ``name``, with its moments: from those stored there."""
    return Counted(frame, moments_of(frame, sums.newest(name, pool, classes), classes, fit))


def moments_of(frame: pl.DataFrame, known: Counted, classes: Sequence[str], fit: Fit) -> Moments:
    """Moments of the rows of ``frame``: those of a known set, with what came, went or changed its label since.

    Each is summed anew only where that is less work.

    Args:
        frame: sample_id, label, features, row.
        known: a set of which most is in ``frame``, too.
        classes: names of the codes.
        fit: the problem.
    """
    old = known.rows.join(frame.select("sample_id", now="label"), on="sample_id", how="left", maintain_order="left")
    gone = old.filter(pl.col("now").is_null())
    changed = old.filter(pl.col("now") != pl.col("label"))
    came = frame.join(known.rows, on="sample_id", how="anti", maintain_order="left")
    k = len(classes)
    if len(gone) + len(changed) + len(came) >= len(frame):
        return moments(prepared(frame, classes, fit), k)
    found = known.moments.to(device.resolve(fit.device))
    for rows, sign in ((came, 1), (gone, -1)):
        if len(rows):
            part = moments(prepared(rows, classes, fit), k)
            found = found + part if sign > 0 else found - part
    if len(changed):
        before = torch.from_numpy(codes(changed["label"], classes))
        after = prepared(changed.with_columns(label="now"), classes, fit)
        found = relabelled(found, after, before, k)
    return found


def stored(
    frame: pl.DataFrame, classes: Sequence[str], chunk_size: int, width: int | None = None, place: str = "cpu"
) -> FeatureRows:
    """The features that the rows of ``frame`` (an index, a curated set) name, with codes of their ``label``.

    They are read into memory from which the way to ``place``, a device, is short.
    """
    files = frame["features"].unique(maintain_order=True)
    file, labels = codes(frame["features"], files.to_list()), codes(frame["label"], classes)
    allocate = np.empty if torch.device(place).type == "cpu" else pinned
    chunk_size = max(1, min(chunk_size, MOST // max(1, len(classes))))  # which changes nothing beyond rounding
    return FeatureRows.indexed(files.to_list(), file, frame["row"].to_numpy(), labels, chunk_size, width, allocate)


def codes(names: pl.Series, known: Sequence[str]) -> npt.NDArray[np.int32]:
    """Each name's place among those that are known."""
    return names.replace_strict(known, range(len(known)), return_dtype=pl.Int32).to_numpy(writable=True)


def pinned(shape: tuple[int, int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Page-locked memory."""
    kind = {"float16": torch.float16, "float32": torch.float32}[dtype.name]
    return torch.empty(shape, dtype=kind, pin_memory=True).numpy()


def prepared(frame: pl.DataFrame, classes: Sequence[str], fit: Fit) -> Rows:
    """The same, as the tensors that the closed forms take."""
    place, dtype, scaling = device.resolve(fit.device), getattr(torch, fit.dtype), sums.scaling(fit.normalize)
    rows = stored(frame, classes, device.at_most(fit.chunk_size, place), sums.width(), place)
    return spread(rows, lambda part: Prepared(part, fit.normalize, scaling=scaling, device=place, dtype=dtype))


def spread(rows: FeatureRows, prepare: Callable[[FeatureRows], Prepared]) -> Rows:
    """Prepared rows; in parts, for the workers of a cluster, where the environment names one."""
    workers = cluster.mapper()
    if workers is None:
        return prepare(rows)
    parts = cuts(rows.shape[0], cluster.PART, rows.chunk_size)
    return Parts([prepare(rows.part(part)) for part in parts], workers)


def gathered(chunks: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """All rows at once, without the constant column, and their labels: for methods that do not stream."""
    parts = [(z[:, :-1], labels) for z, labels, _ in chunks]
    return torch.cat([z for z, _ in parts]), torch.cat([labels for _, labels in parts])
