"""A scikit-learn classifier: ridge regression with its leave-one-out predictions and its dataset derivative."""

from bisect import bisect_left
from typing import Any, Self

import numpy as np
import torch
from scipy.special import logsumexp, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from diva import inputs
from diva.inputs import Array, Engine, Groups, Precision, Ridge, Size
from diva.numerics.derivative import dataset_derivative
from diva.numerics.leave_one_out import predictions_and_leverage, temperatures
from diva.numerics.losses import Loss
from diva.numerics.threads import single_threaded_libraries
from diva.text.cells import vectors_in
from diva.text.choices import Normalization


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
        temperature_: T*, by which outputs become probabilities; chosen by the leave-one-out predictions when asked for.
        loo_proba_: softmax(T*·f) (n, k), each row's probabilities by the model trained without it (and its group).
        n_features_in_: p.
        feature_names_in_: (p,) names, where X has them and all are strings.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> model = DivaClassifier().fit(X[:500], y[:500])
        >>> model.predict(X[501:503]), y[501:503]
        (array([2, 2]), array([2, 2]))
        >>> model.loo_proba_.shape  # what cleanlab calls pred_probs, without cross-validation
        (500, 10)
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

        Returns:
            Itself.

        Raises:
            ValueError: on fewer than two classes or a class of one sample (of positive weight), a value that is not
                finite, lengths that differ, a negative weight, or a setting out of range.
        """
        rows = inputs.read_features(X)
        validate_data(self, X if vectors_in(X) is None else rows, y, skip_check_array=True)
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
        self._judged = inputs.to_codes(inputs.read_labels(y), data.classes).numpy(), present.numpy()
        return self

    @property
    def temperature_(self) -> float:  # noqa: D102 - the class says
        check_is_fitted(self, "derivative_")
        codes, present = self._judged
        f, codes = self.loo_predictions_[present].astype(float), codes[present]
        grid: list[float] = temperatures().tolist()
        above = f - f[np.arange(len(f)), codes][:, None]

        def entropy(at: int) -> float:
            return float(logsumexp(grid[at] * above, axis=1).sum())

        # It is convex in T, so that a bisection finds the grid's minimum.
        return grid[bisect_left(range(len(grid) - 1), True, key=lambda at: entropy(at) <= entropy(at + 1))]

    @property
    def loo_proba_(self) -> Array:  # noqa: D102 - the class says
        return np.asarray(softmax(self.temperature_ * self.loo_predictions_.astype(float), axis=1))

    def decision_function(self, X: Any) -> Array:
        """Outputs (n, k) float64; of two classes (n,), positive for ``classes_[1]``."""
        check_is_fitted(self)
        rows = inputs.read_features(X)
        validate_data(self, X if vectors_in(X) is None else rows, reset=False, skip_check_array=True)
        chunks = self._engine().chunks(rows, torch.zeros(len(rows)), self.scaling_, dtype="float64")
        head = torch.from_numpy(np.column_stack([self.coef_, self.intercept_]).T).to(chunks.device)
        outputs = torch.cat([z @ head for z, _, _ in chunks]).cpu().numpy()
        return outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict(self, X: Any) -> Array:
        """The label (n,) of the largest output."""
        outputs = self.decision_function(X)
        codes = (outputs > 0).astype(int) if outputs.ndim == 1 else outputs.argmax(1)
        return self.classes_[codes]  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> Array:
        """softmax(T*·f) (n, k), in the order of ``classes_``."""
        outputs = self.decision_function(X)
        both = np.column_stack([np.zeros(len(outputs)), outputs]) if outputs.ndim == 1 else outputs
        return np.asarray(softmax(self.temperature_ * both, axis=1))

    def _engine(self) -> Engine:
        return Engine(self.ridge, self.normalize, self.chunk_size, self.device, self.dtype)
