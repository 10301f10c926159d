"""Expected variance: how much less uncertain all rows of a pool are once one of them is labelled, whatever its label.

    V = Σ_i u_i z_iᵀCz_i,    S = Σ_i u_i z_i z_iᵀ,    u_i = 1 − (p₁ − p₂)    of softmax(T f_i), its two best classes

Labelling row j changes C in rank one and takes q_j / (1 + g_j) from V, with g_j = z_jᵀCz_j and q_j = z_jᵀCSCz_j. All
that follows of it, with v = Cz_j, w = CSCz_j and d = 1 + g_j, are two directions of p numbers:

    v̂ = v / √d,    ŷ = (w − q_j v / 2d) / √d
    C ← C − v̂v̂ᵀ,   CSC ← CSC − v̂ŷᵀ − ŷv̂ᵀ,   g_i ← g_i − (z_iᵀv̂)²,   q_i ← q_i − 2 (z_iᵀv̂)(z_iᵀŷ)

so many labels cost one thin product with the rows. The dataset derivative, averaged over the labels that the model
expects, is about zero: it says nothing here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diva.numerics import products
from diva.numerics.chunks import Chunk, Chunks
from diva.numerics.parallel import over_parts
from diva.numerics.products import Workspace
from diva.numerics.ridge import LocalModel, Moments, RidgeModel, weighted
from diva.numerics.threads import in_order, side_by_side


@dataclass(frozen=True)
class Outlook:
    """What a model says of n rows without labels, each (n,).

    Attributes:
        label: argmax f.
        probability: p₁, softmax(T f) of that label.
        uncertainty: u = 1 − (p₁ − p₂).
        entropy: −Σ_c p_c log p_c.
    """

    label: Tensor
    probability: Tensor
    uncertainty: Tensor
    entropy: Tensor


def probabilities(outputs: Tensor, temperature: float) -> Tensor:
    """softmax(T f) (m, k) float64."""
    return torch.softmax(temperature * outputs.double(), 1)


@over_parts()
def outlook(chunks: Chunks, model: RidgeModel, temperature: float) -> tuple[Moments, Outlook]:
    """S, as the `gram` of moments that have no targets, and what is said of each row: one pass.

    Args:
        chunks: n rows, whose labels play no part.
        model: of k ≥ 2 classes.
        temperature: T.
    """
    n, p = chunks.shape
    local, gram = LocalModel(model), torch.zeros(p, p, dtype=torch.float64)
    columns = [model.head.new_zeros(n, dtype=kind) for kind in (torch.int64, *[torch.float64] * 3)]

    def of_chunk(chunk: Chunk, _: Tensor, work: Workspace) -> tuple[slice, Tensor, tuple[Tensor, ...]]:
        z = chunk.features
        p = probabilities(products.times(z, local.like(z).head, work, "outputs"), temperature)
        best, labels = p.topk(2, dim=1)
        u = 1 - (best[:, 0] - best[:, 1])
        return chunk.rows, products.gram(z, u.to(z), work), (labels[:, 0], best[:, 0], u, torch.special.entr(p).sum(1))

    for rows, part, values in in_order(of_chunk, weighted(chunks, None)):
        gram = gram.to(part.device)
        gram += part
        for column, value in zip(columns, values, strict=True):
            column[rows] = value
    return Moments(products.mirror(gram), gram.new_zeros(p, 0), n), Outlook(*(column.cpu() for column in columns))


@dataclass(frozen=True)
class RowVariances:
    """Of n rows, float64.

    Attributes:
        leverage_factor: g (n,).
        pull: q (n,).
    """

    leverage_factor: Tensor
    pull: Tensor

    @property
    def gain(self) -> Tensor:
        """What labelling each row takes from V (n,)."""
        return self.pull / (1 + self.leverage_factor)

    def at(self, rows: Tensor) -> "RowVariances":
        """Of the rows at these positions."""
        return RowVariances(self.leverage_factor[rows], self.pull[rows])

    def after(
        self, z: Tensor, directions: Tensor, since: Tensor | None = None, work: Workspace | None = None
    ) -> "RowVariances":
        """The same once rows are labelled.

        Args:
            z: these rows (n, p).
            directions: (2, t, p), of which `LabelledVariance.label` gave one for each label.
            since: (n,), how many of them each row's values hold already; None for none.
            work: buffers.
        """
        both = products.times(z, directions.flatten(0, 1).T.to(z), work, "outputs").double()
        along, across = both.chunk(2, dim=1)
        if since is not None:
            along = along * (torch.arange(along.shape[1], device=along.device) >= since.to(along.device)[:, None])
        g = self.leverage_factor - along.square().sum(1)
        return RowVariances(g.clamp_min_(0), (self.pull - 2 * (along * across).sum(1)).clamp_min_(0))

    def put(self, rows: Tensor, part: "RowVariances") -> None:
        """Fill in the rows at these positions."""
        self.leverage_factor[rows], self.pull[rows] = part.leverage_factor, part.pull


@over_parts()
def row_variances(chunks: Chunks, inverse: Tensor, pulled: Tensor) -> RowVariances:
    """g and q of every row in one pass, from C and CSC (p, p); two products, each of half a symmetric matrix."""
    n, halves = chunks.shape[0], torch.stack([products.half(inverse), products.half(pulled)])
    columns = torch.zeros(2, n, dtype=torch.float64, device=inverse.device)
    local: list[Tensor] = []

    def of_chunk(chunk: Chunk, _: Tensor, work: Workspace) -> tuple[slice, Tensor]:
        z = chunk.features
        if not local:
            local.append(halves.to(z))
        return chunk.rows, torch.stack([products.quadratics(z, half, work) for half in local[0]])

    for rows, values in in_order(of_chunk, weighted(chunks, None)):
        columns[:, rows] = values.to(columns)
    return RowVariances(*columns)


@over_parts("variances", "since")
def variances_after(chunks: Chunks, variances: RowVariances, directions: Tensor, since: Tensor) -> RowVariances:
    """`RowVariances.after` of every row, in one pass."""
    columns = torch.stack([variances.leverage_factor, variances.pull])

    def of_chunk(chunk: Chunk, _: Tensor, work: Workspace) -> tuple[slice, RowVariances]:
        return chunk.rows, RowVariances(*columns[:, chunk.rows]).after(
            chunk.features, directions, since[chunk.rows], work
        )

    for rows, part in in_order(of_chunk, weighted(chunks, None)):
        columns[0, rows], columns[1, rows] = part.leverage_factor, part.pull
    return RowVariances(*columns)


class LabelledVariance:
    """V as rows are labelled one after the other, with what that does to C and CSC.

    Args:
        inverse: C (p, p) of what is labelled before.
        gram: S (p, p).
        most: how many rows will be labelled.
    """

    def __init__(self, inverse: Tensor, gram: Tensor, most: int) -> None:
        self.inverse = inverse
        self.pulled = products.mirror(products.sandwich(inverse, gram, side_by_side))
        self.value, self.count = float((inverse * gram).sum()), 0
        self.directions = inverse.new_zeros(2, most, len(inverse))

    def label(self, z: Tensor) -> Tensor:
        """The directions v̂ and ŷ (2, 1, p) of labelling the row z (p,)."""
        z = z.to(self.inverse)
        along, across = self.directions[:, : self.count]
        v = self.inverse @ z - along.T @ (along @ z)
        w = self.pulled @ z - along.T @ (across @ z) - across.T @ (along @ z)
        q, d = z @ w, 1 + z @ v
        self.directions[:, self.count] = torch.stack([v, w - q / (2 * d) * v]) / d.sqrt()
        self.value, self.count = self.value - float(q / d), self.count + 1
        return self.directions[:, self.count - 1 : self.count]
