"""What the model of a set says of a pool whose labels may be several, or a number, as the stage `suggest` takes it."""

import numpy as np
import polars as pl
import torch

from diva.curation import target_extend, target_rows
from diva.curation.rows import Problem
from diva.curation.target_suggest import RULES, target_outlook
from diva.numerics.chunks import Chunks
from diva.numerics.expected_variance import Outlook
from diva.numerics.precision import RidgeFit
from diva.numerics.ridge import Moments


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
    outputs = target_extend.outputs_of(chunks, trained.model)
    names, codes = np.unique(target_rows.texts_of(outputs, problem), return_inverse=True)
    temperature = problem.temperature if problem.task == "multilabel" else None
    members, judged = target_outlook(trained, chunks, outputs, torch.from_numpy(codes.astype(np.int64)), temperature)
    return members, judged, names.tolist()
