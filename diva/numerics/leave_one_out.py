"""Leave-one-out predictions in closed form, and the temperature that is chosen by them (the ridge: `numerics.grid`).

    g_i = z_iᵀ C z_i,   h_i = α_i g_i,   r_i = y_i − Wᵀz_i,   e_i = r_i / (1 − h_i),   f_i = y_i − e_i

f_i is the prediction of i by the model trained without i, on all n rows for the price of one fit. Residuals here are
never weighted: α enters only through the leverage h. Rows of weight 0 have h = 0 and f their plain prediction. Rows
that share a group are predicted without all of it (`numerics.groups`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor

from diva.numerics import products
from diva.numerics.chunks import Chunk, Chunks
from diva.numerics.conditions import Conditions, deferred
from diva.numerics.device import onto
from diva.numerics.groups import gathered_groups, shared_groups
from diva.numerics.parallel import over_parts
from diva.numerics.precision import RidgeFit
from diva.numerics.products import Workspace
from diva.numerics.ridge import LocalModel, RidgeModel, beside, one_hot, weighted
from diva.numerics.threads import in_order


@dataclass(frozen=True)
class LeaveOneOut:
    """Of m rows.

    Attributes:
        leverage: h (m,), in [0, 1).
        leverage_factor: g (m,), the leverage per unit of weight.
        residuals: r (m, k), target minus prediction.
        loo_residuals: e (m, k).
        predictions: f (m, k).
    """

    leverage: Tensor
    leverage_factor: Tensor
    residuals: Tensor
    loo_residuals: Tensor
    predictions: Tensor


def leave_one_out(
    features: Tensor,
    labels: Tensor,
    weights: Tensor,
    model: RidgeModel,
    leverage_factor: Tensor | None = None,
    work: Workspace | None = None,
) -> LeaveOneOut:
    """Leave-one-out quantities of m rows of a model trained on all n with their weights.

    Args:
        features: z (m, p).
        labels: (m,).
        weights: α (m,), those the model was trained with.
        model: in the dtype of ``features``.
        leverage_factor: g (m,); None computes it.
        work: buffers to reuse from chunk to chunk, and what their pass requires.

    Raises:
        ValueError: where 1 − h is not positive: this precision does not resolve the leverage.
    """
    if leverage_factor is None:
        leverage_factor = products.squares(features, model.root, work or Workspace())
    outputs = products.times(features, model.head)
    conditions = Conditions() if work is None else work.conditions
    loo = from_outputs(outputs, labels, weights, leverage_factor, model.ridge, conditions)
    if work is None:
        conditions.settle()
    return loo


def from_outputs(
    outputs: Tensor, labels: Tensor, weights: Tensor, leverage_factor: Tensor, ridge: float, conditions: Conditions
) -> LeaveOneOut:
    """The same from plain predictions ``outputs`` (m, k) and g (m,) at hand."""
    leverage, kind = weights * leverage_factor, outputs.dtype  # of which all that waits holds the first alone

    def error() -> ValueError:
        return ValueError(
            f"leverage must be below 1, got {float(leverage.max())} at ridge {ridge} in {kind}; "
            "use float64 or a larger ridge."
        )

    conditions.require(leverage < 1, error)
    targets = one_hot(labels, outputs)
    residuals = targets - outputs
    loo_residuals = residuals / (1 - leverage)[:, None]
    return LeaveOneOut(leverage, leverage_factor, residuals, loo_residuals, targets - loo_residuals)


R = TypeVar("R")
Passed = tuple[Chunk, Tensor, LeaveOneOut]  # m rows, their weights α (m,), and what leaves them out


def chunkwise(
    chunks: Chunks,
    model: RidgeModel,
    weights: Tensor | None = None,
    leverage_factor: Tensor | None = None,
    shared: Tensor | None = None,
) -> Iterator[Passed]:
    """Each chunk with its leave-one-out quantities; g (n,) float64 is computed where None.

    Rows of ``shared`` groups (`diva.numerics.groups.shared_groups`) are left to `groupwise`; where a chunk has some,
    its rows are positions, not a slice.
    """
    return of_chunks(lambda passed, _: passed, chunks, model, weights, leverage_factor, shared)


def of_chunks(
    function: Callable[[Passed, Workspace], R],
    chunks: Chunks,
    model: RidgeModel,
    weights: Tensor | None,
    leverage_factor: Tensor | None,
    shared: Tensor | None = None,
) -> Iterator[R]:
    """``function(what chunkwise gives, buffers)`` of each chunk, by `diva.numerics.threads.in_order`."""
    local, (leverage_factor,) = LocalModel(model), beside(model, leverage_factor)

    def compute(chunk: Chunk, alpha: Tensor, work: Workspace) -> list[R]:
        if shared is not None and (shared[chunk.rows] >= 0).any():
            chosen = (shared[chunk.rows] < 0).nonzero()[:, 0]
            if not len(chosen):
                return []
            positions: Any = chosen + chunk.rows.start
            chosen = onto(chosen, alpha.device)
            chunk, alpha = Chunk(chunk.features[chosen], chunk.labels[chosen], positions), alpha[chosen]
        z = chunk.features
        factor = None if leverage_factor is None else leverage_factor[chunk.rows].to(z)
        return [function((chunk, alpha, leave_one_out(z, chunk.labels, alpha, local.like(z), factor, work)), work)]

    return chain.from_iterable(in_order(compute, weighted(chunks, weights)))


def groupwise(chunks: Chunks, model: RidgeModel, weights: Tensor | None, shared: Tensor) -> Iterator[Passed]:
    """The rows of ``shared`` groups, each predicted without its group; what stands for rows is positions."""
    for bundle in gathered_groups(chunks, shared, weights):
        for part in bundle.parts(model):
            positions: Any = part.rows
            leverage = part.weights * part.leverage_factor
            loo = LeaveOneOut(leverage, part.leverage_factor, part.residuals, part.loo_residuals, part.predictions)
            yield Chunk(part.features, part.labels, positions), part.weights, loo


def all_rows(fitted: RidgeFit) -> Iterator[Passed]:
    """All rows of a fit, each without its group: those by themselves chunk by chunk, then the others."""
    return of_all_rows(lambda passed: passed, fitted)


def of_all_rows(function: Callable[[Passed], R], fitted: RidgeFit) -> Iterator[R]:
    """``function`` of what `all_rows` gives, computed where the chunk is (`diva.numerics.threads.in_order`)."""
    shared = shared_groups(fitted.groups)
    model, weights = fitted.model, fitted.weights
    yield from of_chunks(
        lambda passed, _: function(passed), fitted.chunks, model, weights, fitted.leverage_factor, shared
    )
    if shared is not None:
        yield from map(function, groupwise(fitted.chunks, model, weights, shared))


def predictions_and_leverage(fitted: RidgeFit) -> tuple[Tensor, Tensor]:
    """f (n, k) and h (n,) of all rows, in their dtype, on the CPU."""
    n, dtype = fitted.chunks.shape[0], next(iter(fitted.chunks)).features.dtype
    predictions, leverage = torch.empty(n, fitted.classes, dtype=dtype), torch.empty(n, dtype=dtype)
    for chunk, _, loo in all_rows(fitted):
        predictions[chunk.rows], leverage[chunk.rows] = loo.predictions.cpu().to(dtype), loo.leverage.cpu().to(dtype)
    return predictions, leverage


def temperatures() -> Tensor:
    """The grid that T* is chosen from: geomspace(1, 200, 60)."""
    return torch.logspace(0, torch.log10(torch.tensor(200.0, dtype=torch.float64)).item(), 60, dtype=torch.float64)


@over_parts()
def leverage_factors(chunks: Chunks, model: RidgeModel) -> Tensor:
    """g (n,) float64 of all rows, in one pass, for the passes that follow with the same model."""
    local = LocalModel(model)
    g = torch.zeros(chunks.shape[0], dtype=torch.float64, device=model.head.device)

    def compute(chunk: Chunk, _: Tensor, work: Workspace) -> tuple[slice, Tensor]:
        return chunk.rows, products.squares(chunk.features, local.like(chunk.features).root, work).double()

    for rows, part in in_order(compute, weighted(chunks, None)):
        g[rows] = part
    return g


def with_leverage_factors(fitted: RidgeFit) -> RidgeFit:
    """The same with g at hand: worth a pass where two or more follow."""
    return replace(fitted, leverage_factor=leverage_factors(fitted.chunks, fitted.model))


def choose_temperature(fitted: RidgeFit, validating: Tensor | None = None) -> float:
    """T*: minimises the mean cross-entropy of softmax(T·f) over the leave-one-out predictions f, in one pass.

    Rows of weight 0, or of 0 in ``validating`` (n,), do not count; least-squares outputs need T of 6 to 36, never 1.
    """
    return temperature_and_leverage(fitted, validating)[0]


def temperature_and_leverage(fitted: RidgeFit, validating: Tensor | None = None) -> tuple[float, RidgeFit]:
    """T*, and the same fit with g (n,), which the pass computes along."""
    totals, g = torch.zeros(len(temperatures())).to(fitted.model.head), fitted.leverage_factor
    (validating,) = beside(fitted.model, validating)

    def part(passed: Passed) -> tuple[Any, Tensor, Tensor]:
        chunk, alpha, loo = passed
        chosen = torch.ones_like(alpha) if fitted.weights is None else alpha
        if validating is not None:
            chosen = chosen * validating[chunk.rows].to(alpha)
        return chunk.rows, loo.leverage_factor, entropies(loo.predictions, chunk.labels, chosen > 0)

    for rows, factor, entropy in of_all_rows(part, fitted):
        totals += entropy
        if fitted.leverage_factor is None:
            g = factor.new_zeros(fitted.chunks.shape[0], dtype=torch.float64) if g is None else g
            g[rows] = factor.double()
    return float(temperatures()[int(totals.argmin())]), replace(fitted, leverage_factor=g)


def entropies(predictions: Tensor, labels: Tensor, counted: Tensor | None = None) -> Tensor:
    """Σ_i −log softmax(T·f_i)_{y_i} for each of `temperatures` (60,) float64, of predictions f (m, k).

    Of the rows that are ``counted`` (m,) alone where that is given.
    """
    if counted is not None and not deferred(counted):  # else choosing them would ask how many there are
        predictions, labels, counted = predictions[counted], labels[counted], None
    own = predictions.gather(1, labels[:, None])
    # Less the given label's output, so that nothing large cancels: log Σ_c exp T(f_c − f_y).
    above = predictions - own
    lead = above.amax(1) if len(above) else own[:, 0]
    below, out = above.sub_(lead[:, None]), torch.empty_like(predictions)

    def total(temperature: float) -> Tensor:
        losses = torch.mul(below, temperature, out=out).exp_().sum(1).log_().add_(lead, alpha=temperature)
        return (losses if counted is None else losses.where(counted, 0)).sum()

    return torch.stack([total(temperature) for temperature in temperatures().tolist()]).double()
