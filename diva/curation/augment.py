"""Which transformations of the images help: Reweight on the union of the images and their variants.

    D_aug = D ∪ t_1(D) ∪ … ∪ t_K(D),   α = 1;  steps of Reweight (diva.curation.reweight) on D_aug
    p_k = Σ_{i ∈ t_k(D)} α_i / Σ_i α_i            p_0 is that of the images as they are, the identity

A p_k below p_0 says that the loss wants less of the transformation. An image's variants leave the training set with it
(numerics.blocks): a flip of the same image would give the answer away. Only the untransformed images validate: with the
variants validating too, what is learned for them hides what they cost the images.

The spread comes from a bootstrap over images: an image drawn twice has weight 2, validates twice, and both copies are
left out together. λ and T* are chosen once, by leave-one-out without the block, on the images as given.

Reference: Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022, Sec. 5.4 and Fig. 5.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import polars as pl
import torch
from torch import Tensor

from diva.curation.reweight import Step, step
from diva.numerics.blocks import block_derivative, leave_block_out
from diva.numerics.chunks import Chunks
from diva.numerics.leave_one_out import temperatures
from diva.numerics.losses import Loss
from diva.numerics.ridge import LocalModel, Moments, moments, solve, weighted
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
        errors: leave-one-out error, without the block, of each variant's rows at α = 1 (variants,).
    """

    union: UnionWeights
    drawn: Tensor
    ridge: float
    loss: Loss
    errors: Tensor


