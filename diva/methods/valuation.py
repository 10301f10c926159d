"""What a method says of n samples, whatever the method."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the registry is listed without torch
    from torch import Tensor

Kind = Literal["suspicion", "value", "set"]


@dataclass(frozen=True)
class Valuation:
    """The answer of one method.

    Attributes:
        method: its name in the registry.
        kind: `suspicion` (high = probably mislabelled or harmful), `value` (high = take first) or
            `set` (1 = chosen, 0 = not).
        values: (n,) float64, on the CPU, finite.
    """

    method: str
    kind: Kind
    values: "Tensor"

    @property
    def best_first(self) -> "Tensor":
        """(n,) positions, the most valuable sample first; ties in the order of the rows."""
        keys = self.values if self.kind == "suspicion" else -self.values
        return keys.argsort(stable=True)
