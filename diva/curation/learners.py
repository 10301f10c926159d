"""The learners that people train on curated sets, on the same features: arrays in, predictions out.

    ridge      the head of this project: ridge regression on one-hot targets, λ by leave-one-out on the set
    logistic   scikit-learn's logistic regression, C chosen on held-out rows of the core
    svm        a linear support vector machine, its C chosen likewise
    knn        a vote of the 10 nearest rows, by their weights
    mlp        one hidden layer of 256 units, on rows less their mean and of unit deviation over all features

Rows are normalised as for the head, without the constant column. Weights go to every learner; a row of weight 0 is as
good as absent. Of a set above a size, a seeded sample trains all but the ridge head.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.svm import LinearSVC

from diva.numerics.threads import single_threaded_libraries
from diva.text.choices import Learner

Array = npt.NDArray[Any]

PENALTIES = {"logistic": (1.0, 10.0, 100.0), "svm": (0.1, 1.0, 10.0)}  # C, from which held-out rows choose
NEIGHBOURS = 10
HIDDEN = 256
MOST_ROWS = 5000


@dataclass(frozen=True)
class TrainingSet:
    """Rows (n, p), codes (n,), and weights (n,) or None for ones."""

    features: Array
    labels: Array
    weights: Array | None = None

    def subset(self, rows: Array) -> "TrainingSet":
        """Some of the rows, by mask or position."""
        weights = None if self.weights is None else self.weights[rows]
        return TrainingSet(self.features[rows], self.labels[rows], weights)

    def present(self) -> "TrainingSet":
        """The rows of positive weight."""
        return self if self.weights is None else self.subset(self.weights > 0)

    def sample(self, most: int, seed: int) -> "TrainingSet":
        """At most so many rows; see `sample_rows`."""
        return self if len(self.labels) <= most else self.subset(sample_rows(self.labels, most, seed))


def sample_rows(labels: Array, most: int, seed: int | Sequence[int]) -> Array:
    """Ascending positions of at most so many rows, drawn at random, and of every class of ``labels`` (n,) one."""
    n = len(labels)
    if n <= most:
        return np.arange(n)
    order = np.random.default_rng(seed).permutation(n)
    first = np.unique(labels[order], return_index=True)[1]
    rest = np.setdiff1d(np.arange(n), first, assume_unique=True)
    return np.sort(order[np.concatenate([first, rest[: max(0, most - len(first))]])])


@dataclass(frozen=True)
class Answer:
    """A learner's predictions (m,), the rows that trained it, the seconds that it took."""

    predicted: Array
    rows: int
    seconds: float


def answer(
    learner: Learner, training: TrainingSet, test: Array, *, penalty: float = 1.0, seed: int = 0, most: int = MOST_ROWS
) -> Answer:
    """Train one learner, and ask it about rows (m, p).

    Args:
        learner: its name.
        training: two or more classes among rows of positive weight.
        test: rows that it has not seen.
        penalty: C of `logistic` and `svm`; λ of `ridge`.
        seed: of the sample and of the MLP's start.
        most: rows that train at most.

    Raises:
        ValueError: on an unknown learner.
    """
    if learner not in TRAINERS:
        raise ValueError(f"learners must be of {', '.join(TRAINERS)}, got {learner!r}.")
    started = time.perf_counter()
    chosen = training.present().sample(most, seed)
    classes = np.unique(chosen.labels)
    if len(classes) == 1:
        return Answer(np.full(len(test), classes[0]), len(chosen.labels), time.perf_counter() - started)
    with warnings.catch_warnings(), single_threaded_libraries():  # small products: more threads take more time
        warnings.simplefilter("ignore", ConvergenceWarning)
        predicted = TRAINERS[learner](chosen, test, penalty, seed)
    return Answer(predicted, len(chosen.labels), time.perf_counter() - started)


