"""What the functions for notebooks return: frozen dataclasses of numpy arrays."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from diva.curation.additions import Additions
from diva.curation.reweight import Step
from diva.curation.suggest import Suggestion
from diva.inputs import Array
from diva.text.words import installing


def histogram_of_flagged(axes: Any, score: Array, flagged: Array, judged: str) -> None:
    """How many of what is ``judged`` have which score, flagged and not."""
    finite = np.isfinite(score)
    parts = [score[finite & ~flagged], score[finite & flagged]]
    axes.hist(parts, bins=50, stacked=True, label=["not flagged", "flagged"])
    axes.set(xlabel="score, high where suspicious", ylabel=judged)
    axes.legend()


class Tabular(ABC):
    """A result that is easy to look at: a line of text, a table in notebooks, a data frame, a picture."""

    @abstractmethod
    def _columns(self) -> Mapping[str, Array]:
        """Columns of one length."""

    @abstractmethod
    def _summary(self) -> str:
        """What came of it, in a few words."""

    def to_frame(self) -> Any:
        """A polars data frame with a row per entry; ``.to_pandas()`` of it where pandas is installed."""
        import polars as pl  # the closed forms run without it

        columns = {name: np.asarray(values) for name, values in self._columns().items()}
        return pl.DataFrame({name: each.tolist() if each.dtype == object else each for name, each in columns.items()})

    @abstractmethod
    def _draw(self, axes: Any) -> None:
        """The picture, on matplotlib's axes."""

    def plot(self, axes: Any = None) -> Any:
        """Draw it with matplotlib, on ``axes`` or new ones, which it returns.

        Raises:
            ImportError: matplotlib is not installed.
        """
        if axes is None:
            try:
                from matplotlib import pyplot
            except ImportError:
                raise ImportError(f"matplotlib must be installed to plot; {installing('plot')}.") from None
            axes = pyplot.subplots(layout="constrained")[1]
        self._draw(axes)
        return axes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._summary()})"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>{self.to_frame().head(10)._repr_html_()}"


@dataclass(frozen=True, repr=False)
class Detection(Tabular):
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

    def _columns(self) -> Mapping[str, Array]:
        columns = {"score": self.score, "margin": self.margin, "flagged": self.flagged, "suggested": self.suggested}
        return {"row": np.arange(len(self.score)), **columns}

    def _draw(self, axes: Any) -> None:
        histogram_of_flagged(axes, self.score, self.flagged, "labels")

    def _summary(self) -> str:
        return f"{self.flagged.sum():,} of {len(self.flagged):,} labels flagged" + ("; " + self.message) * bool(
            self.message
        )


@dataclass(frozen=True, repr=False)
class Reweighting(Tabular):
    """Weights (n,), at least 0, and one `Step` (loss, validating, largest) per step that was taken."""

    weights: Array
    history: tuple[Step, ...]

    def _columns(self) -> Mapping[str, Array]:
        return {"row": np.arange(len(self.weights)), "weight": self.weights}

    def _draw(self, axes: Any) -> None:
        axes.hist(self.weights, bins=50)
        axes.set(xlabel="weight", ylabel="samples")

    def _summary(self) -> str:
        w = self.weights
        return f"{len(w):,} weights from {w.min():.2g} to {w.max():.2g} after {len(self.history)} steps"


@dataclass(frozen=True)
class RoundSummary:
    """One round of `extend`: samples added, candidates there were, samples that validated, their loss before it."""

    added: int
    candidates: int
    validating: float
    loss: float


@dataclass(frozen=True, repr=False)
class Extension(Tabular):
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

    @classmethod
    def of(cls, added: Additions) -> "Extension":
        """What rounds added."""
        history = tuple(RoundSummary(len(r.index), r.candidates, r.validating, r.loss) for r in added.history)
        return cls(added.index.numpy(), added.derivative.numpy(), added.round.numpy(), history, added.stop)

    def _columns(self) -> Mapping[str, Array]:
        return {"row": self.index, "derivative": self.derivative, "round": self.round}

    def _draw(self, axes: Any) -> None:
        axes.scatter(np.arange(1, len(self.index) + 1), self.derivative, s=4, c=self.round)
        axes.set(xlabel="samples added", ylabel="derivative when chosen")

    def _summary(self) -> str:
        return f"{len(self.index):,} samples to add, in {len(self.history)} rounds; {self.stop}"


