"""What the names of the classes add to few images: Extend over a pool of text embeddings, in increasing number.

A two-tower network puts an image and its caption near each other, so the embedding of "a photo of a cat." can train as
if it were an image of a cat. The pool holds such embeddings, one or more a class; Extend (extend) says in which
order to add them, and the test error is followed while it does, beside that of uniform orders.

Reference: Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022, Sec. 5.5 and Fig. 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from diva.curation import rows
from diva.curation.additions import RoundChoice, RoundSettings
from diva.curation.evaluation import Head
from diva.curation.extend import extend
from diva.numerics.chunks import Chunks, InMemory, Subset
from diva.numerics.normalize import Prepared
from diva.numerics.precision import RidgeFit
from diva.numerics.ridge import moments, solve
from diva.store import moments as stored_moments
from diva.text.choices import LossName


@dataclass(frozen=True)
class Curve:
    """Test errors while the pool is added.

    Attributes:
        index: pool positions in the order chosen (n_pool,).
        sizes: how many were added at each point, from 0 on.
        errors: test error at each point.
        uniform: the same in uniform orders (draws, points).
        willing: how many Extend adds by its own rule, before no candidate is left.
    """

    index: Tensor
    sizes: tuple[int, ...]
    errors: Tensor
    uniform: Tensor
    willing: int


def curve(
    images: RidgeFit,
    names: Chunks,
    test: Chunks,
    settings: RoundSettings | None = None,
    *,
    loss: LossName = "calibrated",
    draws: int = 5,
    seed: int = 0,
) -> Curve:
    """Test error against the number of embeddings added.

    Args:
        images: few, with their model; λ stays.
        names: embeddings, as tensors of the same width.
        test: images.
        settings: embeddings added between two points, one where None; only the images validate.
        loss: that steers Extend.
        draws: of uniform orders.
        seed: of these.

    Raises:
        ValueError: if ``names`` are none or of another width, or ``settings`` add none.
    """
    n, width, settings = names.shape[0], images.chunks.shape[1], settings or RoundSettings(1)
    if not n or names.shape[1] != width:
        raise ValueError(f"names must be rows of the images' width {width}, got shape {names.shape}.")
    each, rule = settings.size(n), replace(settings, validate_on="members", stop=False)
    additions = extend(images, names, loss=loss, settings=rule)
    willing = _willing(additions.history, each)
    rest = torch.ones(n, dtype=torch.bool)
    rest[additions.index] = False  # where nothing validates any more, Extend chooses none; they come last
    order = torch.cat([additions.index, rest.nonzero()[:, 0]])
    sizes, generator = (*range(0, n, each), n), torch.Generator().manual_seed(seed)
    orders = [order, *(torch.randperm(n, generator=generator) for _ in range(draws))]
    follow = [errors(names_in_order, sizes, images, names, test) for names_in_order in orders]
    return Curve(order, sizes, follow[0], torch.stack(follow)[1:], willing)


def _willing(history: Sequence[RoundChoice], each: int) -> int:
    """How many are added up to the first round that lacks candidates; later ones were forced in, or follow such."""
    added = 0
    for choice in history:
        added += min(choice.candidates, len(choice.index))
        if choice.candidates < each:
            break
    return added


def errors(order: Tensor, sizes: tuple[int, ...], images: RidgeFit, names: Chunks, test: Chunks) -> Tensor:
    """Test error with the first ``sizes`` of ``order`` added to the images (points,)."""
    curve_errors, before, sums = [], 0, images.moments
    for size in sizes:
        new = torch.zeros(len(order), dtype=torch.bool)
        new[order[before:size]] = True
        sums, before = sums + moments(Subset(names, new), images.classes), size
        correct = Head(solve(sums, images.ridge), float("nan")).correct(test)
        curve_errors.append(float((~correct).double().mean()))
    return torch.tensor(curve_errors, dtype=torch.float64)


def draw_shots(core: pl.DataFrame, shots: int, seed: int) -> pl.DataFrame:
    """``shots`` images of each class, in the order of the core."""
    order = pl.Series("order", np.random.default_rng(seed).permutation(len(core)))
    rank = pl.col("order").rank("ordinal").over("label")
    return core.with_columns(order).filter(rank <= shots).drop("order")


def prepared_names(features: Any, labels: list[str], problem: rows.Problem) -> Prepared:
    """Embeddings as the closed forms want them, in the core's space."""
    width = stored_moments.width()
    if features.shape[1] != width:
        raise ValueError(
            f"embeddings must have {width} columns, as the images' features, got {features.shape[1]}; images "
            "and names need the two towers of one network."
        )
    codes = rows.codes(pl.Series(labels, dtype=pl.String), problem.classes)
    return rows.preparation(problem)(InMemory(features, codes, problem.chunk_size))


def order_table(curve: Curve, labels: Sequence[str]) -> pl.DataFrame:
    """The names in the order in which Extend adds them: label, place from 1 on, whether by its own rule."""
    order = pl.DataFrame({"label": [labels[row] for row in curve.index.tolist()]}).with_row_index("place", offset=1)
    return order.with_columns(willing=pl.col("place") <= curve.willing)


def error_summary(curve: Curve) -> dict[str, float]:
    """Test errors of the images alone, with all names, and with the best number of names."""
    best = int(curve.errors.argmin())
    return {
        "images_alone": float(curve.errors[0]),
        "all_names": float(curve.errors[-1]),
        "best": float(curve.errors[best]),
        "best_names": curve.sizes[best],
    }


def points(curve: Curve) -> pl.DataFrame:
    """The table behind the plot: names added, test error, and its mean over uniform orders where there are any."""
    columns = {"added": curve.sizes, "error": curve.errors.numpy()}
    return pl.DataFrame(columns | ({"uniform": curve.uniform.mean(0).numpy()} if len(curve.uniform) else {}))
