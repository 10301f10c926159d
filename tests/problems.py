"""Small random problems with a prescribed spectrum, shared by the tests of the numerics."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diva.numerics.chunks import Chunks, InMemory
from diva.numerics.derivative import DatasetDerivative
from diva.numerics.precision import RidgeFit, fit_ridge
from diva.numerics.ridge import Moments


@dataclass(frozen=True)
class Problem:
    z: Tensor
    labels: Tensor
    classes: int
    ridge: float
    weights: Tensor

    def chunks(self, chunk_size: int = 7) -> InMemory:
        return InMemory(self.z, self.labels, chunk_size)

    def part(self, rows: slice, chunk_size: int = 7) -> InMemory:
        return InMemory(self.z[rows], self.labels[rows], chunk_size)

    def fit(self, chunks: Chunks, weights: Tensor | None = None, sums: Moments | None = None) -> RidgeFit:
        return fit_ridge(chunks, self.classes, self.ridge, weights, sums)


def problem(seed: int = 0, n: int = 30, p: int = 8, classes: int = 4, condition: float = 1e3) -> Problem:
    """n rows whose singular values fall from 1 to 1/condition, labels that follow the rows but for some noise."""
    g = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(n, p, generator=g, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(p, p, generator=g, dtype=torch.float64))
    spectrum = torch.logspace(0, -torch.log10(torch.tensor(condition)).item(), p, dtype=torch.float64)
    z = n**0.5 * left @ torch.diag(spectrum) @ right
    labels = (z @ torch.randn(p, classes, generator=g, dtype=torch.float64)).argmax(1)
    noisy = torch.randperm(n, generator=g)[: n // 5]
    labels[noisy] = torch.randint(classes, (len(noisy),), generator=g)
    labels[:classes] = torch.arange(classes)  # every class is there
    weights = 2 * torch.rand(n, generator=g, dtype=torch.float64)  # some above 1 …
    weights[torch.randperm(n, generator=g)[:3]] = 0  # … and some 0
    return Problem(z, labels, classes, 0.05, weights)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())


def gradcheck(derivative: Callable[[Tensor], DatasetDerivative], weights: Tensor) -> bool:
    """Whether the values of a derivative are those of its loss, by finite differences."""

    class ByHand(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weights):
            result = derivative(weights.detach())
            ctx.save_for_backward(result.values)
            return torch.tensor(result.loss, dtype=torch.float64)

        @staticmethod
        def backward(ctx, upstream):
            return upstream * ctx.saved_tensors[0]

    return torch.autograd.gradcheck(ByHand.apply, weights.requires_grad_(True))