@dataclass(frozen=True, repr=False)
class NextLabels(Tabular):
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

    @classmethod
    def of(cls, chosen: Suggestion, suggested: Array | None) -> "NextLabels":
        """What was chosen, with the labels that the model would give."""
        index, gain, expected = chosen.index.numpy(), chosen.gain.numpy(), chosen.expected.numpy()
        probability, history = chosen.probability.numpy(), chosen.history.numpy()
        return cls(index, gain, expected, suggested, probability, history, chosen.rule, chosen.message)

    def _columns(self) -> Mapping[str, Array]:
        columns = {"row": self.index, "gain": self.gain, "expected": self.expected}
        if self.suggested is None:
            return columns
        return {**columns, "suggested": self.suggested, "probability": self.probability}

    def _draw(self, axes: Any) -> None:
        axes.plot(np.arange(1, len(self.index) + 1), self.gain)
        axes.set(xlabel="labels asked for", ylabel=f"gain by {self.rule}")

    def _summary(self) -> str:
        return f"{len(self.index):,} rows to label, by {self.rule}" + ("; " + self.message) * bool(self.message)


@dataclass(frozen=True)
class Influenced:
    """Rows of X, the foremost first, with v_i ∂ℓ_i/∂α_j of each: what more of the sample does to their loss."""

    index: Array
    influence: Array


@dataclass(frozen=True)
class Neighbours:
    """Rows of X, the nearest first, with their cosine to the sample."""

    index: Array
    cosine: Array


@dataclass(frozen=True, repr=False)
class Explanation(Tabular):
    """Why a sample is thought helpful or harmful.

    Attributes:
        label: its own.
        suggested: what the model says that was trained without it and its group.
        derivative: ∂L/∂α of it: positive where more weight on it harms the others.
        helped: rows whose leave-one-out loss falls most with its weight.
        harmed: rows whose loss rises most.
        classes: (k,) labels, in the order of the probabilities.
        probabilities: (k,) of the model with it.
        without: (k,) of the model without it and its group.
        group: rows that are left out with it, itself among them.
        same: its nearest neighbours of its own label.
        other: those of the suggested label, of the runner-up where that is its own.
    """

    label: Any
    suggested: Any
    derivative: float
    helped: Influenced
    harmed: Influenced
    classes: Array
    probabilities: Array
    without: Array
    group: Array
    same: Neighbours
    other: Neighbours

    def _columns(self) -> Mapping[str, Array]:
        related = {
            "helped": (self.helped.index, self.helped.influence),
            "harmed": (self.harmed.index, self.harmed.influence),
            "same label": (self.same.index, self.same.cosine),
            "other label": (self.other.index, self.other.cosine),
        }
        lengths = [len(rows) for rows, _ in related.values()]
        return {
            "row": np.concatenate([rows for rows, _ in related.values()]),
            "relation": np.repeat(list(related), lengths),
            "value": np.concatenate([values for _, values in related.values()]),
        }

    def _draw(self, axes: Any) -> None:
        at = np.arange(len(self.classes))
        axes.bar(at - 0.2, self.without, 0.4, label="without it")
        axes.bar(at + 0.2, self.probabilities, 0.4, label="with it")
        axes.set(xticks=at, xticklabels=self.classes, ylabel="probability")
        axes.legend()

    def _summary(self) -> str:
        effect = "harms" if self.derivative > 0 else "helps"
        return f"labelled {self.label}, suggested {self.suggested}; more weight on it {effect} the others"


@dataclass(frozen=True, repr=False)
class ConsensusLabels(Tabular):
    """What several annotators and the model agree on.

    Attributes:
        label: (n,), the likeliest of the labels that somebody gave: what `fit`, `detect`, `reweight` and `extend` take.
        plurality: (n,), what most said.
        soft: (n, k), the probability of each class.
        classes: (k,), of the columns of ``soft``.
        wrong: (n,), how probable it is that most were wrong.
        quality: (A,), how often each annotator is right; NaN of who gave no label.
        interval: (A, 2), where that lies with 95 %, as if annotators erred independently of each other.
        votes: (A,), labels given.
        next_vote: (n,) positions, those worth another vote most first.
        value: (n,), how much more probably right one more vote would make the likeliest label.
    """

    label: Array
    plurality: Array
    soft: Array
    classes: Array
    wrong: Array
    quality: Array
    interval: Array
    votes: Array
    next_vote: Array
    value: Array

    def _columns(self) -> Mapping[str, Array]:
        columns = {"label": self.label, "plurality": self.plurality, "wrong": self.wrong, "value": self.value}
        return {"row": np.arange(len(self.label)), **columns}

    def _draw(self, axes: Any) -> None:
        reach = np.abs(self.interval.T - self.quality)
        axes.errorbar(np.arange(len(self.votes)), self.quality, reach, fmt="o", capsize=3)
        axes.set(xlabel="annotator", ylabel="share of right labels", xticks=np.arange(len(self.votes)))

    def _summary(self) -> str:
        changed = int((self.label != self.plurality).sum())
        return f"{len(self.label):,} labels by {len(self.votes)} annotators; {changed:,} are not what most said"
