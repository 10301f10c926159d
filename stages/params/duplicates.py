"""Section ``duplicates`` of params.yaml; ``fit`` and ``pool`` read it.

It stands apart from both: dvc.yaml reads the ledger's chain ``pool`` beside these sections, and another ridge in
section ``fit`` must not index the pool again.
"""

from typing import Annotated, Literal

from pydantic import Field

from stages.params.section import Section


class Duplicates(Section):
    """Which samples count as the same beside files of equal content; the first stays."""

    near_duplicate: Annotated[float, Field(gt=0, le=1)] | None  # cosine of features less the core's mean; null for off
    # cosine from which an image counts as one of the test set saved again; it has its default here, because a key more
    # in params.yaml would make anew what published rounds rest on
    near_test: Annotated[float, Field(gt=0, le=1)] | None = 0.99
    group: Literal["auto", "never", "always"] = "auto"  # whether near relatives in the core are left out together
