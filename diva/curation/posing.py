"""How the core poses the ridge problem of all later stages: λ and T* by leave-one-out, in the precision it needs."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy.typing as npt
import polars as pl
import torch

from diva.curation import rows
from diva.curation.relatives import SEARCHED, Relatives, candidate_groups, explanation, group_relatives, usable_groups
from diva.numerics import device as devices
from diva.numerics.grid import RidgeChoice, choose_ridge
from diva.numerics.groups import undivided_classes
from diva.numerics.leave_one_out import all_rows, choose_temperature
from diva.numerics.losses import THRESHOLD, margins
from diva.numerics.normalize import Prepared, Scaling
from diva.numerics.normalize import scaling as scaling_of
from diva.numerics.precision import RidgeFit
from diva.numerics.residence import Resident
from diva.numerics.ridge import Moments, RidgeModel
from diva.store import index
from diva.store.features import FeatureFile
from diva.text.choices import GroupMode, Normalization

CLEAR = 0.05  # share of the core's margins that must reach the threshold of hopeless labels
USELESS = 0.5  # leave-one-out error from which small margins are the features' fault
CHUNK = 8192  # rows read at once


@dataclass(frozen=True)
class Posed:
    """The problem, the core's moments, the scaling of its features, its model.

    And where samples belong together though nobody said so: the groups (sample_id, group), figures, and words; words
    too where a class lies in one group. The caveat is of margins that say nothing (`shrinkage`).
    """

    problem: rows.Problem
    moments: Moments
    scaling: Scaling | None
    model: RidgeModel
    groups: pl.DataFrame | None = None
    related: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    caveat: str = ""


def pose(
    core: pl.DataFrame, excluded: int, group: GroupMode, *, normalize: Normalization, ridges: list[float],
    chunk_size: int | Literal["auto"], device: str, dtype: Literal["auto", "float32", "float64"],
) -> Posed:  # fmt: skip
    """λ, T* and the moments of the core.

    Args:
        core: its index.
        excluded: how many samples were set aside before.
        group: whether near relatives are left out together where the core names no groups.
        normalize: of each row.
        ridges: the grid for λ.
        chunk_size: rows that travel together; `auto` by the device.
        device: where it is computed.
        dtype: of the products with rows; `auto` by the device, and float64 where float32 is not enough.

    Raises:
        ValueError: fewer than two classes, or the core's groups leave no class in two of them.
    """
    classes = sorted(core["label"].unique())
    if len(classes) < 2:
        raise ValueError(f"batches.core must hold two classes beside the {excluded} samples set aside, got {classes}.")
    where = devices.resolve(device)
    size = (
        devices.chunk_size(FeatureFile(core["features"][0]).shape[1] + 1, where) if chunk_size == "auto" else chunk_size
    )
    kind = devices.precision(where) if dtype == "auto" else getattr(torch, dtype)
    raw = rows.stored(core, classes, size, where=where)
    scaling = scaling_of(raw) if normalize == "standardize" else None
    chunks = rows.spread(raw, lambda part: Prepared(part, normalize, scaling=scaling, device=where, dtype=kind))
    named = rows.group_numbers(core, index.groups(core.select(list(index.SCHEMA)), stored=False))
    message = "" if named is None else check_groups(named, rows.codes(core["label"], classes), classes)
    choice = choose_ridge(chunks, len(classes), ridges, groups=named)
    fitted, relation = choice.fit(), None
    if named is None:
        fitted, choice, relation = leave_relatives_out(fitted, choice, group, ridges)
    if fitted.chunks is not chunks:  # float32 was not enough
        kind = torch.float64
    problem = rows.Problem(
        ridge=choice.ridge, temperature=choose_temperature(fitted), classes=classes,
        loo_error=choice.error, excluded=excluded, normalize=normalize, chunk_size=size, device=device,
        grid=[{"ridge": ridge, "loo_error": error, "loo_loss": loss} for ridge, error, loss in choice.grid],
        dtype="float64" if kind == torch.float64 else "float32",
    )  # fmt: skip
    caveat = shrinkage(fitted) if choice.error < USELESS else ""
    posed = Posed(problem, fitted.moments, scaling, fitted.model, message=message, caveat=caveat)
    return posed if relation is None else told_relatives(posed, relation, core, fitted.groups is not None)


def check_groups(groups: torch.Tensor, codes: npt.NDArray[Any], classes: list[str]) -> str:
    """What to say where all samples of a class lie in one group: without it nothing can predict them.

    Raises:
        ValueError: that is so of every class, as with groups that are the classes, or with a single one.
    """
    labels = torch.from_numpy(codes).long()
    undivided = undivided_classes(groups, labels)
    if not undivided:
        return ""
    names = ", ".join(classes[code] for code in undivided[:5])
    if len(undivided) == int((torch.bincount(labels) > 1).sum()):
        raise ValueError(
            f"groups of batches.core must spread classes over at least 2 groups, got one for each of {names}: a label "
            "that is left out cannot be predicted; name smaller groups (the column group, --group-by), or none."
        )
    return f"classes of one group ({len(undivided)}: {names}) are not judged: add a second group of each"


def shrinkage(fitted: RidgeFit) -> str:
    """What to say where λ shrinks predictions so far that hardly a label could be called hopeless; else nothing.

    Args:
        fitted: the core, each row of which is predicted without itself, or without its group.
    """
    clear, enough = 0, CLEAR * fitted.chunks.shape[0]
    for chunk, _, loo in all_rows(fitted):
        clear += int((margins(loo.predictions, chunk.labels).abs() >= THRESHOLD).sum())
        if clear >= enough:
            return ""
    return (
        f"ridge {fitted.model.ridge:g} shrinks predictions so far that hardly any margin reaches {THRESHOLD}, at which "
        "a label counts as hopeless: rounds and alerts of deliveries cannot tell that the pool's labels are noisy; "
        "give fit.ridges smaller values alone, such as those below 1"
    )


def leave_relatives_out(
    fitted: RidgeFit, choice: RidgeChoice, group: GroupMode, ridges: list[float]
) -> tuple[RidgeFit, RidgeChoice, Relatives | None]:
    """The fit and the choice of λ that go on, with near relatives left out together where they belong together."""
    choices = [choice]

    def refit(groups: torch.Tensor) -> RidgeFit:
        choices.append(choose_ridge(fitted.chunks, fitted.classes, ridges, groups=groups))
        return choices[-1].fit()

    fitted, relation = group_relatives(fitted, group, refit)
    return fitted, choices[-1], relation


def told_relatives(posed: Posed, relation: Relatives, core: pl.DataFrame, used: bool) -> Posed:
    """The same with the groups that are used, and with words and figures where samples belong together."""
    groups = None
    if used:
        frame = core.select("sample_id", number=pl.Series(relation.groups.numpy())).filter(pl.col("number") >= 0)
        groups = frame.select("sample_id", group=pl.format("relatives {}", "number"))
    if not relation.belong:
        return replace(posed, groups=groups)
    then = "they are left out together" if used else "say which, in a column group"
    message = f"{explanation(relation, core['path'].to_list())}; {then} (name them in a column group, or --group-by)"
    figures = {"one_by_one": relation.plain, "together": relation.together, "related": relation.related}
    return replace(posed, groups=groups, related={"relatives": figures | {"message": message}}, message=message)


def name_relatives(new: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Index rows of a delivery, in the group of their near relatives where nobody named one.

    Rows that came before keep the group that they have; a row related only to such as have none shares none with them.
    More than `diva.curation.relatives.SEARCHED` rows are not compared.

    Args:
        new: index rows.
        before: index rows of core and pool, with the groups of the core's relatives.
    """
    both = pl.concat([before, new]).with_columns(pl.col("label").fill_null(""))
    if new.is_empty() or len(both) > SEARCHED:
        return new
    classes = both["label"].unique().to_list()
    chunks, labels = Resident(Prepared(rows.stored(both, classes, CHUNK))), rows.codes(both["label"], classes)
    candidates = candidate_groups(chunks, torch.arange(len(before), len(both)))
    numbers = usable_groups(candidates, torch.from_numpy(labels).long())
    related = both.with_columns(number=pl.Series(numbers.numpy())).filter(pl.col("number") >= 0)
    fresh = pl.format("relatives {} of {}", "number", pl.lit(new["batch"][0]))
    first = pl.col("group").drop_nulls().first().over("number")
    names = related.select("sample_id", name=pl.coalesce(first, fresh))
    joined = new.join(names, on="sample_id", how="left", maintain_order="left")
    return joined.with_columns(group=pl.coalesce("group", "name")).drop("name")
