"""Every method by its name, and what its paper makes of it; no torch, so that listing names costs nothing.

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

and every rule of `diva.curation.suggest`, which asks for labels and needs none of the pool's (kind request).
"""

import difflib
from dataclasses import dataclass
from typing import Literal

Kind = Literal["suspicion", "value", "set", "request"]


@dataclass(frozen=True)
class Method:
    """One way to value samples.

    Attributes:
        name: in params.yaml, and of its functions in `diva.methods.registry`.
        kind: `suspicion` (high = probably mislabelled or harmful), `value` (high = take first) or
            `set` (1 = chosen, 0 = not) or `request` (what to label next, in order).
        suspects: whether low value (or high suspicion) says that a label is probably wrong.
        reference: the paper.
    """

    name: str
    kind: Kind
    suspects: bool
    reference: str


METHODS = (
    Method(
        "soft", "suspicion", True,
        "ours, after Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022",
    ),
    Method(
        "margin", "suspicion", True,
        "Scheffer et al., Active Hidden Markov Models for Information Extraction, IDA 2001",
    ),
    Method(
        "derivative", "suspicion", True,
        "Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022",
    ),
    Method(
        "cg_score", "suspicion", True,
        "Nohyun, Choi, Chung, Data Valuation Without Training of a Model, ICLR 2023",
    ),
    Method(
        "knn_shapley", "value", True,
        "Jia et al., Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms, VLDB 2019",
    ),
    Method(
        "learning_to_reweight", "value", True,
        "Ren et al., Learning to Reweight Examples for Robust Deep Learning, ICML 2018",
    ),
    Method("active_bias", "value", False, "Chang, Learned-Miller, McCallum, Active Bias, NeurIPS 2017"),
    Method(
        "smallest_margin", "value", False,
        "Lewis, Gale, A Sequential Algorithm for Training Text Classifiers, SIGIR 1994",
    ),
    Method(
        "k_center", "value", False,
        "Sener, Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018",
    ),
    Method("uniform", "value", False, "chance"),
    Method("balanced_uniform", "value", False, "chance"),
    Method(
        "host_cp", "set", False,
        "Das et al., Finding High-Value Training Data Subset through Differentiable Convex Programming, ECML-PKDD 2021",
    ),
)  # fmt: skip

RULES = (
    Method("expected_variance", "request", False, "ours: greedy A-optimal design, weighted by margin uncertainty"),
    Method(
        "margin", "request", False,
        "Scheffer et al., Active Hidden Markov Models for Information Extraction, IDA 2001",
    ),
    Method(
        "entropy", "request", False,
        "Lewis, Gale, A Sequential Algorithm for Training Text Classifiers, SIGIR 1994",
    ),
    Method(
        "badge", "request", False,
        "Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, ICLR 2020",
    ),
    Method(
        "k_center", "request", False,
        "Sener, Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018",
    ),
    Method(
        "typiclust", "request", False,
        "Hacohen et al., Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets, ICML 2022",
    ),
    Method("uniform", "request", False, "chance"),
)  # fmt: skip


def names(among: tuple[Method, ...] = METHODS) -> tuple[str, ...]:
    """Of all methods, or of all rules."""
    return tuple(method.name for method in among)


def suspecting() -> str:
    """Names of the methods whose values call labels wrong, as a list in words."""
    return ", ".join(method.name for method in METHODS if method.suspects)


def get(name: str, among: tuple[Method, ...] = METHODS) -> Method:
    """The method, or rule, of this name.

    Raises:
        ValueError: if there is none, with the names that are close.
    """
    for method in among:
        if method.name == name:
            return method
    close = difflib.get_close_matches(str(name), names(among))
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    kind = "rule" if among is RULES else "method"
    raise ValueError(f"{kind} must be one of {', '.join(names(among))}, got {name!r}{hint}")
