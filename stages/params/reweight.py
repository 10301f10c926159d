"""Section ``reweight`` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from stages.params.section import Section


class Reweight(Section):
    """How the newest set is weighed, once and last."""

    over: Literal["members", "everything"]  # everything: the members and the rest of the pool
    loss: Literal["all", "hard_margin", "trimmed", "calibrated"]
    steps: Annotated[int, Field(ge=0)] | Literal["auto"]
    step_size: float = Field(gt=0)  # the largest change of a weight in a step
    folds: int = Field(ge=2)  # to judge on held-out folds whether weights help
    seed: int = Field(ge=0)  # of the folds
