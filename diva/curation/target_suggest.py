"""What a model says of rows without labels where these may be several, or a number.

    several   u = mean over labels of 1 − |2p − 1|, p = σ(T*(f − ½)); the probability of the suggestion [f > ½] is the
              product of max(p, 1 − p)
    number    u = 1: a label lessens the variance of all predictions alike

Which rows are chosen then is up to `diva.curation.suggest`.
"""

import torch
from torch import Tensor

from diva.numerics import products
from diva.numerics.chunks import Chunks
from diva.numerics.device import onto
from diva.numerics.expected_variance import Outlook
from diva.numerics.precision import RidgeFit
from diva.numerics.products import Workspace
from diva.numerics.ridge import Moments
from diva.numerics.targets import TargetFit, target_moments

OF_NUMBERS = ("expected_variance", "k_center", "typiclust", "uniform")
RULES = {"multilabel": (*OF_NUMBERS, "margin"), "regression": OF_NUMBERS}


def target_outlook(
    trained: TargetFit, chunks: Chunks, outputs: Tensor, codes: Tensor, temperature: float | None
) -> tuple[RidgeFit, tuple[Moments, Outlook]]:
    """A model as `diva.curation.suggest` takes it, and what it says of a pool.

    Args:
        trained: what is labelled, with its model.
        chunks: n rows of the pool.
        outputs: f (n, q).
        codes: (n,), equal where suggestions are.
        temperature: T* of several labels; None of numbers.
    """
    n, p = chunks.shape
    u, probability = torch.ones(n).double(), torch.full((n,), torch.nan).double()
    if temperature is not None:
        likelier = torch.sigmoid(temperature * (outputs - 0.5).abs())
        u, probability = 2 * (1 - likelier).mean(1), likelier.prod(1)
    gram, weights, work = torch.zeros(p, p).double(), u, Workspace()
    for z, _, part in chunks:
        gram, weights = gram.to(z.device), onto(weights, z.device)
        products.add_gram(gram, z, weights[part].to(z), work)
    said = Outlook(codes, probability, u, torch.full((n,), torch.nan).double())
    members = RidgeFit(trained.chunks, target_moments(trained.chunks, trained.targets), trained.model)
    return members, (Moments(products.mirror(gram), gram.new_zeros(p, 0), n), said)
