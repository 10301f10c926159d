"""A release as a torch data set, with the sampler that draws by its weights.

    images = Release(polars.read_parquet("data/release/train.parquet"), transform)
    loader = DataLoader(images, batch_size=64, sampler=images.sampler())

A sample of weight w is drawn w times as often as one of weight 1, so in expectation its loss counts w times.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, WeightedRandomSampler

from diva.vision.decoding import read_image


class Release(Dataset[tuple[Any, int]]):
    """Images of a release and the codes of their labels.

    Args:
        rows: anything with the columns path, label and weight: a polars or pandas frame, a dict of lists.
        transform: of an RGB image; None gives PIL images.
        classes: their order; None for the labels' own.

    Raises:
        ValueError: a column is missing, a label is none of the classes, or the rows are features without images.
    """

    def __init__(
        self, rows: Any, transform: Callable[[Any], Any] | None = None, classes: Sequence[str] | None = None
    ) -> None:
        try:
            self.paths, labels = [str(path) for path in rows["path"]], [str(label) for label in rows["label"]]
            self.weights = [float(weight) for weight in rows["weight"]]
        except Exception as error:  # each kind of frame has its own
            raise ValueError(f"rows must have the columns path, label and weight: {error}") from None
        self.transform, self.classes = transform, list(classes or sorted(set(labels)))
        codes = {label: code for code, label in enumerate(self.classes)}
        unknown = sorted(set(labels) - set(codes))
        if unknown:
            raise ValueError(f"classes must hold every label, got {', '.join(self.classes)}, without {unknown[0]!r}.")
        self.targets = [codes[label] for label in labels]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        image = read_image(self.paths[row])
        return (image if self.transform is None else self.transform(image)), self.targets[row]

    def sampler(self, draws: int | None = None, generator: torch.Generator | None = None) -> WeightedRandomSampler:
        """Draws with replacement, by weight; one pass is as long as the set unless ``draws`` says otherwise."""
        if not any(weight > 0 for weight in self.weights):
            raise ValueError("weights must be positive for some samples, got none.")
        return WeightedRandomSampler(self.weights, draws or len(self), replacement=True, generator=generator)
