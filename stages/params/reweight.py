"""Section ``reweight`` of params.yaml."""

from typing import Annotated, Any, Literal

from pydantic import Field

from diva.text.choices import LossName
from stages.params.section import Section


class Reweight(Section):
    """How the newest set is weighed, once and last."""

    over: Literal["members", "everything"]  # everything: the members and the rest of the pool
    loss: LossName
    steps: Annotated[int, Field(ge=0)] | Literal["auto"]
    step_size: float = Field(gt=0)  # the largest change of a weight in a step
    folds: int = Field(ge=2)  # held out, to judge whether weights help; of a large core as many as hold 20,000
    seed: int = Field(ge=0)  # of the folds

    @property
    def weighing(self) -> dict[str, Any]:
        """What Reweight itself takes of it, by its arguments."""
        return self.model_dump(include={"loss", "steps", "step_size", "seed"})
