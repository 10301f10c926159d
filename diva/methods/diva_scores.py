"""DIVA's own scores behind the common interface.

    soft         1 − softmax(T*·f)_y, the default of detection            suspicion
    derivative   ∂L/∂α with the loss `all`, the paper's score             suspicion

(the third score of `detect`, the margin, is in `diva.methods.margin`). As a choice rule, `soft` takes the surest
pool sample first and `derivative` applies the rule of `diva.curation.extend` with the loss `calibrated`.

Reference: Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022, Sec. 5.3; `soft` is ours.
"""

import torch
from torch import Tensor

from diva.curation.additions import RoundSettings
from diva.curation.detect import Suspicion, detect
from diva.curation.extend import extend_round, prepare_rule
from diva.methods.inputs import Labelled
from diva.methods.ridge_fit import fit, loo_predictions, predictions, prepared
from diva.numerics.leave_one_out import entropies, temperatures
from diva.text.choices import LossName, Normalization, Score


def soft(
    data: Labelled, *, ridge: float | None = None, normalize: Normalization = "unit", second_round: bool = False
) -> Tensor:
    """1 − softmax(T*·f)_y (n,) float64, high = suspicious.

    Args:
        data: n samples.
        ridge: λ; by leave-one-out error where None.
        normalize: of the rows.
        second_round: drop m ≤ −τ, refit, score again (best on heavy human noise).
    """
    if second_round:
        return detection("soft", data, ridge, normalize, second_round=True).score
    f = loo_predictions(fit(data, ridge=ridge, normalize=normalize))
    return 1 - confidence(f, data.labels, best_temperature(f, data.labels)).cpu()


def derivative(data: Labelled, *, ridge: float | None = None, normalize: Normalization = "unit") -> Tensor:
    """∂L/∂α (n,) float64 with the loss `all`, high = suspicious."""
    return detection("derivative", data, ridge, normalize).score


def detection(
    score: Score,
    data: Labelled,
    ridge: float | None = None,
    normalize: Normalization = "unit",
    *,
    second_round: bool = False,
) -> Suspicion:
    """Scores and flags (the rule `rate`)."""
    return detect(fit(data, ridge=ridge, normalize=normalize), score=score, second_round=second_round)


def soft_order(
    core: Labelled, pool: Labelled, *, ridge: float | None = None, normalize: Normalization = "unit"
) -> Tensor:
    """Pool positions, highest softmax(T*·f)_y under the core's model first."""
    fitted = fit(core, ridge=ridge, normalize=normalize)
    temperature = best_temperature(loo_predictions(fitted), core.labels)
    f = predictions(fitted, prepared(pool, core, normalize))
    return (-confidence(f, pool.labels, temperature)).argsort(stable=True).cpu()


def derivative_order(
    core: Labelled,
    pool: Labelled,
    *,
    ridge: float | None = None,
    normalize: Normalization = "unit",
    loss: LossName = "calibrated",
) -> Tensor:
    """Pool positions in the order one round of Extend would take them, those it would leave out last."""
    fitted = fit(core, ridge=ridge, normalize=normalize)
    candidates = prepared(pool, core, normalize)
    rule = prepare_rule(loss, fitted, candidates)
    return extend_round(fitted, candidates, rule, RoundSettings(len(pool), stop=False)).index


def best_temperature(f: Tensor, labels: Tensor) -> float:
    """T* of predictions f (n, k) at hand; `leave_one_out.choose_temperature` does the same in a pass over the rows."""
    return float(temperatures()[int(entropies(f, labels).argmin())])


def confidence(f: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The given label's share softmax(T·f)_y (n,)."""
    return torch.softmax(temperature * f, 1).gather(1, labels[:, None])[:, 0]
