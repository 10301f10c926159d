"""What a model says of samples without labels where these may be several, or a number: which to label next.

    multilabel   u = mean over labels of 1 − |2p − 1|, p = σ(T*(f − ½)); the suggestion is [f > ½], its probability the
                 product of max(p, 1 − p)
    regression   u = 1: a label lessens the variance of all predictions alike

Which rows are chosen then is up to `diva.curation.suggest`.
"""

import numpy as np
import polars as pl
import torch

from diva.curation import target_round, target_rows
from diva.curation.rows import Problem
from diva.numerics import products
from diva.numerics.chunks import Chunks
from diva.numerics.expected_variance import Outlook
from diva.numerics.precision import RidgeFit
from diva.numerics.products import Workspace
from diva.numerics.ridge import Moments
from diva.numerics.targets import target_moments

OF_NUMBERS = ("expected_variance", "k_center", "typiclust", "uniform")
RULES = {"multilabel": (*OF_NUMBERS, "margin"), "regression": OF_NUMBERS}


def outlook(
    counted: tuple[pl.DataFrame, str, pl.DataFrame, Problem], groups: pl.DataFrame | None, chunks: Chunks, rule: str
) -> tuple[RidgeFit, tuple[Moments, Outlook], list[str]]:
    """The model of a set, what it says of a pool, and the suggestions that its codes stand for.

    Args:
        counted: the members; round, pool and problem, as of `diva.curation.rows.counted`.
        groups: play no part.
        chunks: rows of the pool.
        rule: that chooses; ValueError where it needs classes.
    """
    del groups
    frame, _, _, problem = counted
    if rule not in RULES[problem.task]:
        raise ValueError(
            f"suggest.rule must be one of {', '.join(RULES[problem.task])} for {problem.task}, got {rule}."
        )
    trained = target_rows.fitted(frame, problem)
    outputs = target_round.outputs_of(chunks, trained.model)
    n = len(outputs)
    u, probability = torch.ones(n).double(), torch.full((n,), torch.nan).double()
    if problem.task == "multilabel":
        p = torch.sigmoid(problem.temperature * (outputs - 0.5).abs())
        u, probability = 2 * (1 - p).mean(1), p.prod(1)
    names, codes = np.unique(target_rows.texts_of(outputs, problem), return_inverse=True)
    gram, work = torch.zeros(chunks.shape[1], chunks.shape[1]).double(), Workspace()
    for z, _, part in chunks:
        gram = gram.to(z.device)
        products.add_gram(gram, z, u[part].to(z), work)
    said = Outlook(torch.from_numpy(codes.astype(np.int64)), probability, u, torch.full((n,), torch.nan).double())
    sums = Moments(products.mirror(gram), gram.new_zeros(len(gram), 0), n)
    members = RidgeFit(trained.chunks, target_moments(trained.chunks, trained.targets), trained.model)
    return members, (sums, said), names.tolist()
