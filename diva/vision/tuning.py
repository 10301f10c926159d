"""A network fine-tuned on images: all layers of a backbone, and a linear classifier of its features.

    minimise Σ_i w_i CE(Vᵀ φ(x_i), y_i) / Σ_i w_i    over V and φ, by AdamW in batches

The learning rates (of φ a tenth of V's) fall to zero by a cosine. Normalisation layers keep the statistics that the
backbone brought. One seed gives one network on a CPU.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from diva.numerics import device as devices
from diva.text.progress import track
from diva.vision.backbone import Backbone
from diva.vision.release import Release
from diva.vision.transforms import Transform

Images = Dataset[tuple[Any, int]]  # image tensors (3, h, w) and codes


@dataclass(frozen=True)
class Tuning:
    """How a network is fine-tuned: passes over the images, V's learning rate, images in a batch, seed, device."""

    epochs: int
    learning_rate: float = 1e-3
    batch_size: int = 32
    seed: int = 0
    device: str = "auto"


def finetune(backbone: Backbone, images: Images, weights: Sequence[float], classes: int, tuning: Tuning) -> nn.Module:
    """The network, in evaluation mode, after training; ``backbone`` itself is left as it is.

    Args:
        backbone: where training starts.
        images: n images with codes below ``classes``.
        weights: (n,), at least 0; images of weight 0 do not train.
        classes: k.
        tuning: how.

    Raises:
        ValueError: no weight is positive.
    """
    used = [row for row, weight in enumerate(weights) if weight > 0]
    if not used:
        raise ValueError("weights must be positive for some samples, got none.")
    where, generator = devices.resolve(tuning.device), torch.Generator().manual_seed(tuning.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(tuning.seed)
        classifier = nn.Linear(backbone.width, classes)
    body = deepcopy(backbone).requires_grad_(True)
    network = nn.Sequential(body, classifier).to(where).eval()
    rates = [(body, tuning.learning_rate / 10), (classifier, tuning.learning_rate)]
    optimiser = torch.optim.AdamW([{"params": part.parameters(), "lr": rate} for part, rate in rates])
    rows = Weighted(images, used, weights)
    batches = DataLoader(rows, tuning.batch_size, shuffle=True, generator=generator)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, tuning.epochs * len(batches)))
    for _ in track(range(tuning.epochs), tuning.epochs, "epochs"):
        for pixels, codes, alpha in batches:
            loss = nn.functional.cross_entropy(network(pixels.to(where)), codes.to(where), reduction="none")
            optimiser.zero_grad()
            ((loss * alpha.to(loss)).sum() / len(codes)).backward()
            optimiser.step()
            schedule.step()
    return network


class Weighted(Dataset[tuple[Tensor, int, float]]):
    """Some of the images, with their weights of mean 1."""

    def __init__(self, images: Images, rows: Sequence[int], weights: Sequence[float]) -> None:
        self.images, self.rows = images, rows
        mean = sum(weights[row] for row in rows) / len(rows)
        self.weights = [weights[row] / mean for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> tuple[Tensor, int, float]:
        image, code = self.images[self.rows[position]]
        return image, code, self.weights[position]


def judge(backbone: Backbone, transform: Transform, tuning: Tuning) -> Callable[..., Any]:
    """What fine-tunes on rows (path, label, weight) and says, of each test row (path, label), whether it errs (m,)."""

    def errors(rows: Any, tests: Any, classes: Sequence[str]) -> Any:
        images = Release(rows, transform, classes)
        tuned = finetune(backbone, images, images.weights, len(classes), tuning)
        equal = {"path": tests["path"], "label": tests["label"], "weight": [1.0] * len(tests["path"])}
        return misclassified(tuned, Release(equal, transform, classes), tuning.batch_size).double().numpy()

    return errors


def misclassified(network: nn.Module, images: Images, batch_size: int = 32) -> Tensor:
    """Which images (n,) a network takes for another class than theirs."""
    where = next(network.parameters()).device
    with torch.inference_mode():
        parts = [network(pixels.to(where)).argmax(1).cpu() != codes for pixels, codes in DataLoader(images, batch_size)]
    return torch.cat(parts)
