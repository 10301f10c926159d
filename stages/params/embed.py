"""Section ``embed`` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from stages.params.section import Section


class Embed(Section):
    """Where the report's map has the samples."""

    by: Annotated[list[Literal["umap"]], Field(max_length=1)]  # empty: by principal components
    neighbours: int = Field(ge=2, le=200)
    min_dist: float = Field(ge=0, le=1)  # between points
    landmarks: int = Field(ge=10)  # rows of the core that are placed first; the rest lie by the nearest of them
    seed: int = Field(ge=0)
