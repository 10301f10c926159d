"""Section ``report`` of params.yaml."""

from pydantic import Field

from stages.params.section import Section


class Report(Section):
    """How much the report shows."""

    calls: int = Field(ge=0)  # labels called wrong that are shown, the strongest first
    thumbnail: int = Field(ge=16, le=512)  # pixels of their longer side
