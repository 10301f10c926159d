"""Every method behind one interface; `diva.methods.names` says which there are and what their values mean.

    compute(name, features, labels, seed=0, **options) -> Valuation              what it says of one data set
    scores(name, …) -> (n,), high = suspicious                                   for `curate.score`
    order(name, core …, pool …) -> pool positions, best first                    for `extend.choose`
    suggest(name, core, pool, budget=…) -> what to label next                    of the rules that need no label

What the caller has is checked here, once; a method's own functions take it as `diva.methods.inputs.Labelled`. Options
are the keywords of those functions, and their defaults are the defaults.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diva.curation.suggest import Suggestion
from diva.curation.suggest import suggest as suggest_rows
from diva.methods import (
    active_bias,
    cg_score,
    chosen_set,
    diva_scores,
    k_center,
    knn_shapley,
    learning_to_reweight,
    margin,
    uniform,
)
from diva.methods.inputs import Classes, labelled, pair
from diva.methods.names import RULES, Kind, get, suspecting
from diva.numerics.chunks import Chunks
from diva.numerics.precision import RidgeFit

# by name: n samples → (n,) values; core and pool → pool positions, best first
FUNCTIONS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "soft": (diva_scores.soft, diva_scores.soft_order),
    "margin": (margin.margin, margin.order),
    "derivative": (diva_scores.derivative, diva_scores.derivative_order),
    "cg_score": (cg_score.cg_score, cg_score.order),
    "knn_shapley": (knn_shapley.knn_shapley, knn_shapley.order),
    "learning_to_reweight": (learning_to_reweight.learning_to_reweight, learning_to_reweight.order),
    "active_bias": (active_bias.active_bias, active_bias.order),
    "smallest_margin": (margin.smallest_margin, margin.smallest_margin_order),
    "k_center": (k_center.k_center, k_center.order),
    "uniform": (uniform.uniform, uniform.order),
    "balanced_uniform": (uniform.balanced_uniform, uniform.balanced_order),
    "host_cp": (chosen_set.chosen_set, chosen_set.order),
}


@dataclass(frozen=True)
class Valuation:
    """What a method says of n samples.

    Attributes:
        kind: what its values mean (`diva.methods.names.Method`).
        values: (n,) float64, on the CPU, finite.
    """

    kind: Kind
    values: Tensor

    @property
    def best_first(self) -> Tensor:
        """(n,) positions, the most valuable sample first; ties in the order of the rows."""
        keys = self.values if self.kind == "suspicion" else -self.values
        return keys.argsort(stable=True)


def compute(
    name: str, features: Any, labels: Any, *, classes: Classes = None, seed: int = 0, **options: Any
) -> Valuation:
    """What the method says of n samples.

    Args:
        name: of the method.
        features: (n, p).
        labels: (n,), integer codes or strings.
        classes: k, or the classes in the order of their codes, or None for those that occur.
        seed: where there is chance.
        options: of the method.

    Raises:
        ValueError: on bad input, an unknown method or an unknown option.
    """
    kind, function = get(name).kind, FUNCTIONS[name][0]
    keywords = arguments(name, function, options, seed)
    return Valuation(kind, function(labelled(features, labels, classes), **keywords))


def scores(name: str, features: Any, labels: Any, classes: Classes = None, seed: int = 0, **options: Any) -> Tensor:
    """How suspicious each sample is (n,) float64, high = suspicious: for `curate.score`; arguments as of `compute`.

    Raises:
        ValueError: as `compute`, or if a low value does not mean a wrong label to this method.
    """
    if not get(name).suspects:
        raise ValueError(f"curate.score must be a method that suspects labels ({suspecting()}), got {name}.")
    valuation = compute(name, features, labels, classes=classes, seed=seed, **options)
    return valuation.values if valuation.kind == "suspicion" else -valuation.values


def order(
    name: str,
    core_features: Any,
    core_labels: Any,
    pool_features: Any,
    pool_labels: Any,
    *,
    seed: int = 0,
    classes: Classes = None,
    **options: Any,
) -> Tensor:
    """Pool positions, best first (n_pool,): for `extend.choose`; what each method does is in `diva.methods.names`.

    Args:
        name: of the method.
        core_features: (n_core, p) of core and whatever was added to it.
        core_labels: (n_core,).
        pool_features: (n_pool, p).
        pool_labels: (n_pool,).
        seed: where there is chance.
        classes: as in `compute`.
        options: of the method's ordering.

    Raises:
        ValueError: as `compute`.
    """
    function = FUNCTIONS[get(name).name][1]
    keywords = arguments(name, function, options, seed)
    return function(*pair(core_features, core_labels, pool_features, pool_labels, classes), **keywords)


def suggest(name: str, core: RidgeFit | None, pool: Chunks, *, budget: int, **options: Any) -> Suggestion:
    """What to label next by a rule of `diva.methods.names.RULES`; arguments as of `diva.curation.suggest.suggest`.

    Raises:
        ValueError: as there, and on an unknown rule.
    """
    return suggest_rows(core, pool, budget=budget, rule=get(name, RULES).name, **options)


def defaults(function: Callable[..., Tensor]) -> dict[str, Any]:
    """A method's options and their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def arguments(name: str, function: Callable[..., Tensor], options: dict[str, Any], seed: int) -> dict[str, Any]:
    """``options``, and the seed where there is chance."""
    keywords = defaults(function)
    for option in options:
        if option not in keywords:
            raise ValueError(f"options of {name} must be among {', '.join(keywords)}, got {option}.")
    return {**options, "seed": seed} if "seed" in keywords else options
