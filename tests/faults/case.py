"""The table of faults: each case is a test, and a line of docs/reliability.md.

    CUT = Case("truncated JPEG", "images", "a JPEG cut after half of its bytes", SET_ASIDE)

    @CUT.test
    def test_…

A module with many alike writes ``@pytest.mark.parametrize("fault", [case.param(plant), …])``. ``python -m
tests.faults`` runs all of them and writes the table with what came out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

SET_ASIDE = "set aside, with reason and remedy"
REFUSED = "a clear error, with file and remedy"
UNHARMED = "carried on unharmed"
OUTCOMES = (SET_ASIDE, REFUSED, UNHARMED)
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Case:
    """A fault and what is expected of a run that meets it.

    Attributes:
        name: short and unique; the test's id.
        area: heading in the table.
        what: is wrong, in words for people.
        outcome: one of ``OUTCOMES``.
    """

    name: str
    area: str
    what: str
    outcome: str

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome must be one of {OUTCOMES}, got {self.outcome!r}.")
        if CASES.setdefault(self.key, self) != self:
            raise ValueError(f"name must be unique in its area, got {self.name!r} of {self.area} twice.")

    @property
    def key(self) -> tuple[str, str]:
        """Area and name."""
        return self.area, self.name

    def test(self, function: F) -> F:
        """Mark a test as this case's."""
        return pytest.mark.fault(self)(function)  # type: ignore[no-any-return]

    def param(self, *values: Any, marks: Any = ()) -> Any:
        """This case, and ``values``, as a parameter of a test."""
        return pytest.param(self, *values, id=self.name.replace(" ", "-"), marks=[pytest.mark.fault(self), *marks])


CASES: dict[tuple[str, str], Case] = {}
