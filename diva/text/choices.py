"""The words that settings may hold, each list once: settings are checked by them, code obeys them. Free of torch."""

from numbers import Integral
from typing import Any, Literal

Task = Literal["classification", "multilabel", "regression"]  # what labels are: a class, several, a number
LossName = Literal["all", "hard_margin", "trimmed", "calibrated"]  # calibrated brings its whole rule
Normalization = Literal["unit", "none", "standardize"]  # of each row, before the constant column is appended
ValidateOn = Literal["members", "members_and_pool"]  # whether unused samples of the pool validate too
ValidatingVariants = Literal["untransformed", "all"]
Score = Literal["soft", "margin", "derivative"]  # of suspicion, from one fit; other methods have names of their own
GroupMode = Literal["auto", "never", "always"]  # whether near relatives are left out together
Rule = Literal["rate", "margin", "derivative"]  # how many labels are called wrong
Action = Literal["weigh", "drop", "relabel"]  # what is done to them
Change = Literal["remove", "relabel", "flag", "add", "keep"]  # of a sample by a round; of several the first is gravest
Decision = Literal["accept", "reject", "relabel"]  # of a person on a sample
Learner = Literal["ridge", "logistic", "svm", "knn", "mlp", "boosting"]  # that training sets are judged by

CHANGE_OF: dict[Action, Change] = {"weigh": "flag", "drop": "remove", "relabel": "relabel"}


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number: neither True nor 3.0."""
    return isinstance(value, Integral) and not isinstance(value, bool)
