"""The validation loss: the cross-entropy of softmax(T·f), and which samples validate.

    ℓ_i = −log softmax(T f_i)_{y_i},   ∂ℓ_i/∂f_i = T (softmax(T f_i) − y_i),   m_i = f_{i y_i} − max_{c ≠ y_i} f_ic

Least-squares outputs are not logits: at T = 1 their softmax is nearly flat and every right sample keeps pushing.
The losses differ in the temperature T and in v, the samples that validate:

    all          T = 1    v = 1                       detection, in the paper
    hard_margin  T = 1    v = [argmax f ≠ y]          the paper's choice for Reweight and Extend
    trimmed      T = 1    v = [−τ < m ≤ 0]            wrong, but not hopelessly: those must not steer
    calibrated   T = T*   v = [m > −τ], or 1          ours: right rows near the boundary validate as well

Reference: Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022 (`all`, `hard_margin`).
"""

from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from diva.text.choices import LossName

THRESHOLD = 0.25  # τ: a margin at or below −τ is hopeless, its label probably wrong
NOISY = 0.05  # share of hopeless rows above which labels count as noisy


def margins(predictions: Tensor, labels: Tensor) -> Tensor:
    """m_i: the given label's output less the best other one, (m, k) and (m,) → (m,); negative where wrong."""
    own = predictions.gather(1, labels[:, None])[:, 0]
    others = predictions.scatter(1, labels[:, None], -torch.inf)
    return own - others.amax(1)


@dataclass(frozen=True)
class Loss:
    """A validation loss.

    Attributes:
        name: one of `all`, `hard_margin`, `trimmed`, `calibrated`.
        temperature: T; 1 but for `calibrated`.
        trim: for `calibrated`, whether hopeless samples (m ≤ −τ) are kept from validating.
        threshold: τ.
    """

    name: LossName
    temperature: float = 1.0
    trim: bool = True
    threshold: float = THRESHOLD

    def __post_init__(self) -> None:
        if self.name not in get_args(LossName):
            raise ValueError(f"loss must be one of {', '.join(get_args(LossName))}, got {self.name!r}.")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}.")
        if self.name != "calibrated" and self.temperature != 1.0:
            raise ValueError(f"temperature must be 1 for {self.name}, got {self.temperature}; only calibrated has one.")

    def untrimmed(self) -> "Loss":
        """The same loss with every sample of `calibrated` validating."""
        return replace(self, trim=False)

    def warning(self, hopeless: float, noisy: bool) -> str:
        """What to say of `hard_margin` where labels are ``noisy``; ``hopeless`` is the share of such rows."""
        if self.name != "hard_margin" or not noisy:
            return ""
        return (
            f"loss hard_margin lets wrong labels steer, and {hopeless:.1%} of the labels look wrong; that raised the "
            "error by up to 6 points under the label noise of people. Use calibrated, or remove wrong labels first."
        )

    def validates(self, predictions: Tensor, labels: Tensor, margin: Tensor | None = None) -> Tensor:
        """v (m,) as booleans; ``margin`` m (m,) where it is known."""
        if self.name == "all" or (self.name == "calibrated" and not self.trim):
            return torch.ones_like(labels, dtype=torch.bool)
        if self.name == "hard_margin":
            return predictions.argmax(1) != labels
        margin = margins(predictions, labels) if margin is None else margin
        if self.name == "trimmed":
            return (margin > -self.threshold) & (margin <= 0)
        return margin > -self.threshold

    def values(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """ℓ (m,)."""
        return torch.nn.functional.cross_entropy(self.temperature * predictions, labels, reduction="none")

    def gradients(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """∂ℓ/∂f (m, k)."""
        gradients = torch.softmax(self.temperature * predictions, 1)
        gradients[torch.arange(len(labels), device=labels.device), labels] -= 1
        return gradients.mul_(self.temperature)
