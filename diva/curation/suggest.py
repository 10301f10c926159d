"""Suggest: which rows of a pool to label next, in order, and what the model would call them.

`diva.curation.acquisition` has the rules; the default, `expected_variance`, takes the row whose label, whatever it is,
makes all others least uncertain, given those chosen before it. What is common to all rules is here: at most so many of
a class (as suggested) and of a group, and the cold start. A model needs labels: as long as a class that was seen has
fewer than two, `typiclust` chooses, typical and diverse rows first, and the result says so. Where more than ten classes
were seen, a tenth of them may be single: a rare class must not hold up the others for good.

As elsewhere in `diva.curation`, what is labelled comes as a fit of coded rows and the pool as chunks of prepared rows;
the pool's labels play no part (zeros will do). `diva.methods.registry.suggest` takes the same and names every rule with
its paper, `diva.estimators.suggest` takes arrays.
"""

from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from diva.curation import acquisition
from diva.curation.acquisition import RULES, Quota, Unlabelled
from diva.numerics.chunks import Chunks
from diva.numerics.expected_variance import Outlook
from diva.numerics.leave_one_out import choose_temperature
from diva.numerics.precision import RidgeFit
from diva.numerics.ridge import Moments
from diva.text.choices import is_whole

LEAST = 2  # labels that each class seen has before a model chooses
SINGLE = 0.1  # share of the classes seen that may have fewer
COLD, CHANCE = "typiclust", "uniform"  # rules that need no model


@dataclass(frozen=True)
class Suggestion:
    """What to label next.

    Attributes:
        index: (m,) int64 positions in the pool, in the order chosen.
        gain: (m,) float64, what the rule saw in each when it was chosen: of `expected_variance` the fall of V.
        expected: (m,) float64, V after each; NaN for other rules.
        label: (m,) int64 codes, what the model would call each; −1 where there is no model.
        probability: (m,) float64, softmax(T* f) of that label; NaN where there is no model.
        history: V before the first and after each choice (m + 1,); NaN for other rules.
        rule: that chose.
        temperature: T*; NaN where there is no model.
        message: where the rule asked for did not choose, or fewer were chosen than asked for, why; else empty.
    """

    index: Tensor
    gain: Tensor
    expected: Tensor
    label: Tensor
    probability: Tensor
    history: Tensor
    rule: str
    temperature: float
    message: str = ""


def suggest(
    core: RidgeFit | None,
    pool: Chunks,
    *,
    budget: int,
    rule: str = "expected_variance",
    temperature: float | None = None,
    groups: Tensor | None = None,
    per_class: int | None = None,
    per_group: int = 1,
    seed: int = 0,
    judged: tuple[Moments, Outlook] | None = None,
) -> Suggestion:
    """Which rows of a pool to label next.

    Args:
        core: what is labelled, with its model, as `extend` takes it; None where nothing is.
        pool: n rows, prepared as the core's; their labels play no part.
        budget: how many to choose at most.
        rule: of `diva.curation.acquisition`.
        temperature: T*; chosen on the core where None.
        groups: (n,) integers of the pool; negative ones have no group. None for none.
        per_class: rows of one suggested label at most; None for no limit.
        per_group: rows of one group at most.
        seed: where there is chance.
        judged: what the core's model says of the pool, where labels are not classes; there is no cold start then.

    Raises:
        ValueError: on an unknown rule, or a budget or limit out of range.
    """
    n = pool.shape[0]
    _check(rule, budget, n, groups, per_class, per_group)
    chosen_by, message = _rule(core, rule) if judged is None else (rule, "")
    modelled = judged is not None or (core is not None and core.classes > 1)
    if core is not None and modelled and judged is None:
        temperature = choose_temperature(core) if temperature is None else temperature
    data = Unlabelled(core, pool if core is None else core.like(pool), temperature or float("nan"), seed, judged)
    label, probability = torch.full((n,), -1), torch.full((n,), torch.nan, dtype=torch.float64)
    if modelled and n:
        label, probability = data.judged[1].label, data.judged[1].probability
    limits = [] if groups is None else [(groups, per_group)]
    quota = Quota(n, limits if per_class is None else [*limits, (label, per_class)])
    choices = []
    for choice in islice(RULES[chosen_by](data, quota, budget), budget):
        quota.take(choice.position)
        choices.append(choice)
    if len(choices) < budget:
        sampled = f"{chosen_by} looks at {acquisition.MOST:,} rows drawn from the pool, of which no more may be chosen"
        why = sampled if quota.open.any() else "the limits allow no more"
        message = "; ".join(filter(None, [message, f"{len(choices)} of {budget} chosen: {why}"]))
    index = torch.tensor([choice.position for choice in choices], dtype=torch.int64)
    gain = torch.tensor([choice.gain for choice in choices], dtype=torch.float64)
    expected = torch.tensor([choice.expected for choice in choices], dtype=torch.float64)
    history = torch.cat([expected[:1] + gain[:1], expected])
    return Suggestion(
        index, gain, expected, label[index], probability[index], history, chosen_by, data.temperature, message
    )


def _rule(core: RidgeFit | None, rule: str) -> tuple[str, str]:
    """The rule that chooses, and why where it is not the one asked for."""
    counts = torch.zeros(0) if core is None else _counts(core)
    few = counts < LEAST
    if rule in (COLD, CHANCE) or (len(counts) >= 2 and few.double().mean() <= SINGLE):
        return rule, ""
    seen = f"{int(few.sum())} of the {len(counts)} classes seen have fewer than {LEAST} labels" if len(counts) else ""
    seen = seen if few.any() or not len(counts) else "only one class was seen"
    return COLD, f"{COLD} chose, typical and diverse rows first, and not {rule}: {seen or 'nothing is labelled yet'}"


def _counts(core: RidgeFit) -> Tensor:
    """Labels of each class seen."""
    labels = torch.cat([torch.as_tensor(labels).cpu() for _, labels, _ in core.chunks])
    counts = labels.bincount()
    return counts[counts > 0]


def _check(rule: str, budget: int, n: int, groups: Tensor | None, per_class: int | None, per_group: int) -> None:
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}.")
    if not (is_whole(budget) and 0 <= budget <= n):
        raise ValueError(f"budget must lie in 0..{n} (the pool), got {budget!r}; give a whole number.")
    if groups is not None and tuple(groups.shape) != (n,):
        raise ValueError(f"groups must have one entry per row ({n},), got {tuple(groups.shape)}.")
    for name, most in (("per_class", per_class), ("per_group", per_group)):
        if most is not None and not (is_whole(most) and most > 0):
            raise ValueError(f"{name} must be at least 1, got {most!r}; give a whole number.")
