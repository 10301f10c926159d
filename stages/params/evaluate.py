"""Section ``evaluate`` of params.yaml."""

from pydantic import Field

from diva.text.choices import Learner
from stages.params.section import Section


class Evaluate(Section):
    """How test errors are measured."""

    draws: int = Field(ge=1)  # of the bootstrap
    uniform: int = Field(ge=1)  # uniform choices that are averaged
    steps: int = Field(ge=0)  # of Reweight that are watched on the test set
    held_out: float = Field(gt=0, lt=1)  # share of the core that tests where there is no test set
    seed: int = Field(ge=0)
    learners: tuple[Learner, ...] = ("ridge", "logistic", "svm", "knn", "mlp")  # that every training set is judged by
    finetune: int = Field(default=0, ge=0)  # epochs of a network on core, release and everything
    learner_rows: int = Field(default=5000, ge=2)  # that train each of them at most, the ridge head excepted
    noise: float = Field(default=0.25, ge=0, le=1)  # share of wrong labels from which a delivery raises an alert
    drift: float = Field(default=0.1, ge=0)  # distance of its features, in shares of the core's variance, likewise
