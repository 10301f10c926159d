"""How much a round of additions adds, what it chose, and when no further round follows: whatever is added, and by what.

`diva.curation.extend` chooses by classes, `diva.curation.target_extend` by several labels a sample, or numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from diva.numerics.ridge import RidgeModel
from diva.text.choices import ValidateOn, is_whole


@dataclass(frozen=True)
class RoundSettings:
    """How much a round adds, and by whom it is judged.

    Attributes:
        per_round: samples added in a round at most, or a share of the pool (None: a tenth); 0 where no budget is left.
        per_class: samples of a class at most, the others wait for a later round; None for no limit.
        validate_on: whether unused pool samples validate too, on their plain prediction.
        stop: add only what the rule takes; False adds ``per_round`` whatever the sign.

    Raises:
        ValueError: if one is out of range.
    """

    per_round: float | None = None
    per_class: int | None = None
    validate_on: ValidateOn = "members_and_pool"
    stop: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.per_round, Real | None) or isinstance(self.per_round, bool):
            raise ValueError(f"per_round must be a number or a share, got {self.per_round!r}; a tenth is 0.1.")
        if (self.per_round or 0) < 0:
            raise ValueError(f"per_round must be at least 0, got {self.per_round}.")
        if self.per_class is not None and self.per_class < 1:
            raise ValueError(f"per_class must be at least 1, or None for no limit, got {self.per_class}.")
        if self.validate_on not in get_args(ValidateOn):
            raise ValueError(f"validate_on must be one of {', '.join(get_args(ValidateOn))}, got {self.validate_on!r}.")

    def size(self, n_pool: int) -> int:
        """Samples that a round adds at most, of a pool of this size."""
        return 0 if self.per_round == 0 else samples_of(0.1 if self.per_round is None else self.per_round, n_pool)

    def within(self, n_pool: int, room: int | None) -> "RoundSettings":
        """The same of a pool of this size, with no more than ``room`` samples in all; None for no limit."""
        return replace(self, per_round=self.size(n_pool) if room is None else min(self.size(n_pool), room))


def samples_of(per_round: float, n: int) -> int:
    """How many of ``n`` samples a round adds at most: a number as it is, a share rounded down, but at least one.

    Raises:
        ValueError: a number below 1, or a share outside (0, 1].
    """
    if isinstance(per_round, Integral):
        if per_round < 1:
            raise ValueError(f"per_round must be at least 1, got {per_round}.")
        return int(per_round)
    if not 0 < per_round <= 1:
        raise ValueError(f"per_round must be a number of samples or a share above 0 and at most 1, got {per_round}.")
    return max(1, int(per_round * n))


@dataclass(frozen=True)
class RoundChoice:
    """What one round of Extend adds, and why.

    Attributes:
        index: positions in the pool to add, in the order chosen.
        derivative: ∂L/∂α (n_pool,).
        gain: derivative / (1 + g) (n_pool,).
        margin: m (n_pool,), of the plain predictions.
        candidates: how many samples the rule would have taken.
        validating: Σv; 0 stops Extend.
        loss: the validation loss before the addition; NaN where nothing validates.
        stop: why no further round should follow, or None.
        leverage_factor: g (n_pool,), for the round that follows.
        model: of the members.
    """

    index: Tensor
    derivative: Tensor
    gain: Tensor
    margin: Tensor
    candidates: int
    validating: float
    loss: float
    stop: str | None
    leverage_factor: Tensor
    model: RidgeModel


class Turn(NamedTuple):
    """What a round chose, and where that stands in the pool."""

    choice: RoundChoice
    new: Tensor


@dataclass(frozen=True)
class Additions:
    """What several rounds added.

    Attributes:
        index: positions in the pool, in the order chosen.
        round: the round (1, 2, …) each of ``index`` was added in.
        derivative: ∂L/∂α of each of ``index`` when it was chosen.
        history: the rounds.
        stop: why it ended.
    """

    index: Tensor
    round: Tensor
    derivative: Tensor
    history: tuple[RoundChoice, ...]
    stop: str


def in_rounds(
    n_pool: int, most: int, settings: RoundSettings, turn: Callable[[Tensor, RoundSettings, Turn | None], RoundChoice]
) -> Additions:
    """Rounds until one of them says why none should follow, or ``most`` samples are added.

    Args:
        n_pool: samples of the pool.
        most: samples added in all.
        settings: of each round.
        turn: what a round adds, from which samples are unused (n_pool,), what it may add, and the round before it.
    """
    unused, turns = torch.ones(n_pool, dtype=torch.bool), list[Turn]()
    why = "the budget is spent" if n_pool else "the pool is empty"
    while most > sum(len(last.new) for last in turns):
        room = most - sum(len(last.new) for last in turns)
        choice = turn(unused, settings.within(n_pool, room), turns[-1] if turns else None)
        turns.append(Turn(choice, unused.nonzero()[:, 0][choice.index]))
        if choice.stop is not None:
            why = choice.stop
            break
        unused[turns[-1].new] = False
    nothing = torch.zeros(0, dtype=torch.int64)
    return Additions(
        torch.cat([nothing, *(last.new for last in turns)]),
        torch.cat([nothing, *(torch.full((len(last.new),), i) for i, last in enumerate(turns, 1))]),
        torch.cat([nothing.double(), *(last.choice.derivative[last.choice.index] for last in turns)]),
        tuple(last.choice for last in turns),
        why,
    )


def check_budget(budget: int | None, n_pool: int, settings: RoundSettings) -> int:
    """Samples added in all at most; ValueError on a budget outside the pool, or rounds that add none."""
    if budget is not None and not (is_whole(budget) and 0 <= budget <= n_pool):
        raise ValueError(f"budget must lie in 0..{n_pool} (the pool), got {budget!r}; give a whole number.")
    if settings.per_round == 0:
        raise ValueError("per_round must be at least 1, got 0.")
    return n_pool if budget is None else budget


def stop_reason(steered: bool, candidates: int, per_round: int, size: int, stop: bool, waiting: bool) -> str | None:
    """Why no further round should follow, or None."""
    if size == 0:
        return "the pool is empty"
    if per_round == 0:
        return "the budget is spent"
    if not steered:
        return "no sample validates, so the derivative is zero"
    if stop and candidates == 0:
        return "no candidate is left"
    if waiting:  # for a round in which their class has room again
        return None
    if stop and candidates < per_round:
        return "fewer candidates were left than a round adds"
    return "the pool is used up" if size <= per_round else None
