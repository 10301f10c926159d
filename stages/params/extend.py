"""Section ``extend`` of params.yaml: the next rounds' settings; each round keeps its own copy in the ledger."""

from typing import Annotated

from pydantic import Field

from diva.text.choices import LossName, ValidateOn
from stages.params.methods import Name
from stages.params.section import Count, PerRound, Section


class Extend(Section):
    """What a round may add."""

    choose: Name = "derivative"  # or a method that chooses in its place; rounds before there was this key lack it
    loss: LossName
    validate_on: ValidateOn
    per_round: PerRound  # of the pool
    per_class: Count | None = None  # of each class at most; rounds planned before there was this key lack it
    budget: Annotated[int, Field(ge=0)] | None  # samples added in all rounds together; null for no limit
    stop: bool  # false: add per_round whatever the sign of the derivative
