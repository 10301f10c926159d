"""Moments on disk: those of the core, and after each round those of its set, so that no row is ever summed twice.

    data/fit/moments.h5      of the core, with the scaling of its features
    data/moments/<round>.h5  of the members after the round: the next one adds, takes away or relabels what is new to it

`gram` is stored as its upper triangle, row by row.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import polars as pl
import torch

from diva.numerics import products
from diva.numerics.normalize import Normalization, Scaling
from diva.numerics.ridge import Moments
from diva.store import atomic, curated, index, paths, tables


@dataclass(frozen=True)
class Counted:
    """Rows (sample_id, label, features, row) and their moments."""

    rows: pl.DataFrame
    moments: Moments


def write(path: Path, sums: Moments, classes: Sequence[str], scaling: Scaling | None = None, **told: Any) -> None:
    """Moments, the names of their columns, and what else there is to tell of them."""
    p = len(sums.gram)
    with atomic.replacing(path) as temporary, h5py.File(temporary, "w") as file:
        numbers: dict[str, Any] = {"gram": sums.gram.cpu()[*torch.triu_indices(p, p)], "cross": sums.cross}
        numbers |= {} if scaling is None else {"mean": scaling.mean, "scale": scaling.scale}
        for name, values in numbers.items():
            file.create_dataset(name, data=values.cpu().numpy(), track_times=False)
        file.create_dataset("classes", data=list(classes), dtype=h5py.string_dtype("utf-8"), track_times=False)
        file.create_dataset("told", data=json.dumps(told), track_times=False)
        file.attrs["count"], file.attrs["rounding"] = sums.count, sums.rounding


def read(path: Path, classes: Sequence[str]) -> Moments:
    """Moments with a column for each of ``classes``, of zeros where no row had it; no row must have any other."""
    with h5py.File(path, "r") as file:
        triangle, known = torch.from_numpy(file["gram"][:]), list(file["classes"].asstr()[:])
        stored = torch.from_numpy(file["cross"][:])
        count, rounding = int(file.attrs["count"]), float(file.attrs["rounding"])
    p = len(stored)
    gram = triangle.new_zeros(p, p)
    gram[*torch.triu_indices(p, p)] = triangle
    cross = stored.new_zeros(p, len(classes))
    place = {name: column for column, name in enumerate(classes)}
    columns = [column for column, name in enumerate(known) if name in place]
    cross[:, [place[known[column]] for column in columns]] = stored[:, columns]
    return Moments(products.mirror(gram), cross, count, rounding)


def scaling(normalize: Normalization) -> Scaling | None:
    """Mean and scale of the core's features, where rows are standardized."""
    if normalize != "standardize":
        return None
    with h5py.File(paths.MOMENTS, "r") as file:
        return Scaling(torch.from_numpy(file["mean"][:]), torch.from_numpy(file["scale"][:]))


def width() -> int:
    """Features per row, without the constant column."""
    with h5py.File(paths.MOMENTS, "r") as file:
        return int(file["cross"].shape[0]) - 1


def write_round(name: str, sums: Moments, classes: Sequence[str], pool: pl.DataFrame, state: pl.DataFrame) -> None:
    """data/moments/<round>.h5, with what must stay as it is for them to hold: the fit, the pool's features.

    Args:
        name: of the round.
        sums: of the members after it.
        classes: names of their columns.
        pool: the index that it drew from.
        state: the set after it.
    """
    used = pool.join(state, on="sample_id", how="semi")["checksum"].unique().sort()
    write(paths.moments(name), sums, classes, round=name, fit=tables.sha256(paths.MOMENTS), features=used.to_list())


def holds(name: str, pool: pl.DataFrame) -> bool:
    """Whether the moments stored after a round still are those of its set.

    They are not those of a set where the chain only begins, and no longer those of features or a fit made anew.
    """
    with h5py.File(paths.moments(name), "r") as file:
        told = json.loads(file["told"].asstr()[()])
    if told.get("round") != name or told["fit"] != tables.sha256(paths.MOMENTS):
        return False
    return set(told["features"]) <= set(pool["checksum"])


def members(state: pl.DataFrame) -> pl.DataFrame:
    """Rows of a set that count."""
    return state.filter(pl.col("status") == "member").select("sample_id", "label", "features", "row")


def core(classes: Sequence[str]) -> Counted:
    """The core as ``fit`` took it."""
    return Counted(index.read(paths.CORE), read(paths.MOMENTS, classes))


def newest(name: str, pool: pl.DataFrame, classes: Sequence[str]) -> Counted:
    """The set after a round, where its moments are stored and hold; otherwise the core."""
    if holds(name, pool):
        return Counted(members(curated.read(name)), read(paths.moments(name), classes))
    return core(classes)
