"""Section ``suggest`` of params.yaml."""

from typing import Annotated

from pydantic import AfterValidator, Field

from diva.methods import names
from stages.params.section import Count, Section

Rule = Annotated[str, AfterValidator(lambda name: names.get(name, names.RULES).name)]
Part = Annotated[str, Field(pattern=r"^(pool|b\d{3,})$")]


class Suggest(Section):
    """Which samples without a label to ask for first."""

    of: list[Part]  # pool, or batches of it; empty: on no request
    budget: Count  # samples asked for at most
    rule: Rule
    per_class: Count | None  # of one suggested label at most; null for no limit
    seed: int = Field(ge=0)
