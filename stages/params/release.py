"""Section ``release`` of params.yaml."""

from typing import Literal

from stages.params.section import Section


class ReleaseSettings(Section):
    """What goes into the release."""

    weights: Literal["auto", "always", "never"]  # auto: only where held-out rows of the core gain by them
    set: Literal["members", "everything", "auto"] = "members"  # everything: what no round chose, too, less flagged
    flagged: Literal["out", "keep"] = "out"  # labels called wrong: not in the training set, or with it

    def sets(self, over: str) -> tuple[str, ...]:
        """What is weighed and compared; ``reweight.over`` where the members are asked for."""
        return {"members": (over,), "everything": ("everything",), "auto": ("members", "everything")}[self.set]
