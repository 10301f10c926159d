"""Why a sample is thought helpful or harmful: whose predictions it moves, its own, and what lies beside it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from diva.numerics.influence import influences
from diva.numerics.losses import Loss
from diva.numerics.precision import RidgeFit
from diva.numerics.ridge import Moments, RidgeModel, solve
from diva.text.choices import is_whole


@dataclass(frozen=True)
class Query:
    """What is asked about.

    Attributes:
        features: z (p,), prepared as the rows of the model are.
        label: its class code.
        together: (n,) booleans, the rows of the model that are predicted without it: itself, where it is one, and
            its group.
    """

    features: Tensor
    label: int
    together: Tensor


@dataclass(frozen=True)
class Ranked:
    """Rows of the model, the foremost first, with a value each."""

    rows: Tensor
    values: Tensor


@dataclass(frozen=True)
class Reasons:
    """What a model says of a sample.

    Attributes:
        derivative: ∂L/∂α of it, the mean of all rows' shares: positive where it harms.
        helped: the rows whose loss falls most with its weight, with v_i ∂ℓ_i/∂α < 0.
        harmed: those whose loss rises most.
        probabilities: softmax(T·f) (k,) of the model with it (and its group) as it is.
        without: the same of the model without them.
        suggested: the class code of the largest of ``without``.
        same: the nearest rows of its label, by cosine, but for itself and its group.
        other: the nearest of ``contrast``.
        contrast: the class code of the suggested label; of the runner-up where that is its own.
    """

    derivative: float
    helped: Ranked
    harmed: Ranked
    probabilities: Tensor
    without: Tensor
    suggested: int
    same: Ranked
    other: Ranked
    contrast: int


def explain(
    fitted: RidgeFit,
    query: Query,
    loss: Loss,
    temperature: float,
    *,
    top: int = 10,
    validating: Tensor | None = None,
) -> Reasons:
    """One pass over the rows, and two more over those of shared groups; nothing is n×n.

    Args:
        fitted: n rows with their weights and groups.
        query: in the model or outside it.
        loss: which rows validate, and how sharply.
        temperature: T of the probabilities.
        top: how many rows are named each time, at least 1.
        validating: (n,), as of `diva.numerics.derivative.dataset_derivative`.
    """
    if not (is_whole(top) and top > 0):
        raise ValueError(f"top must be at least 1, got {top!r}; give a whole number.")
    z = query.features.to(fitted.model.head)
    shares = influences(fitted, loss, z, query.label, query.together, validating)
    without = _probabilities(z, _model_without(fitted, shares.own), temperature)
    ranking = torch.argsort(without, descending=True, stable=True).tolist()
    contrast = next(code for code in ranking if code != query.label)
    cosine = shares.cosines.masked_fill(query.together, -torch.inf)
    same, other = (
        _foremost(cosine.masked_fill(shares.labels != code, -torch.inf), top, -torch.inf)
        for code in (query.label, contrast)
    )
    helped, harmed = (_foremost(sign * shares.values, top, 0) for sign in (-1, 1))
    return Reasons(
        derivative=shares.derivative,
        helped=Ranked(helped.rows, -helped.values),
        harmed=harmed,
        probabilities=_probabilities(z, fitted.model, temperature),
        without=without,
        suggested=ranking[0],
        same=same,
        other=other,
        contrast=contrast,
    )


def _foremost(values: Tensor, top: int, above: float) -> Ranked:
    """The ``top`` rows of the largest values that are ``above`` a bound, the earlier first where equal."""
    least = values.topk(min(top, len(values))).values[-1:]
    rows = ((values >= least) & (values > above)).nonzero()[:, 0]
    rows = rows[torch.argsort(values[rows], descending=True, stable=True)[:top]]
    return Ranked(rows, values[rows])


def _probabilities(z: Tensor, model: RidgeModel, temperature: float) -> Tensor:
    """softmax(T·Wᵀz) (k,), on the CPU."""
    return torch.softmax(temperature * (z @ model.head), 0).cpu()


def _model_without(fitted: RidgeFit, own: Moments | None) -> RidgeModel:
    """The model of all rows but some, by taking their moments away."""
    return fitted.model if own is None else solve(fitted.moments - own, fitted.ridge)
