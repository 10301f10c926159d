"""HOST-CP: a high-value subset, chosen online by a convex program in distances that are learned.

A selector φ (Linear → ReLU → BatchNorm on frozen features x) embeds; distances between embeddings, divided by their
mean, go into a convex program (`diva.methods.host_cp_program`) that represents each of B new points by new points and
by at most M of those kept already. The score s_j is the norm of column j of the assignment, zero below 0.9; points
with a score are kept. Beside it a linear model θ (softmax, cross-entropy CE) learns from what is kept:

    θ̂(φ) = θ − lr Σ_j s_j(φ) ∇_θ CE_j
    φ    ← φ − lr_φ ∇_φ CE_val(θ̂(φ))                  mini-batch by mini-batch
    θ    ← θ − lr Σ_j s_j ∇_θ CE_j

CE_val never sees a test set. `held_out`: a part of the rows that θ does not learn from. `loo`: the rows of the
mini-batch itself, each by the step that leaves it out, θ̂₋ᵢ = θ − lr Σ_{j≠i} s_j ∇CE_j. Of a linear model the outputs
on a validating row v need no copy of θ: θ̂ᵀz_v = θᵀz_v − lr Σ_j s_j ⟨z_v, z_j⟩ (p_j − y_j), p_j the softmax.

`published` is the program of the authors' code; its scores are steps, so φ gets no gradient and stays as it starts.
`smooth`, the default, is solved twice: with a sharp term for what is kept, and with a soft one for the s(φ) of θ̂, since
the sharper the program, the more of its scores stand still at 0 and 1.

After the epochs one more pass over all n rows, nothing kept at its start and φ as learned, gives set and scores.
n samples, p features, k classes, h embedding size, G mini-batches of B at a time.

Reference: Das et al., "Finding High-Value Training Data Subset Through Differentiable Convex Programming", ECML-PKDD
2021. Their code validates on test data and uses `published`; neither is the default here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diva.methods.host_cp_program import published, smooth
from diva.methods.host_cp_settings import Settings
from diva.methods.inputs import labelled
from diva.numerics.normalize import unit
from diva.text.progress import track

__all__ = ["Epoch", "Settings", "ValuedSubset", "host_cp"]

THRESHOLD = 0.9  # scores below count as zero (the paper's)
ROUNDING = 1e-3  # mean distances below are none
DIFFERENCES = "donot_use_mm_for_euclid_dist"  # exact: a point is at distance 0 from itself
TIE = 1e-3  # mean distances, over the rows of a mini-batch: of equal representatives the first is taken


@dataclass(frozen=True)
class Epoch:
    """Means over the steps of one epoch, and what it kept.

    Attributes:
        loss: CE_val(θ̂).
        gradient: ‖∇_φ CE_val(θ̂(φ))‖; 0 with `published`.
        size: how many rows.
    """

    loss: float
    gradient: float
    size: int


@dataclass(frozen=True)
class ValuedSubset:
    """What was chosen, on the CPU.

    Attributes:
        selected: (n,) booleans, where the score is not zero.
        scores: s (n,) float64, zero below 0.9.
        norms: (n,) float64, the column norms before the threshold.
        mean_norms: (n,) float64, their mean over the last pass and every epoch the row took part in.
        derivative: (n,) float64, ∂CE_val(θ̂)/∂s_j, mean over the epochs: what φ learns from, high where keeping the row
            harms; NaN where it did not take part (held out, or no epoch).
        history: one entry per epoch.
    """

    selected: Tensor
    scores: Tensor
    norms: Tensor
    mean_norms: Tensor
    derivative: Tensor
    history: tuple[Epoch, ...]


def host_cp(
    features: Any,
    labels: Any,
    settings: Settings | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ValuedSubset:
    """A subset of about ``settings.fraction`` of the rows, and every row's score.

    Args:
        features: (n, p), array-like, finite; rows are divided by their norm.
        labels: (n,), integers or strings.
        settings: None for the defaults.
        device: where everything runs; the programs run there in float64.
        dtype: of features, selector and θ.

    Raises:
        ValueError: on fewer than three rows, features that are not finite, or fewer than two classes.
    """
    settings = Settings() if settings is None else settings
    data = labelled(features, labels)
    data.require_classes(2)
    if len(data) < 3:
        raise ValueError(f"features must hold at least 3 rows, got {len(data)}.")
    loop = Loop(unit(data.features).to(device, dtype), data.labels.to(device), data.classes, settings)
    history = tuple(loop.epoch() for _ in track(range(settings.epochs), settings.epochs, "epochs"))
    norms = loop.last_pass()
    selected = norms >= THRESHOLD
    scores, mean_norms = norms.where(selected, 0.0), loop.norm_sums / loop.visits
    derivative = loop.derivative_sums / max(1, settings.epochs)
    return ValuedSubset(selected, scores, norms, mean_norms, derivative, history)


class Selector(nn.Module):
    """φ: (m, p) → (m, h), Linear → ReLU → BatchNorm without a scale of its own.

    Its running statistics start as those of all rows, so that it means the same before and after learning.

    Args:
        x: (n, p), all rows.
        hidden: h.
        generator: of the start values, so that the global random state is left alone.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, x: Tensor, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        start = torch.randn(hidden, x.shape[1], generator=generator) * (2 / x.shape[1]) ** 0.5
        self.weight, self.bias = nn.Parameter(start.to(x)), nn.Parameter(x.new_zeros(hidden))
        rectified = torch.relu(x @ self.weight.detach().T)
        self.register_buffer("mean", rectified.mean(0))
        self.register_buffer("variance", rectified.var(0))

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings (…, h) of rows (…, p); while training by the statistics of these rows."""
        rectified = torch.relu(x @ self.weight.T + self.bias)
        flat = rectified.flatten(0, -2)
        training = self.training and len(flat) > 1  # a single row has no variance
        rows = nn.functional.batch_norm(flat, self.mean, self.variance, training=training)
        return rows.view_as(rectified)


class Loop:
    """The alternating optimisation: φ, θ, and how often each row was visited with what norm.

    Args:
        x: (n, p), unit rows.
        labels: (n,) codes.
        classes: k.
        settings: see there.
    """

    def __init__(self, x: Tensor, labels: Tensor, classes: int, settings: Settings) -> None:
        self.x, self.labels, self.settings = x, labels, settings
        n = len(x)
        self.z = torch.cat([x, x.new_ones(n, 1)], 1)
        self.targets = nn.functional.one_hot(labels, classes).to(x.dtype)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.selector = Selector(x, settings.hidden, self.generator)
        self.theta = x.new_zeros(self.z.shape[1], classes)
        self.norm_sums, self.visits = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        order = torch.randperm(n, generator=self.generator)
        held_out = max(1, min(n - 2, round(settings.validation_share * n))) if settings.validate == "held_out" else 0
        self.held_out, self.learning = order[:held_out].to(x.device), order[held_out:].to(x.device)
        self.derivative_sums = torch.full((n,), torch.nan, dtype=torch.float64)
        if settings.epochs:
            self.derivative_sums[self.learning.cpu()] = 0

    def epoch(self) -> Epoch:
        """One pass over the rows that θ and φ learn from."""
        self.selector.train()
        losses, gradients = [], []
        memory = self.learning[:0]
        for rows in self.mini_batches(self.learning, self.generator):
            new, old = self.distances(rows, memory)
            norms = self._decide(new.detach(), old.detach())
            loss, gradient = self._learn_selector(rows, norms, new, old)
            scores = norms.where(norms >= THRESHOLD, 0.0)
            self.theta -= self.descent(rows.flatten(), scores.flatten())
            memory = torch.cat([memory, rows[scores > 0]])
            self._remember(rows, norms)
            losses.append(loss)
            gradients.append(gradient)
        return Epoch(sum(losses) / len(losses), sum(gradients) / len(gradients), len(memory))

    @torch.no_grad()
    def last_pass(self) -> Tensor:
        """Column norms (n,) of all rows, float64 on the CPU, with φ and θ left as they are."""
        self.selector.eval()
        norms = torch.zeros(len(self.x), dtype=torch.float64)
        memory = self.learning[:0]
        # In an order of its own, so that two selectors of one seed are asked the same.
        generator = torch.Generator().manual_seed(self.settings.seed)
        for rows in self.mini_batches(torch.arange(len(self.x), device=self.x.device), generator):
            batch_norms = self._decide(*self.distances(rows, memory))
            memory = torch.cat([memory, rows[batch_norms >= THRESHOLD]])
            self._remember(rows, batch_norms)
            norms[rows.cpu()] = batch_norms.cpu().double()
        return norms

    def mini_batches(self, rows: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """Positions (G, B), every row once in random order; what is left over makes a smaller one at the end."""
        order = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
        size = self.settings.batch_size
        whole = len(rows) // size * size
        if whole:
            yield from torch.split(order[:whole].view(-1, size), self.settings.parallel)
        if whole < len(rows):
            yield order[None, whole:]

    def distances(self, rows: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Dn (G, B, B) and Do (G, B, M), divided by their mean in each mini-batch."""
        old = self.nearest(rows, memory)
        size = rows.shape[1]
        embedded = self.selector(self.x[torch.cat([rows, old], 1)])
        distances = torch.cdist(embedded[:, :size], embedded, compute_mode=DIFFERENCES)
        mean = distances.mean((1, 2), keepdim=True)
        # Embeddings have unit variance; what is left of equal rows is rounding, not distance.
        distances = distances * (mean > ROUNDING) / mean.clamp_min(ROUNDING)
        return distances[..., :size], distances[..., size:]

    @torch.no_grad()
    def nearest(self, rows: Tensor, memory: Tensor) -> Tensor:
        """Positions (G, M) of kept points: the nearest of every row, then every second nearest, and so on."""
        count = min(self.settings.nearest, len(memory))
        if not count:
            return memory.new_zeros(len(rows), 0)
        training = self.selector.training
        self.selector.eval()  # one space for all, whatever rows are at hand
        distances = torch.cdist(self.selector(self.x[rows]), self.selector(self.x[memory]), compute_mode=DIFFERENCES)
        self.selector.train(training)
        rank = distances.argsort(-1).argsort(-1)
        within = distances / (2 * distances.amax((1, 2), keepdim=True).clamp_min(1e-30))  # below 1: ranks come first
        return memory[(rank + within).amin(1).argsort(-1)[:, :count]]

    def _capacity(self, new: Tensor, old: Tensor) -> float:
        """fraction · B, but never less than the program needs to keep one point."""
        least = 1.0 if old.shape[-1] else 1.5  # alone, a capacity of 1 leaves no interior
        return max(self.settings.fraction * new.shape[-1], least)

    @torch.no_grad()
    def _decide(self, new: Tensor, old: Tensor) -> Tensor:
        """Column norms (G, B) of the program that decides."""
        capacity, size = self._capacity(new, old), new.shape[-1]
        at = torch.arange(1, size + 1, dtype=new.dtype, device=new.device)
        if self.settings.program == "smooth":
            tie_break, term, coefficient = TIE * at / size, self.settings.term, self.settings.coefficient
            norms = smooth(new + tie_break, old, capacity, term=term, coefficient=coefficient).scores
            # Where nothing is kept yet and all share the mass, the first of the largest stands for them.
            return norms if old.shape[-1] else norms.scatter(-1, norms.argmax(-1, keepdim=True), 1.0)
        if not old.shape[-1]:  # nothing to be far from: the first of a random order
            return (at <= capacity).to(new).expand(new.shape[:-1])
        return published(new, old, capacity).scores

    def _learn_selector(self, rows: Tensor, norms: Tensor, new: Tensor, old: Tensor) -> tuple[float, float]:
        """φ ← φ − lr_φ ∇CE_val(θ̂(φ)); the loss before, and the gradient's norm."""
        s = self.settings
        parameters = list(self.selector.parameters()) if s.program == "smooth" else []
        scores = norms.clone().requires_grad_()
        if s.program == "smooth":
            scores = smooth(new, old, self._capacity(new, old), term=s.term, coefficient=s.learn_coefficient).scores
        loss = self.validation_loss(rows.flatten(), scores.flatten())
        by_score, *gradients = torch.autograd.grad(loss, [scores, *parameters])
        self.derivative_sums[rows.cpu()] += by_score.cpu().double()
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(s.selector_learning_rate * gradient)
        squares = sum(float(gradient.square().sum()) for gradient in gradients)
        return float(loss.detach()), squares**0.5

    def validation_loss(self, rows: Tensor, scores: Tensor) -> Tensor:
        """CE_val(θ̂) of the step that the rows (m,) with their scores (m,) would make; mean over validating rows."""
        by_rows = self.settings.validate == "loo"
        validating = rows if by_rows else self.held_out
        similarity = self.z[validating] @ self.z[rows].T
        if by_rows:
            similarity = similarity.fill_diagonal_(0)
        moved = similarity @ (scores[:, None] * self.residuals(rows))
        return nn.functional.cross_entropy(
            self.z[validating] @ self.theta - self._rate(len(rows)) * moved, self.labels[validating]
        )

    def descent(self, rows: Tensor, scores: Tensor) -> Tensor:
        """lr Σ_j s_j ∇_θ CE_j (p + 1, k)."""
        return self._rate(len(rows)) * self.z[rows].T @ (scores[:, None] * self.residuals(rows))

    def residuals(self, rows: Tensor) -> Tensor:
        """p_j − y_j (m, k)."""
        return (self.z[rows] @ self.theta).softmax(1) - self.targets[rows]

    def _rate(self, count: int) -> float:
        """lr, divided by the number of mini-batches that step together."""
        return self.settings.learning_rate / max(1, round(count / self.settings.batch_size))

    def _remember(self, rows: Tensor, norms: Tensor) -> None:
        self.norm_sums[rows.cpu()] += norms.cpu().double()
        self.visits[rows.cpu()] += 1