def augment(
    chunks: Chunks,
    classes: int,
    ridge: float,
    *,
    variants: int,
    loss: LossName = "hard_margin",
    steps: int = 3,
    step_size: float = 0.5,
    temperature: float | None = None,
    validate_on: ValidatingVariants = "untransformed",
    draws: int = 20,
    seed: int = 0,
) -> Augmentation:
    """p_k of every variant, and its spread.

    Args:
        chunks: rows image by image, each image's ``variants`` rows together, the untransformed one first
            (`diva.numerics.blocks.Interleaved` makes them of one part per variant).
        classes: k.
        ridge: λ, kept.
        variants: K + 1.
        loss: its name.
        steps: of Reweight.
        step_size: η, the largest change of a weight in a step.
        temperature: T* of `calibrated`; chosen where None.
        validate_on: `untransformed`, or `all` rows.
        draws: of the bootstrap; 0 for none.
        seed: of the bootstrap.

    Raises:
        ValueError: if a number is out of range, or ``variants`` does not divide the rows.
    """
    if variants < 1 or chunks.shape[0] % variants:
        raise ValueError(f"variants must divide the rows ({chunks.shape[0]}), got {variants}.")
    if draws < 0:
        raise ValueError(f"draws must be at least 0, got {draws}.")
    images = torch.ones(chunks.shape[0] // variants, dtype=torch.float64)
    importance = _importance(images, variants, validate_on)
    if loss == "calibrated" and temperature is None:
        temperature = choose_block_temperature(chunks, classes, ridge, variants, importance)
    chosen = Loss(loss) if temperature is None else Loss(loss, temperature=temperature)
    settings = (ridge, chosen, variants, steps, step_size, validate_on)
    generator = torch.Generator().manual_seed(seed)
    drawn = [reweight_union(chunks, classes, _drawn(len(images), generator), *settings) for _ in range(draws)]
    probabilities = [draw.probabilities for draw in drawn]
    return Augmentation(
        reweight_union(chunks, classes, images, *settings),
        torch.stack(probabilities) if drawn else torch.empty(0, variants, dtype=torch.float64),
        ridge,
        chosen,
        block_errors(chunks, classes, ridge, variants),
    )


def reweight_union(
    chunks: Chunks,
    classes: int,
    counts: Tensor,
    ridge: float,
    loss: Loss,
    variants: int,
    steps: int,
    step_size: float,
    validate_on: ValidatingVariants,
) -> UnionWeights:
    """Reweight from α = 1 where image i occurs ``counts[i]`` times; stops early where nothing validates."""
    importance = _importance(counts, variants, validate_on)
    copies = counts[:, None].expand(-1, variants).flatten()
    alpha = torch.ones_like(copies)
    history: list[Step] = []
    for _ in range(steps):
        derivative = block_derivative(
            chunks, classes, ridge, loss, size=variants, weights=copies * alpha, importance=importance
        )
        if derivative.validating == 0:
            break
        # what was not drawn has a derivative, too, and must not set the scale
        present = derivative.values * (copies > 0)
        history.append(Step(derivative.loss, derivative.validating, float(present.abs().max())))
        alpha = step(alpha, present, step_size)
    mass = (copies * alpha).view(-1, variants).sum(0)
    return UnionWeights(alpha.view(-1, variants), mass / mass.sum(), tuple(history))


def choose_block_ridge(
    chunks: Chunks,
    classes: int,
    grid: Sequence[float],
    variants: int,
    validate_on: ValidatingVariants = "untransformed",
) -> float:
    """λ by classification error without the block, over the rows that validate; of several, the largest."""
    if not grid or min(grid) <= 0:
        raise ValueError(f"grid must hold positive ridges, got {list(grid)}.")
    validating = slice(0, 1 if validate_on == "untransformed" else None)
    sums = moments(chunks, classes)
    errors = {ridge: float(block_errors(chunks, classes, ridge, variants, sums)[validating].mean()) for ridge in grid}
    return max(ridge for ridge in grid if errors[ridge] == min(errors.values()))


def block_errors(chunks: Chunks, classes: int, ridge: float, variants: int, sums: Moments | None = None) -> Tensor:
    """Classification error of each variant's rows, predicted without their block (variants,).

    ``sums`` are the moments of the rows, where they are known.
    """
    n, wrong = chunks.shape[0] // variants, torch.zeros(variants, dtype=torch.float64)
    local = LocalModel(solve(moments(chunks, classes) if sums is None else sums, ridge))
    for (z, labels, _), alpha in weighted(chunks, None):
        predictions = leave_block_out(z, labels, alpha, local.like(z), variants).predictions
        wrong += (predictions.argmax(1) != labels).view(-1, variants).sum(0).cpu()
    return wrong / n


def choose_block_temperature(
    chunks: Chunks, classes: int, ridge: float, variants: int, importance: Tensor | None = None
) -> float:
    """T*: minimises the mean cross-entropy of softmax(T·f) of the rows that validate, f without the block."""
    grid = temperatures()
    totals = torch.zeros(len(grid), dtype=torch.float64)
    local = LocalModel(solve(moments(chunks, classes), ridge))
    for (z, labels, rows), alpha in weighted(chunks, None):
        predictions = leave_block_out(z, labels, alpha, local.like(z), variants).predictions
        own = predictions.gather(1, labels[:, None])[:, 0]
        counts = torch.ones_like(own) if importance is None else importance[rows].to(own)
        for i, temperature in enumerate(grid.tolist()):
            totals[i] += float(counts @ ((predictions * temperature).logsumexp(1) - own * temperature))
    return float(grid[totals.argmin()])


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


def _importance(counts: Tensor, variants: int, validate_on: ValidatingVariants) -> Tensor:
    """How often each row validates (n·variants,)."""
    if validate_on not in get_args(ValidatingVariants):
        raise ValueError(f"validate_on must be one of {', '.join(get_args(ValidatingVariants))}, got {validate_on!r}.")
    validating = torch.zeros(variants, dtype=torch.float64)
    validating[: 1 if validate_on == "untransformed" else None] = 1
    return torch.outer(counts, validating).flatten()


def _drawn(n: int, generator: torch.Generator) -> Tensor:
    """How often each of n images occurs among n draws with replacement."""
    return torch.bincount(torch.randint(n, (n,), generator=generator), minlength=n).double()
