"""Which transformations of the images help: Reweight on the union of the images and their variants.

    D_aug = D ∪ t_1(D) ∪ … ∪ t_K(D),   α = 1;  steps of Reweight (diva.curation.reweight) on D_aug
    p_k = Σ_{i ∈ t_k(D)} α_i / Σ_i α_i            p_0 is that of the images as they are, the identity

A p_k below p_0 says that the loss wants less of the transformation. An image's variants leave the training set with it
(numerics.groups): a flip of the same image would give the answer away. Only the untransformed images validate: with the
variants validating too, what is learned for them hides what they cost the images.

The spread comes from a bootstrap over images: an image drawn twice has weight 2, validates twice, and both copies are
left out together. λ and T* are chosen once, by leave-one-out without the image, on the images as given.

Reference: Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022, Sec. 5.4 and Fig. 5.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import polars as pl
import torch
from torch import Tensor

from diva.curation.reweight import Step, step
from diva.numerics.chunks import Chunk, Chunks
from diva.numerics.derivative import dataset_derivative
from diva.numerics.leave_one_out import all_rows, choose_temperature
from diva.numerics.losses import Loss
from diva.numerics.precision import RidgeFit, fit_ridge
from diva.numerics.ridge import Moments, moments
from diva.text.choices import LossName, ValidatingVariants

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnionWeights:
    """Weights of a union.

    Attributes:
        weights: α of a single copy (n, variants) float64.
        probabilities: p (variants,).
        history: one entry per step taken.
    """

    weights: Tensor
    probabilities: Tensor
    history: tuple[Step, ...]


@dataclass(frozen=True)
class Augmentation:
    """What transformations are worth.

    Attributes:
        union: on all images.
        drawn: p of each bootstrap draw (draws, variants).
        ridge: λ.
        loss: in use, with its temperature.
        errors: leave-one-out error, without the image, of each variant's rows at α = 1 (variants,).
    """

    union: UnionWeights
    drawn: Tensor
    ridge: float
    loss: Loss
    errors: Tensor


class Interleaved:
    """Rows of several parts in turns: row i of each part, one after the other.

    Args:
        parts: chunks of tensors with equal shapes, labels and chunk boundaries: one per variant.
    """

    def __init__(self, parts: Sequence[Chunks]) -> None:
        shapes = sorted({part.shape for part in parts})
        if len(shapes) != 1:
            raise ValueError(f"parts must share one shape (n, p), got {shapes}.")
        self.parts = tuple(parts)

    @property
    def shape(self) -> tuple[int, int]:
        """(n · parts, p)."""
        n, p = self.parts[0].shape
        return n * len(self.parts), p

    def __iter__(self) -> Iterator[Chunk]:
        size = len(self.parts)
        for together in zip(*self.parts, strict=True):
            first = together[0]
            for other in together[1:]:
                if other.rows != first.rows or not torch.equal(other.labels, first.labels):
                    raise ValueError(f"parts must agree in chunks and labels, got rows {first.rows} and {other.rows}.")
            features = torch.stack([chunk.features for chunk in together], 1).flatten(0, 1)
            rows = slice(first.rows.start * size, first.rows.stop * size)
            yield Chunk(features, first.labels.repeat_interleave(size), rows)


@dataclass(frozen=True)
class ImageVariants:
    """Images and their variants; all rows of an image are left out together.

    Attributes:
        chunks: rows image by image, each image's variants together, the untransformed one first
            (`Interleaved` makes them of one part per variant).
        classes: k.
        variants: K + 1.

    Raises:
        ValueError: if ``variants`` does not divide the rows.
    """

    chunks: Chunks
    classes: int
    variants: int

    def __post_init__(self) -> None:
        if self.variants < 1 or self.chunks.shape[0] % self.variants:
            raise ValueError(f"variants must divide the rows ({self.chunks.shape[0]}), got {self.variants}.")

    @property
    def images(self) -> int:
        """How many."""
        return self.chunks.shape[0] // self.variants

    def fit(self, ridge: float, weights: Tensor | None = None, sums: Moments | None = None) -> RidgeFit:
        """The ridge model of all rows, which leaves an image out as a whole."""
        groups = torch.arange(self.chunks.shape[0]) // self.variants
        return fit_ridge(self.chunks, self.classes, ridge, weights, sums, groups)

    def importance(self, counts: Tensor, validate_on: ValidatingVariants) -> Tensor:
        """How often each row validates (n·variants,) where image i occurs ``counts[i]`` times."""
        if validate_on not in (choices := get_args(ValidatingVariants)):
            raise ValueError(f"validate_on must be one of {', '.join(choices)}, got {validate_on!r}.")
        validating = torch.zeros(self.variants, dtype=torch.float64)
        validating[: 1 if validate_on == "untransformed" else None] = 1
        return torch.outer(counts, validating).flatten()


@dataclass(frozen=True)
class AugmentSettings:
    """How transformations are weighed.

    Attributes:
        loss: its name.
        steps: of Reweight.
        step_size: η, the largest change of a weight in a step.
        temperature: T* of `calibrated`; chosen where None.
        validate_on: `untransformed`, or `all` rows.
        draws: of the bootstrap; 0 for none.
        seed: of the bootstrap.
    """

    loss: LossName = "hard_margin"
    steps: int = 3
    step_size: float = 0.5
    temperature: float | None = None
    validate_on: ValidatingVariants = "untransformed"
    draws: int = 20
    seed: int = 0


def augment(union: ImageVariants, ridge: float, settings: AugmentSettings | None = None) -> Augmentation:
    """p_k of every variant, and its spread; λ stays.

    Raises:
        ValueError: if a setting is out of range.
    """
    settings = settings or AugmentSettings()
    if settings.draws < 0:
        raise ValueError(f"draws must be at least 0, got {settings.draws}.")
    once = torch.ones(union.images, dtype=torch.float64)
    importance, start = union.importance(once, settings.validate_on), union.fit(ridge)
    temperature = settings.temperature
    if settings.loss == "calibrated" and temperature is None:
        temperature = choose_temperature(start, importance)
    loss = Loss(settings.loss) if temperature is None else Loss(settings.loss, temperature=temperature)
    generator = torch.Generator().manual_seed(settings.seed)
    draws = (_drawn(union.images, generator) for _ in range(settings.draws))
    drawn = [reweight_union(union, ridge, counts, loss, settings).probabilities for counts in draws]
    return Augmentation(
        reweight_union(union, ridge, once, loss, settings),
        torch.stack(drawn) if drawn else torch.empty(0, union.variants, dtype=torch.float64),
        ridge,
        loss,
        variant_errors(start, union.variants),
    )


def reweight_union(
    union: ImageVariants, ridge: float, counts: Tensor, loss: Loss, settings: AugmentSettings
) -> UnionWeights:
    """Reweight from α = 1 where image i occurs ``counts[i]`` times; stops early where nothing validates."""
    importance = union.importance(counts, settings.validate_on)
    copies = counts[:, None].expand(-1, union.variants).flatten()
    alpha = torch.ones_like(copies)
    history: list[Step] = []
    for _ in range(settings.steps):
        derivative = dataset_derivative(union.fit(ridge, copies * alpha), loss, validating=importance)
        if derivative.validating == 0:
            break
        # what was not drawn has a derivative, too, and must not set the scale
        present = derivative.values * (copies > 0)
        history.append(Step(derivative.loss, derivative.validating, float(present.abs().max())))
        alpha = step(alpha, present, settings.step_size)
    mass = (copies * alpha).view(-1, union.variants).sum(0)
    return UnionWeights(alpha.view(-1, union.variants), mass / mass.sum(), tuple(history))


def choose_union_ridge(
    union: ImageVariants, grid: Sequence[float], validate_on: ValidatingVariants = "untransformed"
) -> float:
    """λ by classification error without the image, over the rows that validate; of several, the largest."""
    if not grid or min(grid) <= 0:
        raise ValueError(f"grid must hold positive ridges, got {list(grid)}.")
    validating = slice(0, 1 if validate_on == "untransformed" else None)
    sums = moments(union.chunks, union.classes)
    fits = (union.fit(ridge, sums=sums) for ridge in grid)
    errors = {fitted.ridge: float(variant_errors(fitted, union.variants)[validating].mean()) for fitted in fits}
    return max(ridge for ridge in grid if errors[ridge] == min(errors.values()))


def variant_errors(fitted: RidgeFit, variants: int) -> Tensor:
    """Classification error of each variant's rows, predicted without their image (variants,)."""
    wrong = fitted.model.head.new_zeros(fitted.chunks.shape[0])
    for chunk, _, loo in all_rows(fitted):
        wrong[chunk.rows] = (loo.predictions.argmax(1) != chunk.labels).double()
    return wrong.cpu().view(-1, variants).mean(0)


