"""Section ``score`` of params.yaml."""

from typing import Literal

from pydantic import Field

from stages.params.section import Section


class Score(Section):
    """Which methods score the core, one stage each."""

    methods: list[Literal["soft", "margin", "derivative"]] = Field(min_length=1)
