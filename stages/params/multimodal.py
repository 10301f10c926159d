"""Section ``multimodal`` of params.yaml."""

from typing import Annotated

from pydantic import Field

from diva.text.choices import LossName
from stages.params.section import Count, PerRound, Section

Prompt = Annotated[str, Field(pattern=r"\{\}")]


class Multimodal(Section):
    """What embeddings of the classes' names add to few images."""

    shots: list[Count]  # images a class to start from; empty: on no request
    embeddings: str | None  # ready features of class names; null: by the text tower of extract.backbone
    prompts: list[Prompt] = Field(min_length=1)
    loss: LossName
    per_round: PerRound  # of the names
    draws: int = Field(ge=0)  # of uniform orders
    seed: int = Field(ge=0)