def common_images(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """The indexes of the variants, without images that one of them lacks; how many is logged."""
    everywhere = set.intersection(*(set(frame["sample_id"]) for frame in frames))
    most = max(len(frame) for frame in frames)
    if len(everywhere) < most:
        logger.warning("%d of %d images left out: a variant of them could not be made", most - len(everywhere), most)
    return [frame.filter(pl.col("sample_id").is_in(list(everywhere))) for frame in frames]


def shares(names: Sequence[str], result: Augmentation) -> pl.DataFrame:
    """One row per transform: its p, the interval of 95 % of the draws, its error, how often it is below identity."""
    drawn = result.drawn.numpy() if len(result.drawn) else result.union.probabilities.numpy()[None]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return pl.DataFrame(
        {
            "transform": names,
            "probability": result.union.probabilities.numpy(),
            "low": low,
            "high": high,
            "loo_error": result.errors.numpy(),
            "below_identity": (drawn < drawn[:, :1]).mean(0),  # share of the draws
        }
    )


def summary(table: pl.DataFrame, result: Augmentation) -> dict[str, Any]:
    """λ, steps, draws, and the rows of `shares` by transform."""
    counts = {"ridge": result.ridge, "steps": len(result.union.history), "draws": len(result.drawn)}
    return {**counts, "transforms": {row.pop("transform"): row for row in table.to_dicts()}}


def _drawn(n: int, generator: torch.Generator) -> Tensor:
    """How often each of n images occurs among n draws with replacement."""
    return torch.bincount(torch.randint(n, (n,), generator=generator), minlength=n).double()
