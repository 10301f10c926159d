"""What the stages do where labels are classes, and where a sample has several, or a number: the one place to ask."""

from collections.abc import Callable
from typing import Any, NamedTuple

from diva.curation import posing, rows, target_round, target_rows, target_wishes, unused
from diva.curation.posing import Posed
from diva.curation.round import CLASSES, Rules
from diva.curation.rows import Problem
from diva.store import manifest


class Trials(NamedTuple):
    """How training sets are judged."""

    trial: Callable[..., Any]
    audit: Callable[..., Any]
    by_class: Callable[..., Any]
    steps: Callable[..., Any]


class TaskWork(NamedTuple):
    """What is done for a task.

    Attributes:
        pose: the problem, on the core.
        rules: of rounds.
        predicted: suggested labels and scores of rows outside a model.
        outlook: the model of a set, what it says of a pool without labels, and names of these.
        weigh: weighs a set; it and ``trials`` load what other stages need not wait for.
        trials: what judges training sets.
    """

    pose: Callable[..., Posed]
    rules: Rules
    predicted: unused.Predict
    outlook: Callable[..., Any]
    weigh: Callable[..., Any]
    trials: Callable[[], Trials]


def of(problem: Problem) -> TaskWork:
    """What is done for a problem."""
    return OF_CLASSES if problem.task == "classification" else OF_TARGETS


def of_core() -> TaskWork:
    """What is done for the labels that the core has."""
    return OF_CLASSES if manifest.task() == "classification" else OF_TARGETS


def _outlook_of_classes(counted: Any, groups: Any, chunks: Any, rule: str) -> Any:
    del chunks, rule  # `diva.curation.suggest` looks itself
    return rows.fitted(rows.counted(*counted), counted[-1], groups), None, counted[-1].classes


def _weigh_classes(*arguments: Any, **named: Any) -> Any:
    from diva.curation import weighed_sets

    return weighed_sets.weigh(*arguments, **named)


def _weigh_targets(*arguments: Any, **named: Any) -> Any:
    from diva.curation import target_weights

    return target_weights.weigh(*arguments, **named)


def _trials_of_classes() -> Trials:
    from diva.curation import audit, panel, trials

    return Trials(
        trials.Trial,
        audit.audit,
        lambda trial, compared, errors: panel.by_class(trial.exam.rows, errors),  # noqa: ARG005 - as of targets
        panel.steps,
    )


def _trials_of_targets() -> Trials:
    from diva.curation import target_trials as trials

    return Trials(trials.TargetTrial, trials.audit, trials.by_class, trials.steps)


OF_CLASSES = TaskWork(
    posing.pose, CLASSES, unused.predicted_classes, _outlook_of_classes, _weigh_classes, _trials_of_classes
)
OF_TARGETS = TaskWork(
    target_rows.pose,
    Rules(target_round.choose, target_round.score, target_rows.moments_of),
    target_round.predicted,
    target_wishes.outlook,
    _weigh_targets,
    _trials_of_targets,
)
