"""How to run HOST-CP, checked once; `diva.methods.host_cp` has the formulas these symbols stand in."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from diva.methods.host_cp_program import Program
from diva.methods.host_cp_solver import Term

Validation = Literal["held_out", "loo"]


@dataclass(frozen=True)
class Settings:
    """How to run it.

    Attributes:
        program: `smooth` or `published`.
        term: strictly convex term of `smooth`, `quadratic` or `entropy`.
        coefficient: ε of the program that decides, in mean distances.
        learn_coefficient: ε of the program that φ learns by.
        fraction: of a mini-batch, the sum of column norms that is allowed: about the share of rows chosen.
        batch_size: B.
        nearest: M at most; each new point's nearest kept point comes first, by exact search.
        epochs: 0 leaves the selector as it starts.
        hidden: h.
        learning_rate: lr of θ.
        selector_learning_rate: lr_φ.
        validate: `held_out` or `loo`.
        validation_share: share of the rows that `held_out` takes; the last pass values them, too.
        parallel: G, mini-batches per step, which do not see each other's choice; their mean updates φ and θ.
        seed: of the selector's start, the held-out rows and the order of rows.

    Raises:
        ValueError: on a setting out of range.
    """

    program: Program = "smooth"
    term: Term = "quadratic"
    coefficient: float = 1e-5
    learn_coefficient: float = 0.05
    fraction: float = 0.2
    batch_size: int = 40
    nearest: int = 40
    epochs: int = 5
    hidden: int = 64
    learning_rate: float = 0.1
    selector_learning_rate: float = 1.0
    validate: Validation = "held_out"
    validation_share: float = 0.2
    parallel: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("program", Program), ("validate", Validation), ("term", Term)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {getattr(self, name)!r}.")
        for name, least in (("batch_size", 2), ("nearest", 1), ("hidden", 1), ("parallel", 1), ("epochs", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        for name in ("coefficient", "learn_coefficient", "learning_rate", "selector_learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}.")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share must lie in (0, 1), got {self.validation_share}.")
        if not 1 / self.batch_size <= self.fraction <= 1:
            raise ValueError(
                f"fraction must lie in 1/batch_size … 1 ({1 / self.batch_size} … 1), got {self.fraction}; "
                "a larger batch_size allows a smaller one."
            )
