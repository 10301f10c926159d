"""Section ``score`` of params.yaml."""

from pydantic import Field

from stages.params.methods import Suspicion
from stages.params.section import Section


class Score(Section):
    """Which methods score the core, one stage each."""

    methods: list[Suspicion] = Field(min_length=1)
