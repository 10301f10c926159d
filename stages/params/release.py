"""Section ``release`` of params.yaml."""

from typing import Literal

from stages.params.section import Section


class Release(Section):
    """What goes into the release."""

    weights: Literal["auto", "always", "never"]  # auto: only where a held-out fold of the set gets better
