"""Section ``multimodal`` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from stages.params.section import Section

Shots = Annotated[int, Field(ge=1)]
Prompt = Annotated[str, Field(pattern=r"\{\}")]


class Multimodal(Section):
    """What embeddings of the classes' names add to few images."""

    shots: list[Shots]  # images a class to start from; empty: on no request
    embeddings: str | None  # ready features of class names; null: by the text tower of extract.backbone
    prompts: list[Prompt] = Field(min_length=1)
    loss: Literal["all", "hard_margin", "trimmed", "calibrated"]
    per_round: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)]  # a number, or a share
    draws: int = Field(ge=0)  # of uniform orders
    seed: int = Field(ge=0)
