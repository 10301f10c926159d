"""The model that a curated set trains, and its samples as one asks about them."""

from typing import NamedTuple

import polars as pl
import torch

from diva.curation import rows, why
from diva.numerics.losses import Loss
from diva.numerics.precision import RidgeFit
from diva.store import curated, index, moments, paths, tables
from diva.store.moments import Counted


class SetModel(NamedTuple):
    """What trains the newest set: its members in the model's order, their groups, and the loss of rounds."""

    members: pl.DataFrame
    groups: pl.DataFrame
    problem: rows.Problem
    fitted: RidgeFit
    loss: Loss


def after(name: str, state: pl.DataFrame, pool: pl.DataFrame) -> SetModel:
    """The model of the members after the round ``name``, with the loss as the noise that the round saw trims it."""
    problem = rows.read_problem().with_classes(pool["label"])
    members, groups = state.filter(pl.col("status") == "member"), index.groups(index.read(paths.CORE), pool)
    base = (
        moments.newest(name, pool, problem.classes) if paths.moments(name).is_file() else moments.core(problem.classes)
    )
    fitted = rows.fitted(Counted(members, rows.moments_of(members, base, problem)), problem, groups)
    metrics = paths.metrics(f"rounds/{name}")
    noisy = not metrics.is_file() or bool(tables.read_json(metrics)["noisy"])
    return SetModel(members, groups, problem, fitted, Loss("calibrated", problem.temperature, trim=noisy))


def query(sample: pl.DataFrame, model: SetModel) -> why.Query:
    """One sample (sample_id, label, features, row), of the set or of the pool, as `diva.curation.why` takes it."""
    prepared = rows.prepared(sample.select(curated.ROWS), model.problem)
    features, labels, _ = next(iter(model.fitted.like(prepared)))
    itself = model.members["sample_id"] == sample["sample_id"][0]
    together = torch.from_numpy(itself.to_numpy(writable=True))
    own = rows.group_numbers(sample, model.groups)
    if own is not None and own[0] >= 0 and model.fitted.groups is not None:
        together |= model.fitted.groups == own[0]
    return why.Query(features[0], int(labels[0]), together)
