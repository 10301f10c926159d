"""Every method by its name, behind one interface.

    get(name).compute(features, labels, seed=0, **options) -> Valuation          what it says of one data set
    scores(name, …) -> (n,), high = suspicious                                   for `curate.score`
    order(name, core …, pool …) -> pool positions, best first                    for `extend.choose`

A method's own functions live in its module, which is imported when it is first asked for: listing names needs no torch.
Options are the keywords of those functions, and their defaults are the defaults.

| name | kind | as `curate.score` | as `extend.choose` |
| --- | --- | --- | --- |
| soft | suspicion | 1 − softmax(T*·f)_y | surest under the core's model |
| margin | suspicion | −m | largest m under the core's model |
| derivative | suspicion | ∂L/∂α, loss `all` | the rule of Extend, `calibrated` |
| cg_score | suspicion | the score | lowest within core and pool |
| knn_shapley | value | −value | highest with the core as validation set |
| learning_to_reweight | value | −mean weight | highest mean weight with the core as trusted set |
| active_bias | value | no | nearest to the threshold while the core is trained on |
| smallest_margin | value | no | smallest absolute margin under the core's model |
| k_center | value | no | farthest from the core and the choice so far |
| uniform, balanced_uniform | value | no | a seeded order, or classes in turns |
| host_cp | set | no | the set chosen from the pool |
"""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from diva.methods.valuation import Kind, Valuation

if TYPE_CHECKING:  # listing the methods must not cost seconds
    from torch import Tensor


@dataclass(frozen=True)
class Method:
    """One way to value samples.

    Attributes:
        name: in params.yaml.
        kind: what its values mean (`diva.methods.valuation`).
        module: of its paper, within `diva.methods`.
        function: features, labels, options → (n,) values.
        ordering: core, pool, options → pool positions, best first.
        suspects: whether low value (or high suspicion) says that a label is probably wrong.
        reference: the paper.
    """

    name: str
    kind: Kind
    module: str
    function: str
    ordering: str
    suspects: bool
    reference: str

    def compute(self, features: Any, labels: Any, *, seed: int = 0, **options: Any) -> Valuation:
        """What the method says of n samples.

        Raises:
            ValueError: on bad input or an unknown option.
        """
        function = self._load(self.function)
        return Valuation(self.name, self.kind, function(features, labels, **self._arguments(function, options, seed)))

    def options(self) -> dict[str, Any]:
        """Its options and their defaults."""
        parameters = inspect.signature(self._load(self.function)).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}

    def order(self, core: tuple[Any, Any], pool: tuple[Any, Any], *, seed: int = 0, **options: Any) -> "Tensor":
        """Pool positions, best first; see `order`."""
        function = self._load(self.ordering)
        positions: Tensor = function(*core, *pool, **self._arguments(function, options, seed))
        return positions

    def _load(self, function: str) -> Callable[..., Any]:
        loaded: Callable[..., Any] = getattr(import_module(f"diva.methods.{self.module}"), function)
        return loaded

    def _arguments(self, function: Callable[..., Any], options: dict[str, Any], seed: int) -> dict[str, Any]:
        """``options``, and the seed where there is chance."""
        known = [p.name for p in inspect.signature(function).parameters.values() if p.default is not p.empty]
        for option in options:
            if option not in known:
                raise ValueError(f"options of {self.name} must be among {', '.join(known)}, got {option}.")
        return {**options, "seed": seed} if "seed" in known else options


METHODS = (
    Method(
        "soft", "suspicion", "diva_scores", "soft", "soft_order", True,
        "ours, after Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022",
    ),
    Method(
        "margin", "suspicion", "margin", "margin", "order", True,
        "Scheffer et al., Active Hidden Markov Models for Information Extraction, IDA 2001",
    ),
    Method(
        "derivative", "suspicion", "diva_scores", "derivative", "derivative_order", True,
        "Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022",
    ),
    Method(
        "cg_score", "suspicion", "cg_score", "cg_score", "order", True,
        "Nohyun, Choi, Chung, Data Valuation Without Training of a Model, ICLR 2023",
    ),
    Method(
        "knn_shapley", "value", "knn_shapley", "knn_shapley", "order", True,
        "Jia et al., Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms, VLDB 2019",
    ),
    Method(
        "learning_to_reweight", "value", "learning_to_reweight", "learning_to_reweight", "order", True,
        "Ren et al., Learning to Reweight Examples for Robust Deep Learning, ICML 2018",
    ),
    Method(
        "active_bias", "value", "active_bias", "active_bias", "order", False,
        "Chang, Learned-Miller, McCallum, Active Bias, NeurIPS 2017",
    ),
    Method(
        "smallest_margin", "value", "margin", "smallest_margin", "smallest_margin_order", False,
        "Lewis, Gale, A Sequential Algorithm for Training Text Classifiers, SIGIR 1994",
    ),
    Method(
        "k_center", "value", "k_center", "k_center", "order", False,
        "Sener, Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018",
    ),
    Method("uniform", "value", "uniform", "uniform", "order", False, "chance"),
    Method("balanced_uniform", "value", "uniform", "balanced_uniform", "balanced_order", False, "chance"),
    Method(
        "host_cp", "set", "chosen_set", "chosen_set", "order", False,
        "Das et al., Finding High-Value Training Data Subset through Differentiable Convex Programming, ECML-PKDD 2021",
    ),
)  # fmt: skip


def names() -> tuple[str, ...]:
    """Of all methods."""
    return tuple(method.name for method in METHODS)


def get(name: str) -> Method:
    """The method of this name.

    Raises:
        ValueError: if there is none, with the names that are close.
    """
    for method in METHODS:
        if method.name == name:
            return method
    close = difflib.get_close_matches(str(name), names())
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    raise ValueError(f"method must be one of {', '.join(names())}, got {name!r}{hint}")


def scores(name: str, features: Any, labels: Any, classes: Any = None, seed: int = 0, **options: Any) -> "Tensor":
    """How suspicious each sample is (n,) float64, high = suspicious: for `curate.score`.

    Args:
        name: of the method.
        features: (n, p).
        labels: (n,), integer codes or strings.
        classes: k, or the classes in the order of their codes, or None for those that occur.
        seed: where there is chance.
        options: of the method.

    Raises:
        ValueError: on bad input, or if a low value does not mean a wrong label to this method.
    """
    method = get(name)
    if not method.suspects:
        usable = ", ".join(method.name for method in METHODS if method.suspects)
        raise ValueError(f"curate.score must be a method that suspects labels ({usable}), got {name}.")
    found = method.compute(features, labels, seed=seed, classes=classes, **options)
    return found.values if found.kind == "suspicion" else -found.values


def order(
    name: str,
    core_features: Any,
    core_labels: Any,
    pool_features: Any,
    pool_labels: Any,
    seed: int = 0,
    classes: Any = None,
    **options: Any,
) -> "Tensor":
    """Pool positions, best first (n_pool,): for `extend.choose`; what each method does is in the table above.

    Args:
        name: of the method.
        core_features: (n_core, p) of core and whatever was added to it.
        core_labels: (n_core,).
        pool_features: (n_pool, p).
        pool_labels: (n_pool,).
        seed: where there is chance.
        classes: as in `scores`.
        options: of the method's ordering.

    Raises:
        ValueError: on bad input.
    """
    core, pool = (core_features, core_labels), (pool_features, pool_labels)
    return get(name).order(core, pool, seed=seed, classes=classes, **options)
