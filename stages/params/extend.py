"""Section ``extend`` of params.yaml: the next rounds' settings; each round keeps its own copy in the ledger."""

from typing import Annotated, Literal

from pydantic import Field

from stages.params.methods import Name
from stages.params.section import Section

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Extend(Section):
    """What a round may add."""

    choose: Name = "derivative"  # or a method that chooses in its place; rounds before there was this key lack it
    loss: Literal["all", "hard_margin", "trimmed", "calibrated"]  # calibrated brings its whole rule
    validate_on: Literal["members", "members_and_pool"]  # whether unused pool samples validate too
    per_round: Count | Share  # samples a round adds at most: a number, or a share of the pool
    per_class: Count | None = None  # of each class at most; rounds planned before there was this key lack it
    budget: Annotated[int, Field(ge=0)] | None  # samples added in all rounds together; null for no limit
    stop: bool  # false: add per_round whatever the sign of the derivative
