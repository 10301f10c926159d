"""A release as a torch data set: with a sampler that draws by its weights, or as a stream over shards.

    images = Release(polars.read_parquet("data/release/train.parquet"), transform)
    loader = DataLoader(images, batch_size=64, sampler=images.sampler())
    loader = DataLoader(images.stream(), batch_size=64, num_workers=8)

A sample of weight w is drawn w times as often as one of weight 1, so in expectation its loss counts w times.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.utils.data import Dataset, IterableDataset, WeightedRandomSampler, get_worker_info

from diva.store.parts import part_of
from diva.vision.decoding import decode, read_bytes, read_image


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
        return self.sample(row, read_image(self.paths[row]))

    def sample(self, row: int, image: Any) -> tuple[Any, int]:
        """A row's image, transformed, and the code of its label."""
        return (image if self.transform is None else self.transform(image)), self.targets[row]

    def sampler(self, draws: int | None = None, generator: torch.Generator | None = None) -> WeightedRandomSampler:
        """Draws with replacement, by weight; one pass is as long as the set unless ``draws`` says otherwise."""
        self._require_weight()
        return WeightedRandomSampler(self.weights, draws or len(self), replacement=True, generator=generator)

    def stream(self, **settings: Any) -> "ReleaseStream":
        """The same samples as they lie in their shards; ``settings`` are those of `ReleaseStream`."""
        self._require_weight()
        return ReleaseStream(self, **settings)

    def _require_weight(self) -> None:
        if not any(weight > 0 for weight in self.weights):
            raise ValueError("weights must be positive for some samples, got none.")


class ReleaseStream(IterableDataset[tuple[Any, int]]):
    """A release read piece by piece in the order of its bytes, for shards that random access would make slow.

    Each pass yields a sample of weight w in expectation w / mean(weights) times. Pieces come in a random order, rows
    are mixed within a buffer, and each worker of each process reads pieces of its own.

    Args:
        images: the release.
        seed: of order and draws; the same in all processes.
        piece: rows that are read one after another.
        buffer: undecoded images in memory of each worker, among which the next one is drawn.
        rank: of this process; torch.distributed's unless given.
        ranks: how many processes share a pass; likewise.

    Raises:
        ValueError: ``piece`` or ``buffer`` is below 1, or ``rank`` is none of the ``ranks``.
    """

    def __init__(
        self,
        images: Release,
        *,
        seed: int = 0,
        piece: int = 256,
        buffer: int = 1000,
        rank: int | None = None,
        ranks: int | None = None,
    ) -> None:
        joined = distributed.is_available() and distributed.is_initialized()
        self.rank = rank if rank is not None else distributed.get_rank() if joined else 0
        self.ranks = ranks if ranks is not None else distributed.get_world_size() if joined else 1
        if min(piece, buffer) < 1:
            raise ValueError(f"piece and buffer must be at least 1, got {piece} and {buffer}.")
        if not 0 <= self.rank < self.ranks:
            raise ValueError(f"rank must be one of 0..{self.ranks - 1}, got {self.rank}.")
        self.images, self.seed, self.piece, self.buffer = images, seed, piece, buffer
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # persistent workers see it, too
        lies = [(part.file.as_posix(), part.start) if (part := part_of(path)) else (path, 0) for path in images.paths]
        self._order = np.array(sorted(range(len(lies)), key=lies.__getitem__))

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and the draws of the next pass, in every process alike."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        random = np.random.default_rng([self.seed, int(self._epoch)])
        weights = np.array(self.images.weights) / np.mean(self.images.weights)
        copies = np.floor(weights + random.random(len(weights))).astype(int)
        pieces = [self._order[i : i + self.piece] for i in range(0, len(self._order), self.piece)]
        order = random.permutation(len(pieces))
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        share = order[self.rank + number * self.ranks :: self.ranks * workers]
        mixing = np.random.default_rng([self.seed, int(self._epoch), self.rank, number])
        for row, content in self._mixed((row for i in share for row in pieces[i]), copies, mixing):
            yield self.images.sample(row, decode(content))

    def _mixed(
        self, rows: Iterator[int], copies: np.ndarray, random: np.random.Generator
    ) -> Iterator[tuple[int, bytes]]:
        """Rows, as often as each is drawn, with the bytes of their images."""
        waiting: list[tuple[int, bytes]] = []
        for row in rows:
            content = read_bytes(self.images.paths[row]) if copies[row] else b""
            for _ in range(copies[row]):
                waiting.append((row, content))
                if len(waiting) > self.buffer:
                    yield waiting.pop(random.integers(len(waiting)))
        random.shuffle(waiting)
        yield from waiting
