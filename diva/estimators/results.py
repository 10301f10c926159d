"""What the functions for notebooks return: frozen dataclasses of numpy arrays."""

from dataclasses import dataclass

from diva.curation.reweight import Step
from diva.inputs import Array


@dataclass(frozen=True)
class Detection:
    """Which labels are probably wrong.

    Attributes:
        score: (n,), high where suspicious; NaN of a class of one sample.
        margin: m (n,), the given label's leave-one-out output less the best other one.
        flagged: (n,) booleans.
        suggested: (n,) labels, what the other samples say.
        message: what is not judged and why, in words; else empty.
    """

    score: Array
    margin: Array
    flagged: Array
    suggested: Array
    message: str = ""


@dataclass(frozen=True)
class Reweighting:
    """Weights (n,), at least 0, and one `Step` (loss, validating, largest) per step that was taken."""

    weights: Array
    history: tuple[Step, ...]


@dataclass(frozen=True)
class RoundSummary:
    """One round of `extend`: samples added, candidates there were, samples that validated, their loss before it."""

    added: int
    candidates: int
    validating: float
    loss: float


@dataclass(frozen=True)
class Extension:
    """What to add.

    Attributes:
        index: positions in the pool, in the order chosen.
        derivative: ∂L/∂α of each of ``index`` when it was chosen.
        round: the round (1, 2, …) each was added in.
        history: one entry per round.
        stop: why it ended, in words.
    """

    index: Array
    derivative: Array
    round: Array
    history: tuple[RoundSummary, ...]
    stop: str


@dataclass(frozen=True)
class NextLabels:
    """What to label next.

    Attributes:
        index: positions in the pool, in the order chosen.
        gain: what the rule saw in each when it was chosen; of `expected_variance` what its label takes from V.
        expected: V after each, the expected variance of the pool; NaN for other rules.
        suggested: the label that the model would give to each; None where there are fewer than two classes.
        probability: of that label; NaN where there is none.
        history: V before the first choice and after each (m + 1,).
        rule: that chose.
        message: where the rule asked for did not choose, or fewer were chosen than asked for, why; else empty.
    """

    index: Array
    gain: Array
    expected: Array
    suggested: Array | None
    probability: Array
    history: Array
    rule: str
    message: str = ""
