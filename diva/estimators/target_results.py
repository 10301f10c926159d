"""What the functions for several labels a sample, and for numbers, return: frozen dataclasses of numpy arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diva.estimators.results import Tabular, histogram_of_flagged
from diva.inputs import Array


@dataclass(frozen=True, repr=False)
class EntryDetection(Tabular):
    """Which entries are probably wrong.

    Attributes:
        score: (n, q), high where suspicious.
        margin: (n, q), (2y − 1)(2f − 1): negative where the other samples say otherwise.
        flagged: (n, q) booleans.
        suggested: (n, q) booleans, what the other samples say.
        names: (q,) of the labels.
        rate: the estimated share of wrong entries, of the labels that are judged.
        message: which labels are not judged and why, in words; else empty.
    """

    score: Array
    margin: Array
    flagged: Array
    suggested: Array
    names: tuple[Any, ...]
    rate: float
    message: str = ""

    def words(self) -> list[tuple[int, str]]:
        """Row and finding of each flagged entry, such as "dog is missing" or "cat is wrong", most suspicious first."""
        rows, columns = self._most_suspicious()
        kinds = np.where(self.suggested[rows, columns], "is missing", "is wrong")
        return [(int(i), f"{self.names[c]} {kind}") for i, c, kind in zip(rows, columns, kinds, strict=True)]

    def _most_suspicious(self) -> tuple[Array, Array]:
        rows, columns = np.nonzero(self.flagged)
        order = np.argsort(-self.score[rows, columns], kind="stable")
        return rows[order], columns[order]

    def _columns(self) -> Mapping[str, Array]:
        rows, columns = self._most_suspicious()
        findings = np.array([text for _, text in self.words()], dtype=str)
        return {"row": rows, "finding": findings, "score": self.score[rows, columns]}

    def _draw(self, axes: Any) -> None:
        missing, wrong = (self.flagged & self.suggested).sum(0), (self.flagged & ~self.suggested).sum(0)
        names = [str(name) for name in self.names]
        axes.barh(names, missing, label="missing")
        axes.barh(names, wrong, left=missing, label="wrong")
        axes.set(xlabel="entries flagged")
        axes.legend()

    def _summary(self) -> str:
        summary = f"{int(self.flagged.sum()):,} of {self.flagged.size:,} entries flagged"
        return "; ".join(filter(None, [summary, self.message]))


@dataclass(frozen=True, repr=False)
class NumberDetection(Tabular):
    """Which numbers are probably wrong.

    Attributes:
        score: (n,), the size of the studentised leave-one-out residual.
        expected: (n,), what the other samples say.
        q_value: (n,), the least share of false discoveries at which each would be flagged, were deviations normal.
        flagged: (n,) booleans.
        deviation: the standard deviation of right numbers from what is expected.
    """

    score: Array
    expected: Array
    q_value: Array
    flagged: Array
    deviation: float

    def _columns(self) -> Mapping[str, Array]:
        columns = {"score": self.score, "expected": self.expected, "q_value": self.q_value, "flagged": self.flagged}
        return {"row": np.arange(len(self.score)), **columns}

    def _draw(self, axes: Any) -> None:
        histogram_of_flagged(axes, self.score, self.flagged, "numbers")

    def _summary(self) -> str:
        return f"{int(self.flagged.sum()):,} of {len(self.score):,} numbers flagged"
