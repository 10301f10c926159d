"""Two uses of the margin of ridge regression.

    m_i = f_{i y_i} − max_{c ≠ y_i} f_ic,   f the leave-one-out prediction (the core's plain one for a pool)

    margin            −m: leave-one-out margin; suspicious where the model without i prefers another class
    smallest_margin   −|m|: valuable where the model hesitates; the strongest simple rule of extension

References: Lewis, Gale, A Sequential Algorithm for Training Text Classifiers, SIGIR 1994, and Scheffer et al., Active
Hidden Markov Models for Information Extraction, IDA 2001 (margin sampling, there without labels); the closed form of
f: `diva.numerics.leave_one_out`.
"""

from torch import Tensor

from diva.methods.inputs import Labelled
from diva.methods.ridge_fit import fit, loo_predictions, predictions, prepared
from diva.numerics.losses import margins
from diva.text.choices import Normalization


def margin(data: Labelled, *, ridge: float | None = None, normalize: Normalization = "unit") -> Tensor:
    """−m (n,) float64, high = suspicious; λ by leave-one-out error where ``ridge`` is None."""
    return -loo_margins(data, ridge, normalize)


def smallest_margin(data: Labelled, *, ridge: float | None = None, normalize: Normalization = "unit") -> Tensor:
    """−|m| (n,) float64, high = take first."""
    return -loo_margins(data, ridge, normalize).abs()


def order(core: Labelled, pool: Labelled, *, ridge: float | None = None, normalize: Normalization = "unit") -> Tensor:
    """Pool positions, the surest agreement with the core's model first: largest m."""
    return (-pool_margins(core, pool, ridge, normalize)).argsort(stable=True)


def smallest_margin_order(
    core: Labelled, pool: Labelled, *, ridge: float | None = None, normalize: Normalization = "unit"
) -> Tensor:
    """Pool positions, smallest |m| under the core's model first."""
    return pool_margins(core, pool, ridge, normalize).abs().argsort(stable=True)


def loo_margins(data: Labelled, ridge: float | None, normalize: Normalization) -> Tensor:
    """Margins m (n,) of the rows the model was trained on."""
    return margins(loo_predictions(fit(data, ridge=ridge, normalize=normalize)), data.labels).cpu()


def pool_margins(core: Labelled, pool: Labelled, ridge: float | None, normalize: Normalization) -> Tensor:
    """Margins m (n_pool,) under the core's model."""
    model = fit(core, ridge=ridge, normalize=normalize)
    return margins(predictions(model, prepared(pool, core, normalize)), pool.labels).cpu()
