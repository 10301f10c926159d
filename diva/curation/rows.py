"""Rows of an index, ready for the closed forms, and the problem that ``fit`` posed for all of them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from diva.curation import card_processes, cluster
from diva.numerics import device
from diva.numerics.chunks import Chunks
from diva.numerics.normalize import Prepared, Scaling
from diva.numerics.parallel import Mapper, Parts, cuts
from diva.numerics.precision import RidgeFit, fit_ridge
from diva.numerics.residence import Resident
from diva.numerics.ridge import Moments, moments, relabelled
from diva.store import moments as stored_moments
from diva.store import paths, tables
from diva.store.moments import Counted
from diva.store.streams import READERS, FeatureRows
from diva.text.choices import Normalization, Task
from diva.text.targets import classes_of, familiar

Rows = Resident | Parts

MOST = 1 << 26  # predictions (rows × classes) at once, of which the closed forms keep a few copies: some gigabytes


@dataclass(frozen=True)
class Problem:
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
    task: Task = "classification"
    centre: float = 0.0  # of numbers, which are fitted less this, in units of `scale`
    scale: float = 1.0

    def with_classes(self, *labels: pl.Series) -> "Problem":
        """The same with the core's classes, in their order, and after them those that only ``labels`` have."""
        given = (label for column in labels for label in column.unique().to_list())
        others = classes_of(self.task, given) - set(self.classes)
        return replace(self, classes=[*self.classes, *sorted(others)])

    def familiar(self, labels: pl.Series) -> list[str]:
        """Those of the labels that the core can say something of."""
        return sorted(familiar(self.task, labels.drop_nulls(), self.classes))

    @property
    def ridges(self) -> list[float]:
        """The grid that λ was chosen from."""
        return [entry["ridge"] for entry in self.grid]


def read_problem() -> Problem:
    """data/fit/fit.json."""
    return Problem(**tables.read_json(paths.FIT))


def write_problem(problem: Problem, core: Moments, scaling: Scaling | None) -> None:
    """data/fit/fit.json and data/fit/moments.h5."""
    stored_moments.write(paths.MOMENTS, core, problem.classes, scaling)
    unsaid = () if problem.task != "classification" else ("task", "centre", "scale")
    tables.write_json(paths.FIT, {name: value for name, value in asdict(problem).items() if name not in unsaid})


def counted(frame: pl.DataFrame, name: str, pool: pl.DataFrame, problem: Problem) -> Counted:
    """``frame``, a set much like that after the round ``name``, with its moments: from those stored there."""
    return Counted(frame, moments_of(frame, stored_moments.newest(name, pool, problem.classes), problem))


def moments_of(frame: pl.DataFrame, base: Counted, problem: Problem) -> Moments:
    """Moments of the rows of ``frame``: those of another set, with what came, went or changed its label since.

    Each is summed anew only where that is less work.

    Args:
        frame: sample_id, label, features, row.
        base: a set of which most is in ``frame``, too.
        problem: its classes are the columns.
    """
    old = base.rows.join(frame.select("sample_id", now="label"), on="sample_id", how="left", maintain_order="left")
    gone = old.filter(pl.col("now").is_null())
    changed = old.filter(pl.col("now") != pl.col("label"))
    came = frame.join(base.rows, on="sample_id", how="anti", maintain_order="left")
    k = len(problem.classes)
    if len(gone) + len(changed) + len(came) >= len(frame):
        return moments(prepared(frame, problem), k)
    sums = base.moments.to(device.resolve(problem.device))
    if len(came):
        sums = sums + moments(prepared(came, problem), k)
    if len(gone):
        sums = sums - moments(prepared(gone, problem), k)
    if len(changed):
        before = torch.from_numpy(codes(changed["label"], problem.classes))
        sums = relabelled(sums, prepared(changed.with_columns(label="now"), problem), before, k)
    return sums


