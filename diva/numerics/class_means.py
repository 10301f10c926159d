"""The nearest class mean, leaving one out: a second opinion where a linear head cannot tell the classes apart.

    μ_c = mean of the rows of class c,   s_c(z) = 2 zᵀμ_c − ‖μ_c‖²,   the nearest mean is argmax_c s_c(z)

A row's own class counts without the row (n of the class, μ with it):

    zᵀμ' = (n zᵀμ − zᵀz) / (n − 1),   ‖μ'‖² = (n²‖μ‖² − 2n zᵀμ + zᵀz) / (n − 1)²

Of a class of one sample nothing is left: s = −∞. With two or three samples a class, or more classes than features,
least squares puts a class between others, where no output is ever the largest; distances do not.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diva.numerics import products


@dataclass(frozen=True)
class ClassMeans:
    """Means of k classes.

    Attributes:
        means: μ (k, p) float64; 0 of a class without rows.
        counts: n (k,) float64.
    """

    means: Tensor
    counts: Tensor


def class_means(cross: Tensor, given: Tensor) -> ClassMeans:
    """Means of the rows of each class, from the cross moment ZᵀY (p, k) at weight 1 and the labels (n,) of all rows."""
    counts = torch.bincount(given, minlength=cross.shape[1]).to(cross)
    return ClassMeans(cross.T / counts.clamp_min(1)[:, None], counts)


def similarities(features: Tensor, labels: Tensor, model: ClassMeans) -> Tensor:
    """s (m, k) float64 of m rows of the set, each without itself in its own class."""
    z = features.double()
    squares = model.means.square().sum(1)
    inner = products.times(features, model.means.T.to(features)).double()
    s = (2 * inner - squares).masked_fill_(model.counts == 0, -torch.inf)
    n, own = model.counts[labels], inner.gather(1, labels[:, None])[:, 0]
    norm, rest = z.square().sum(1), (n - 1).clamp_min(1)
    without = 2 * (n * own - norm) / rest - (n.square() * squares[labels] - 2 * n * own + norm) / rest.square()
    return s.scatter_(1, labels[:, None], torch.where(n > 1, without, -torch.inf)[:, None])
