"""Section ``curate`` of params.yaml: what is done about labels called wrong; ``start`` reads it, and each new round."""

from pydantic import model_validator

from diva.text.choices import Action, Rule
from stages.params.methods import Suspicion
from stages.params.section import Section


class Curate(Section):
    """Score, rule and action of the clean-up."""

    score: Suspicion  # whose scores call labels wrong; one of score.methods
    rule: Rule  # how many are called wrong
    by_class: bool = False  # rate: class by class, too; the settings of older rounds have no such key
    action: Action  # keep and flag, remove, or take the suggested label
    second_round: bool  # refit without the hopeless rows and score again; helps where people mislabelled many

    @model_validator(mode="after")
    def _derivative_only_flags(self) -> "Curate":
        if self.rule == "derivative" and self.action != "weigh":
            raise ValueError("action must be weigh where rule is derivative (it flags hard, correct samples)")
        return self
