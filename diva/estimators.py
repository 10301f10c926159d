"""The front door for notebooks: a scikit-learn classifier, and detect, reweight and extend on plain arrays.

    f(x) = Wᵀ[z(x), 1],    z(x) = x / ‖x‖ by default (normalize),    W from weighted ridge regression (ridge)

X (n, p) is a numpy array (or a list, or a data frame), a torch tensor, or an h5py data set, of any real dtype; y (n,)
are labels, strings or numbers. Tensors and data sets are read ``chunk_size`` rows at a time, several times, and never
as a whole. Results are numpy arrays in frozen dataclasses, labels of the type they were given in.

Everything takes the same keyword arguments:

    groups       (n,) of numbers or strings: what belongs together (views of an image, frames of a video, one patient)
                 and is left out together. `auto` (None) asks whether leaving near relatives out together raises the
                 leave-one-out error (`diva.curation.relatives`); if so it warns, and leaves them out. `never` and
                 `always` do not ask. Groups of more than ten that nobody names can escape it: name them.
    ridge        λ > 0, or `loo`: chosen by leave-one-out error (of ``extend``, on the core)
    normalize    `unit` (rows to length 1), `none` or `standardize`
    chunk_size   rows in memory at a time; `auto`: by the processor's cache or the card's memory
    device       `auto` (CUDA where there is one), or what torch calls a device
    dtype        `float32` or `float64`, of the rows (`auto`: float64 on CUDA cards that have it at full rate, else
                 float32, and float64 where that is not enough); what is p×p is float64 in any case

The defaults are ours. The paper's are ``score="derivative", rule="derivative"`` for ``detect``, ``loss="hard_margin"``
for ``reweight``, and for ``extend`` with ``validate_on="members"`` beside it.

Reference: Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted, validate_data

from diva import inputs
from diva.curation.detect import detect as detect_rows
from diva.curation.extend import RoundSettings
from diva.curation.extend import extend as extend_rows
from diva.curation.noise import assess_noise
from diva.curation.reweight import Step
from diva.curation.reweight import reweight as reweight_rows
from diva.inputs import Array, Engine, Groups, Precision, Ridge, Size
from diva.numerics.derivative import dataset_derivative
from diva.numerics.groups import undivided_classes
from diva.numerics.leave_one_out import predictions_and_leverage
from diva.numerics.losses import Loss
from diva.numerics.threads import single_threaded_libraries
from diva.text.choices import LossName, Normalization, Rule, Score, ValidateOn


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


class DivaClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Ridge classifier that knows, of each training sample, its leave-one-out prediction and its derivative.

    Args:
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.
        dtype: `auto`, `float32` or `float64`.

    Attributes:
        classes_: (k,) labels, sorted.
        coef_: (k, p), of two classes (1, p): the second's less the first's, positive for the second.
        intercept_: (k,), of two classes (1,). ``decision_function(X) == z @ coef_.T + intercept_`` with z the
            *normalised* rows of X.
        ridge_: λ.
        scaling_: mean and scale of `standardize`, else None.
        leverage_: h (n,), the influence of a sample on its own prediction, in [0, 1).
        loo_predictions_: f (n, k), the outputs for each sample of the model trained without it.
        derivative_: ∂L/∂α (n,) at α = ``sample_weight``, L the mean loss `all` of the leave-one-out predictions of
            the rows of positive weight: positive where more weight on the sample would harm the others.
        n_features_in_: p.
        feature_names_in_: (p,) names, where X has them and all are strings.
    """

    def __init__(
        self,
        *,
        ridge: Ridge = "loo",
        normalize: Normalization = "unit",
        chunk_size: Size = "auto",
        device: str = "auto",
        dtype: Precision = "auto",
    ) -> None:
        self.ridge = ridge
        self.normalize = normalize
        self.chunk_size = chunk_size
        self.device = device
        self.dtype = dtype

    @single_threaded_libraries()
    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Groups = None) -> Self:
        """Fit to X (n, p), y (n,) and weights (n,) of at least 0; a row of weight 0 is as good as absent.

        Raises:
            ValueError: on fewer than two classes or a class of one sample (of positive weight), a value that is not
                finite, lengths that differ, a negative weight, or a setting out of range.
        """
        rows = inputs.read_features(X)
        validate_data(self, X, y, skip_check_array=True)
        data = inputs.read(self._engine(), rows, y, sample_weight, groups)
        present = data.weights > 0
        fitted = data.fitted
        derivative = dataset_derivative(fitted, Loss("all"), validating=present)
        self.classes_, self.ridge_, self.scaling_ = data.classes, fitted.ridge, data.chunks.scaling
        head = derivative.model.head.cpu().numpy().T
        head = head[1:] - head[:1] if len(head) == 2 else head
        self.coef_, self.intercept_ = head[:, :-1].copy(), head[:, -1].copy()
        self.loo_predictions_, self.leverage_ = (column.numpy() for column in predictions_and_leverage(fitted))
        self.derivative_ = derivative.values.numpy()
        return self

    def decision_function(self, X: Any) -> Array:
        """Outputs (n, k) float64; of two classes (n,), positive for ``classes_[1]``."""
        check_is_fitted(self)
        rows = inputs.read_features(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        chunks = self._engine().chunks(rows, torch.zeros(len(rows)), self.scaling_, dtype="float64")
        head = torch.from_numpy(np.column_stack([self.coef_, self.intercept_]).T).to(chunks.device)
        outputs = torch.cat([z @ head for z, _, _ in chunks]).cpu().numpy()
        return outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict(self, X: Any) -> Array:
        """The label (n,) of the largest output."""
        outputs = self.decision_function(X)
        codes = (outputs > 0).astype(int) if outputs.ndim == 1 else outputs.argmax(1)
        return self.classes_[codes]  # type: ignore[no-any-return]

    def _engine(self) -> Engine:
        return Engine(self.ridge, self.normalize, self.chunk_size, self.device, self.dtype)


@single_threaded_libraries()
def detect(
    X: Any,
    y: Any,
    *,
    groups: Groups = None,
    score: Score = "soft",
    rule: Rule = "rate",
    second_round: bool = False,
    ridge: Ridge = "loo",
    normalize: Normalization = "unit",
    chunk_size: Size = "auto",
    device: str = "auto",
    dtype: Precision = "auto",
) -> Detection:
    """Find labels that are probably wrong (`diva.curation.detect`).

    Args:
        X: (n, p).
        y: (n,).
        groups: (n,) of numbers or strings; rows of one group are left out together.
        score: `soft`, `margin`, or `derivative` (the paper's).
        rule: `rate`, `margin`, or `derivative` (the paper's; it flags hard, correct samples: never remove by it).
        second_round: refit without the rows of m ≤ −τ and score again (best on heavy human noise).
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.
        dtype: `auto`, `float32` or `float64`.

    Raises:
        ValueError: as `DivaClassifier.fit`, but for classes of one sample, which are not judged; and on an unknown
            score or rule.
    """
    data = inputs.read(
        Engine(ridge, normalize, chunk_size, device, dtype), inputs.read_features(X), y, None, groups, fewest=1
    )
    suspicion = detect_rows(data.fitted, score=score, rule=rule, second_round=second_round)
    suggested, scores = data.classes[suspicion.suggested.numpy()], suspicion.score.numpy()
    codes = inputs.to_codes(inputs.read_labels(y), data.classes).numpy()
    single = np.bincount(codes) == 1
    undivided = undivided_classes(data.fitted.groups, torch.from_numpy(codes))
    messages = [suspicion.message] if suspicion.message else []
    if single.any():
        scores = np.where(single[codes], np.nan, scores)
        names = ", ".join(map(repr, data.classes[single][:5].tolist()))
        messages.append(f"{single.sum()} classes of one sample are not judged ({names}): add a second sample of each")
    if undivided:
        scores = np.where(np.isin(codes, undivided), np.nan, scores)
        names = ", ".join(map(repr, data.classes[undivided[:5]].tolist()))
        messages.append(f"{len(undivided)} classes of one group are not judged ({names}): add a second group of each")
    message = "; ".join(messages)
    if message:
        warnings.warn(message, stacklevel=2)
    return Detection(scores, suspicion.margin.numpy(), suspicion.flagged.numpy(), suggested, message)


@single_threaded_libraries()
def reweight(
    X: Any,
    y: Any,
    *,
    groups: Groups = None,
    steps: int | Literal["auto"] = 3,
    step_size: float = 0.5,
    loss: LossName = "calibrated",
    ridge: Ridge = "loo",
    normalize: Normalization = "unit",
    chunk_size: Size = "auto",
    device: str = "auto",
    dtype: Precision = "auto",
) -> Reweighting:
    """Weigh samples so that the leave-one-out loss falls (`reweight`); ``fit`` takes them as ``sample_weight``.

    Args:
        X: (n, p).
        y: (n,).
        groups: (n,) of numbers or strings; rows of one group are left out together.
        steps: how many, or `auto`.
        step_size: η, the largest change of a weight in a step.
        loss: `calibrated`, `hard_margin` (the paper's), `trimmed` or `all`.
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.
        dtype: `auto`, `float32` or `float64`.

    Raises:
        ValueError: as `DivaClassifier.fit`, and on an unknown loss or steps out of range.
    """
    data = inputs.read(Engine(ridge, normalize, chunk_size, device, dtype), inputs.read_features(X), y, None, groups)
    path = reweight_rows(data.fitted, loss=loss, steps=steps, step_size=step_size)
    if path.warning:
        warnings.warn(path.warning, stacklevel=2)
    return Reweighting(path.weights.numpy(), path.history)


@single_threaded_libraries()
def extend(
    X: Any,
    y: Any,
    X_pool: Any,
    y_pool: Any,
    *,
    groups: Groups = None,
    groups_pool: Any = None,
    budget: int | None = None,
    per_round: float | None = None,
    loss: LossName = "calibrated",
    validate_on: ValidateOn = "members_and_pool",
    stop: bool = True,
    ridge: Ridge = "loo",
    normalize: Normalization = "unit",
    chunk_size: Size = "auto",
    device: str = "auto",
    dtype: Precision = "auto",
) -> Extension:
    """Choose, round by round, the samples of a pool that help a core (`diva.curation.extend`).

    Args:
        X: the core (n, p).
        y: (n,).
        X_pool: (n_pool, p); may be empty.
        y_pool: (n_pool,), of the core's classes.
        groups: (n,) of numbers or strings; rows of one group are left out together.
        groups_pool: (n_pool,) likewise, of the pool; a pool row is judged without what shares its group.
        budget: samples added in all; None for no limit.
        per_round: samples added in a round, or a share of the pool; None for a tenth of it.
        loss: `calibrated` with its whole rule, or `hard_margin` (the paper's), `trimmed`, `all`: most negative first.
        validate_on: `members_and_pool`, or `members` (the paper's).
        stop: False adds ``per_round`` each round whatever the sign, until pool or budget is used up.
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.
        dtype: `auto`, `float32` or `float64`.

    Raises:
        ValueError: as `DivaClassifier.fit`, on a class or a number of features that the core lacks, and on a budget,
            loss or ``validate_on`` out of range, and on frames whose columns differ in name or order.
    """
    inputs.check_columns(X, X_pool, "X_pool")
    engine, rows = Engine(ridge, normalize, chunk_size, device, dtype), inputs.read_features(X)
    data, candidates = inputs.read(engine, rows, y, None, groups), inputs.read_features(X_pool, fewest=0)
    if candidates.shape[1] != rows.shape[1]:
        raise ValueError(f"X_pool must have the {rows.shape[1]} features of X, got {candidates.shape[1]}.")
    labels = inputs.read_labels(y_pool, "y_pool")
    check_consistent_length(candidates, labels)
    foreign = np.unique(labels[~np.isin(labels, data.classes)])
    if len(foreign):
        raise ValueError(f"y_pool must hold only classes of y, got {foreign[:5].tolist()}; leave those samples out.")
    pool = engine.chunks(candidates, inputs.to_codes(labels, data.classes), data.chunks.scaling)
    core, of_pool = inputs.pool_groups(data, pool, groups, groups_pool)
    if loss == "hard_margin" and (warning := assess_noise(core, pool, of_pool).warning(loss)):
        warnings.warn(warning, stacklevel=2)
    settings = RoundSettings(per_round, validate_on=validate_on, stop=stop)
    added = extend_rows(core, pool, loss=loss, budget=budget, settings=settings, groups=of_pool)
    history = tuple(RoundSummary(len(r.index), r.candidates, r.validating, r.loss) for r in added.history)
    return Extension(added.index.numpy(), added.derivative.numpy(), added.round.numpy(), history, added.stop)