def choose_penalty(learner: Learner, core: TrainingSet, seed: int = 0, most: int = MOST_ROWS) -> float:
    """C by the error on a fifth of the core's rows, trained on the rest; of several, the smallest."""
    grid = PENALTIES.get(learner, (1.0,))
    chosen = core.present().sample(most, seed)
    order = np.random.default_rng([seed, HIDDEN]).permutation(len(chosen.labels))  # no other draw's order
    out, rest = order[: len(order) // 5], order[len(order) // 5 :]
    if len(grid) == 1 or len(out) == 0 or len(np.unique(chosen.labels[rest])) < 2:
        return grid[0]
    training, tested = chosen.subset(rest), chosen.subset(out)
    answers = [answer(learner, training, tested.features, penalty=c, seed=seed, most=most) for c in grid]
    return grid[int(np.argmin([(made.predicted != tested.labels).mean() for made in answers]))]


def _ridge(training: TrainingSet, test: Array, penalty: float, seed: int) -> Array:
    """argmax of W = (ZᵀDZ + λI)⁻¹ ZᵀDY, the constant column under the penalty, too: the head, of rows in memory."""
    del seed
    z, z_test = (np.column_stack([x, np.ones(len(x))]) for x in (training.features, test))
    weighed = z if training.weights is None else z * training.weights[:, None]
    targets = np.eye(int(training.labels.max()) + 1)[training.labels]
    head = np.linalg.solve(weighed.T @ z + penalty * np.eye(z.shape[1]), weighed.T @ targets)
    return (z_test @ head).argmax(1)  # type: ignore[no-any-return]


def _logistic(training: TrainingSet, test: Array, penalty: float, seed: int) -> Array:
    del seed
    return _fit_logistic(training, penalty).predict(test)  # type: ignore[no-any-return]


def _fit_logistic(training: TrainingSet, penalty: float) -> LogisticRegression:
    model = LogisticRegression(C=penalty, max_iter=200)
    return model.fit(training.features, training.labels, training.weights)


def logistic_outputs(training: TrainingSet, test: Array, classes: int, penalty: float) -> Array:
    """Logits (m, k) of logistic regression, −inf of a class without a row of positive weight."""
    rows, outputs = training.present(), np.full((len(test), classes), -np.inf)
    present = np.unique(rows.labels)
    if len(present) == 1:
        outputs[:, present] = 0
        return outputs
    with warnings.catch_warnings(), single_threaded_libraries():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = _fit_logistic(rows, penalty)
        logits = model.decision_function(test)
    outputs[:, present] = np.column_stack([-logits / 2, logits / 2]) if logits.ndim == 1 else logits
    return outputs


def _svm(training: TrainingSet, test: Array, penalty: float, seed: int) -> Array:
    del seed
    model = LinearSVC(C=penalty, dual=False)  # the same optimum: the dual took ten times as long on rows of unit norm
    model.fit(training.features, training.labels, training.weights)
    return model.predict(test)  # type: ignore[no-any-return]


def _mlp(training: TrainingSet, test: Array, penalty: float, seed: int) -> Array:
    del penalty
    mean, deviation = training.features.mean(0), training.features.std() or 1.0  # unit rows would hardly move it
    model = MLPClassifier((HIDDEN,), max_iter=50, n_iter_no_change=5, random_state=seed)
    model.fit((training.features - mean) / deviation, training.labels, training.weights)
    return model.predict((test - mean) / deviation)  # type: ignore[no-any-return]


def _knn(training: TrainingSet, test: Array, penalty: float, seed: int) -> Array:
    """The class of most weight among the nearest rows; of several, that of the smallest code."""
    del penalty, seed
    x, weights = training.features, training.weights
    weights = np.ones(len(x)) if weights is None else weights
    squares, k = (x * x).sum(1), min(NEIGHBOURS, len(x))
    votes = np.zeros((len(test), int(training.labels.max()) + 1))
    for start in range(0, len(test), 1024):
        part = test[start : start + 1024]
        nearest = np.argpartition(squares - 2 * part @ x.T, k - 1, axis=1)[:, :k]
        rows = np.arange(start, start + len(part))[:, None]
        np.add.at(votes, (rows, training.labels[nearest]), weights[nearest])
    return votes.argmax(1)  # type: ignore[no-any-return]


TRAINERS: dict[str, Callable[[TrainingSet, Array, float, int], Array]] = {
    "ridge": _ridge, "logistic": _logistic, "svm": _svm, "knn": _knn, "mlp": _mlp,
}  # fmt: skip


def mean_gain(with_: Sequence[Array], without: Sequence[Array]) -> tuple[float, float]:
    """How much lower the mean error of several learners (each (m,) in [0, 1]) is, and its standard error, in pairs."""
    gains = np.mean([b - a for a, b in zip(with_, without, strict=True)], axis=0)
    if len(gains) < 2:
        return 0.0, float("inf")
    return float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))
