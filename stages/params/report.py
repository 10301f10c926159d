"""Section ``report`` of params.yaml."""

from pydantic import Field

from stages.params.section import Section


class Report(Section):
    """How much the report shows."""

    calls: int = Field(ge=0)  # labels called wrong that come with evidence, the strongest first
    thumbnail: int = Field(ge=16, le=512)  # pixels of their longer side
    rows: int = Field(ge=1)  # samples it lists
    megabytes: float = Field(ge=5, le=200)  # it weighs at most; thumbnails fill what is left
