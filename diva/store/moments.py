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

from diva.numerics.normalize import Scaling
from diva.numerics.ridge import Moments
from diva.store import atomic, curated, digests, index, paths
from diva.text.choices import Normalization


@dataclass(frozen=True)
class Counted:
    """Rows (sample_id, label, features, row; of the core also the group) and their moments."""

    rows: pl.DataFrame
    moments: Moments


def write(path: Path, sums: Moments, classes: Sequence[str], scaling: Scaling | None = None, **origin: Any) -> None:
    """Moments, the names of their columns, and what they were made from."""
    p = len(sums.gram)
    with atomic.replacing(path) as temporary, h5py.File(temporary, "w") as file:
        numbers: dict[str, Any] = {"gram": sums.gram.cpu()[*torch.triu_indices(p, p)], "cross": sums.cross}
        numbers |= {} if scaling is None else {"mean": scaling.mean, "scale": scaling.scale}
        for name, values in numbers.items():
            file.create_dataset(name, data=values.cpu().numpy(), track_times=False)
        file.create_dataset("classes", data=list(classes), dtype=h5py.string_dtype("utf-8"), track_times=False)
        file.create_dataset("told", data=json.dumps(origin), track_times=False)
        file.attrs["count"], file.attrs["rounding"] = sums.count, sums.rounding


def read(path: Path, classes: Sequence[str]) -> Moments:
    """Moments with a column for each of ``classes``, of zeros where no row had it; no row must have any other."""
    with h5py.File(path, "r") as file:
        triangle, names = torch.from_numpy(file["gram"][:]), list(file["classes"].asstr()[:])
        stored = torch.from_numpy(file["cross"][:])
        count, rounding = int(file.attrs["count"]), float(file.attrs["rounding"])
    p = len(stored)
    gram, (row, column) = triangle.new_zeros(p, p), torch.triu_indices(p, p)
    gram[row, column] = gram[column, row] = triangle
    cross = stored.new_zeros(p, len(classes))
    code = {name: number for number, name in enumerate(classes)}
    columns = [number for number, name in enumerate(names) if name in code]
    cross[:, [code[names[number]] for number in columns]] = stored[:, columns]
    return Moments(gram, cross, count, rounding)


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


def write_round(name: str, sums: Moments, classes: Sequence[str], features: Sequence[str]) -> None:
    """data/moments/<round>.h5, with what must stay as it is for them to be valid: the fit, the pool's features.

    Args:
        name: of the round.
        sums: of the members after it.
        classes: names of their columns.
        features: checksums of the pool's files of features that the set's samples lie in.
    """
    write(paths.moments(name), sums, classes, round=name, fit=digests.sha256(paths.MOMENTS), features=features)


def valid(name: str, pool: pl.DataFrame) -> bool:
    """Whether the moments stored after a round still are those of its set.

    They are not those of a set where the chain only begins, and no longer those of features or a fit made anew.
    """
    with h5py.File(paths.moments(name), "r") as file:
        origin = json.loads(file["told"].asstr()[()])
    if origin.get("round") != name or origin["fit"] != digests.sha256(paths.MOMENTS):
        return False
    return set(origin["features"]) <= set(pool["checksum"].unique())


def core(classes: Sequence[str]) -> Counted:
    """The core as ``fit`` took it."""
    return Counted(index.read(paths.CORE, only=(*curated.ROWS, "group")), read(paths.MOMENTS, classes))


def newest(name: str, pool: pl.DataFrame, classes: Sequence[str]) -> Counted:
    """The set after a round, where its moments are stored and valid; otherwise the core."""
    if valid(name, pool):
        members = curated.members(curated.read(name, only=("status", *curated.ROWS)))
        return Counted(members, read(paths.moments(name), classes))
    return core(classes)
