"""Learning to reweight: weights by whether a sample's gradient agrees with that of trusted samples.

    w_i = max(0, −∂L_v(θ − lr Σ_i ε_i ∇ℓ_i)/∂ε_i at ε = 0) / Σ = max(0, ⟨∇ℓ_i, ∇L_v⟩) / Σ,    θ ← θ − lr Σ_i w_i ∇ℓ_i

per mini-batch, with a mini-batch of trusted samples in L_v. For a softmax regression the inner product is
z_iᵀ G_v (p_i − y_i), G_v = ∇L_v: no second differentiation. A sample's score is its mean weight over the epochs,
relative to 1/m in a batch of m.

Where no trusted set is given, each fold of the data (a fifth, as in the DIVA paper's Table 1) is the trusted set of the
others once. High = agrees with the rest; low = suspicious.

Reference: Ren, Zeng, Yang, Urtasun, Learning to Reweight Examples for Robust Deep Learning, ICML 2018, Eq. 12 and
Algorithm 1.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from diva.methods.inputs import Labelled
from diva.methods.softmax import check, errors, minibatches, rows
from diva.methods.uniform import permutation
from diva.text.progress import track


def learning_to_reweight(
    data: Labelled, *, folds: int = 5, epochs: int = 5, batch_size: int = 256, lr: float = 0.1, seed: int = 0
) -> Tensor:
    """Mean weight (n,) float64 of every sample, 1 on average at most; high = valuable.

    Raises:
        ValueError: on fewer than two classes, or unless 2 ≤ ``folds`` ≤ n.
    """
    data.require_classes(2)
    if not 2 <= folds <= len(data):
        raise ValueError(f"folds must lie in 2..{len(data)} (the samples), got {folds}.")
    total = torch.zeros(len(data), dtype=torch.float64)
    for i, trusted in enumerate(track(permutation(len(data), seed).chunk(folds), folds, "folds")):
        train = torch.ones(len(data), dtype=torch.bool)
        train[trusted] = False
        rest = train.nonzero()[:, 0]
        total[rest] += mean_weights(data.at(rest), data.at(trusted), epochs, batch_size, lr, seed + i)
    return total / (folds - 1)


def order(
    core: Labelled, pool: Labelled, *, epochs: int = 5, batch_size: int = 256, lr: float = 0.1, seed: int = 0
) -> Tensor:
    """Pool positions, highest mean weight with the core as trusted set first."""
    return (-mean_weights(pool, core, epochs, batch_size, lr, seed)).argsort(stable=True)


def mean_weights(data: Labelled, trusted: Labelled, epochs: int, batch_size: int, lr: float, seed: int) -> Tensor:
    """Mean over the epochs of m·w (n,), float64 on the CPU."""
    *_, (total, _) = after_epochs(data, trusted, epochs, batch_size, lr, seed)
    return (total / epochs).cpu()


def after_epochs(
    data: Labelled, trusted: Labelled, epochs: int, batch_size: int, lr: float, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sums of m·w (n,) and the head (p + 1, k) after each epoch; the tensors that training goes on with."""
    check(epochs, batch_size, lr)
    z, checks = rows(data.features, data.features), rows(trusted.features, data.features)
    head = z.new_zeros(z.shape[1], data.classes)
    total = torch.zeros(len(data), dtype=torch.float64, device=z.device)
    generator = torch.Generator().manual_seed(seed)
    for _ in track(range(epochs), epochs, "epochs"):
        for batch in minibatches(len(data), batch_size, generator):
            own = batch.to(z.device)
            drawn = torch.randint(len(checks), (min(batch_size, len(checks)),), generator=generator).to(z.device)
            difference = errors(z[own], data.labels[own], head)
            trusted_difference = errors(checks[drawn], trusted.labels[drawn], head)
            w = weights(z[own], difference, checks[drawn], trusted_difference)
            head -= lr * z[own].T @ (w[:, None] * difference)
            total[own] += len(own) * w.double()
        yield total, head


def weights(z: Tensor, difference: Tensor, checks: Tensor, trusted_difference: Tensor) -> Tensor:
    """Weights w (m,): non-negative, sum 1, or all 0 where no gradient agrees.

    Args:
        z: (m, p) rows of the batch.
        difference: p − y (m, k) of the batch.
        checks: trusted rows.
        trusted_difference: p − y of the trusted rows.
    """
    gradient = checks.T @ trusted_difference / len(checks)
    agreement = ((z @ gradient) * difference).sum(1).clamp_min(0)
    total = agreement.sum()
    return agreement / total if total > 0 else agreement
