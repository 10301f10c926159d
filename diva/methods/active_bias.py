"""Active Bias by threshold closeness: weigh samples the model has been undecided about.

    p̄_i = mean over past visits of the probability of the given label;   w_i ∝ p̄_i (1 − p̄_i) + ε,
    ε = mean_i p̄_i (1 − p̄_i),   the weights having mean 1

A softmax regression is trained by mini-batches; after ``burn_in`` epochs of equal weights its loss is weighted (the
paper's SGD-WTC). Value = the weight at the end: high where p̄ is near ½. Confident and hopeless samples both get a low
one, so it is no suspicion.

Reference: Chang, Learned-Miller, McCallum, Active Bias: Training More Accurate Neural Networks by Emphasizing High
Variance Samples, NeurIPS 2017. It is a baseline of the DIVA paper's Table 1.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from diva.methods.inputs import Labelled
from diva.methods.softmax import check, errors, minibatches, rows
from diva.text.progress import track


def active_bias(
    data: Labelled, *, epochs: int = 20, burn_in: int = 5, batch_size: int = 32, lr: float = 1.0, seed: int = 0
) -> Tensor:
    """Weight (n,) float64 of every sample at the end of training, mean 1; high = take first."""
    history, _ = train(data, data, epochs, burn_in, batch_size, lr, seed)
    return closeness_weights(history).double().cpu()


def order(
    core: Labelled,
    pool: Labelled,
    *,
    epochs: int = 20,
    burn_in: int = 5,
    batch_size: int = 32,
    lr: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Pool positions, nearest to the threshold while the core was trained on first."""
    _, history = train(core, pool, epochs, burn_in, batch_size, lr, seed)
    return (-closeness_weights(history)).argsort(stable=True).cpu()


def train(
    data: Labelled, watched: Labelled, epochs: int, burn_in: int, batch_size: int, lr: float, seed: int
) -> tuple[Tensor, Tensor]:
    """p̄ (n,) of the trained samples over their visits, and p̄ of the watched ones over the ends of epochs."""
    *_, (history, seen, _) = after_epochs(data, watched, epochs, burn_in, batch_size, lr, seed)
    return history, seen


def after_epochs(
    data: Labelled, watched: Labelled, epochs: int, burn_in: int, batch_size: int, lr: float, seed: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What `train` returns, and the head (p + 1, k), after each epoch; the tensors that training goes on with."""
    data.require_classes(2)
    check(epochs, batch_size, lr)
    if not 0 <= burn_in <= epochs:
        raise ValueError(f"burn_in must lie in 0..{epochs} (the epochs), got {burn_in}.")
    z, others = rows(data.features, data.features), rows(watched.features, data.features)
    head = z.new_zeros(z.shape[1], data.classes)
    history, seen = z.new_zeros(len(z)), z.new_zeros(len(others))
    weights = torch.ones_like(history)
    generator = torch.Generator().manual_seed(seed)
    for epoch in track(range(epochs), epochs, "epochs"):
        if epoch >= max(burn_in, 1):
            weights = closeness_weights(history)
        visited = torch.zeros_like(history)
        for batch in minibatches(len(z), batch_size, generator):
            own = batch.to(z.device)
            difference = errors(z[own], data.labels[own], head)
            visited[own] = 1 + difference.gather(1, data.labels[own, None])[:, 0]  # p_y − 1, plus 1
            head -= lr / len(own) * z[own].T @ (weights[own, None] * difference)
        history += (visited - history) / (epoch + 1)
        seen += (1 + errors(others, watched.labels, head).gather(1, watched.labels[:, None])[:, 0] - seen) / (epoch + 1)
        yield history, seen, head


def closeness_weights(history: Tensor) -> Tensor:
    """The weights w ∝ p̄(1 − p̄) + ε (n,), mean 1; all 1 where every sample is decided."""
    closeness = history * (1 - history)
    smooth = closeness + closeness.mean()
    return smooth / smooth.mean() if smooth.mean() > 0 else torch.ones_like(smooth)