def fitted(rows: Counted, problem: Problem, groups: pl.DataFrame | None = None) -> RidgeFit:
    """Rows with the model that they train at the problem's λ; ``groups`` as of `diva.store.index.groups`."""
    together = group_numbers(rows.rows, groups)
    return fit_ridge(
        prepared(rows.rows, problem), len(problem.classes), problem.ridge, sums=rows.moments, groups=together
    )


def group_numbers(frame: pl.DataFrame, groups: pl.DataFrame | None) -> torch.Tensor | None:
    """The group (n,) of each row, −1 for one by itself; None where there are no groups."""
    if groups is None or groups.is_empty():
        return None
    numbers = frame.select("sample_id").join(groups, on="sample_id", how="left", maintain_order="left")["number"]
    return torch.from_numpy(numbers.fill_null(-1).to_numpy(writable=True))


def stored(
    frame: pl.DataFrame, classes: Sequence[str], chunk_size: int, width: int | None = None, where: str = "cpu"
) -> FeatureRows:
    """The features that the rows of ``frame`` (an index, a curated set) name, with codes of their ``label``.

    They are read into memory from which the way to ``where``, a device, is short.
    """
    files = frame["features"].unique(maintain_order=True)
    file, labels = codes(frame["features"], files.to_list()), codes(frame["label"], classes)
    card = torch.device(where).type != "cpu"
    chunk_size = max(1, min(chunk_size, MOST // max(1, len(classes))))  # which changes nothing beyond rounding
    row, allocate = frame["row"].to_numpy(), pinned if card else np.empty
    rows = FeatureRows.indexed(files.to_list(), file, row, labels, chunk_size, width, allocate)
    rows.readers = READERS if card else 1
    return rows


def codes(names: pl.Series, classes: Sequence[str]) -> npt.NDArray[np.int32]:
    """Each name's number among the classes."""
    return names.replace_strict(classes, range(len(classes)), return_dtype=pl.Int32).to_numpy(writable=True)


def pinned(shape: tuple[int, int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Page-locked memory."""
    kind = {"float16": torch.float16, "float32": torch.float32}[dtype.name]
    return torch.empty(shape, dtype=kind, pin_memory=True).numpy()


def prepared(frame: pl.DataFrame, problem: Problem) -> Rows:
    """The same, as the tensors that the closed forms take."""
    where = device.resolve(problem.device)
    size = device.at_most(problem.chunk_size, where)
    if problem.task != "classification":  # targets stand beside the rows
        frame = frame.with_columns(label=pl.lit(problem.classes[0]))
    rows = stored(frame, problem.classes, size, stored_moments.width(), where)
    return spread(rows, preparation(problem))


def preparation(problem: Problem) -> Callable[[Any], Prepared]:
    """From chunks of raw features to the tensors that the closed forms take."""
    where, dtype = device.resolve(problem.device), getattr(torch, problem.dtype)
    scaling = stored_moments.scaling(problem.normalize)
    return lambda chunks: Prepared(chunks, problem.normalize, scaling=scaling, device=where, dtype=dtype)


def spread(rows: FeatureRows, prepare: Callable[[FeatureRows], Prepared]) -> Rows:
    """Prepared rows that stay in memory; in parts, where the environment names a cluster, or for several cards.

    On workers they stay where each has a card of its own.
    """
    whole, pieces = prepare(rows), cuts(rows.shape[0], cluster.PART, rows.chunk_size)
    mapper: Mapper | None = cluster.mapper(homes=whole.device.type != "cpu")
    if mapper is None and len(pieces) > 1:
        mapper = card_processes.mapper(whole.device)
    if mapper is None:
        return Resident(whole)
    parts = [prepare(rows.part(piece)) for piece in pieces]
    return Parts(parts if whole.device.type == "cpu" else [Resident(part) for part in parts], mapper)


def gathered(chunks: Chunks) -> tuple[torch.Tensor, torch.Tensor]:
    """All rows at once, without the constant column, and their labels: for methods that do not stream."""
    parts = [(z[:, :-1], labels) for z, labels, _ in chunks]
    return torch.cat([z for z, _ in parts]), torch.cat([labels for _, labels in parts])
