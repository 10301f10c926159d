"""Section ``release`` of params.yaml."""

from typing import Literal

from stages.params.section import Section


class ReleaseSettings(Section):
    """What goes into the release."""

    weights: Literal["auto", "always", "never"]  # auto: only where held-out rows of the core gain by them
    flagged: Literal["out", "keep"] = "out"  # labels called wrong: not in the training set, or with it
