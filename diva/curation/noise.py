"""Whether labels of a core or a pool are noisy: the share of hopeless rows (m ≤ −τ), under the core's own model.

Noisy: more than 5 % of the core, or a share of the pool that is above the core's by more than two standard errors.
Each row of the core is judged by the model without it, or without its group, and so is a pool row that shares a group.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diva.numerics import products
from diva.numerics.chunks import Chained, Chunks
from diva.numerics.groups import shared_groups
from diva.numerics.leave_one_out import all_rows, chunkwise
from diva.numerics.losses import NOISY, THRESHOLD, Loss, margins
from diva.numerics.parallel import Parts, over_parts
from diva.numerics.precision import RidgeFit
from diva.numerics.ridge import LocalModel, RidgeModel
from diva.text.choices import LossName


@dataclass(frozen=True)
class Noise:
    """Shares of hopeless rows under the core's own model, and whether that counts as noisy."""

    core: float
    pool: float
    noisy: bool

    def warning(self, loss: LossName) -> str:
        """What to say of this loss under this noise; may be empty."""
        return Loss(loss).warning(max(self.core, self.pool), self.noisy)


def with_pool(members: RidgeFit, pool: Chunks, groups: Tensor | None) -> RidgeFit | None:
    """Members and pool as rows of one model, the pool at weight 0; None where no pool row shares a group with any row.

    A pool row is then predicted without its group, too: a member of its group must not vouch for it.

    Args:
        members: with their groups, or none.
        pool: n_pool rows.
        groups: (n_pool,) of the pool, numbered as those of the members; None for none.
    """
    n, n_pool = members.chunks.shape[0], pool.shape[0]
    if groups is not None and tuple(groups.shape) != (n_pool,):
        raise ValueError(f"groups must have one entry per row of the pool ({n_pool}), got {tuple(groups.shape)}.")
    both = join_groups(members.groups, n, groups, n_pool)
    if shared_groups(both) is None:
        return None
    weights = torch.cat([torch.ones(n, dtype=torch.float64), torch.zeros(n_pool, dtype=torch.float64)])
    return RidgeFit(chained(members.chunks, pool), members.moments, members.model, weights, groups=both)


def join_groups(first: Tensor | None, n_first: int, second: Tensor | None, n_second: int) -> Tensor | None:
    """Groups of two sets of rows, one after the other; None where neither has any."""
    if first is None and second is None:
        return None
    given = [torch.full((n,), -1) if part is None else part for part, n in ((first, n_first), (second, n_second))]
    return torch.cat(given)


def chained(first: Chunks, second: Chunks) -> Chunks:
    """Both, one after the other, in parts where they are."""
    if isinstance(first, Parts) and isinstance(second, Parts):
        return Parts([*first.parts, *second.parts], first.mapper)
    return Chained([first, second])


def hopeless_share(chunks: Chunks, model: RidgeModel, *, member: bool) -> float:
    """Share of rows with m ≤ −τ, by leave-one-out prediction (members) or by plain prediction; 0 of no rows."""
    n = chunks.shape[0]
    return hopeless(chunks, model, member=member) / n if n else 0.0


@over_parts()
def hopeless(chunks: Chunks, model: RidgeModel, *, member: bool) -> int:
    """How many rows that share is."""
    outputs = member_outputs(chunks, model) if member else plain_outputs(chunks, model)
    return int(sum((margins(f, labels) <= -THRESHOLD).sum() for f, labels in outputs))


def all_margins(fitted: RidgeFit) -> Tensor:
    """m (n,) of all rows, each without its group."""
    margin = fitted.model.head.new_zeros(fitted.chunks.shape[0])
    for chunk, _, loo in all_rows(fitted):
        margin[chunk.rows] = margins(loo.predictions, chunk.labels).double()
    return margin.cpu()


def member_outputs(chunks: Chunks, model: RidgeModel) -> Iterator[tuple[Tensor, Tensor]]:
    """Leave-one-out predictions (m, k) and labels, chunk by chunk."""
    return ((loo.predictions, chunk.labels) for chunk, _, loo in chunkwise(chunks, model))


def plain_outputs(chunks: Chunks, model: RidgeModel) -> Iterator[tuple[Tensor, Tensor]]:
    """Plain predictions (m, k) and labels, chunk by chunk."""
    local = LocalModel(model)
    return ((products.times(z, local.like(z).head), labels) for z, labels, _ in chunks)


def assess_noise(core: RidgeFit, pool: Chunks, groups: Tensor | None = None) -> Noise:
    """Whether core or pool labels are noisy, under the core's own model; ``groups`` (n_pool,) as in `with_pool`."""
    n_core, n_pool = core.chunks.shape[0], pool.shape[0]
    union = with_pool(core, core.like(pool), groups)
    if union is None:
        in_core = hopeless_share(core.chunks, core.model, member=True)
        in_pool = hopeless_share(core.like(pool), core.model, member=False)
    else:
        bad = all_margins(union) <= -THRESHOLD
        in_core, in_pool = int(bad[:n_core].sum()) / n_core, int(bad[n_core:].sum()) / max(n_pool, 1)
    error = math.sqrt(in_core * (1 - in_core) * (1 / n_core + 1 / n_pool)) if n_pool else 0.0
    return Noise(in_core, in_pool, in_core > NOISY or in_pool > in_core + 2 * error)
