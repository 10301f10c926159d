"""Evidence for a label called wrong: the trusted core images nearest to it, of the given class and of the suggested.

    cos(i, j) = ⟨x_i − μ, x_j − μ⟩ / (‖x_i − μ‖ ‖x_j − μ‖),    j in the core, μ its mean, no label of j called wrong

Exact, chunk by chunk: memory is a chunk (m, p), the asked rows (e, p) and ``nearest`` candidates for each of them.
numpy alone: the report starts without torch.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from diva.curation import neighbours
from diva.text.progress import rows_of, track

CHUNK = 4096
Array = npt.NDArray[Any]


class Neighbour(NamedTuple):
    """A core image that lies near, and how near."""

    sample_id: str
    cosine: float


class Evidence(NamedTuple):
    """Nearest first: images that bear the given label, and images that bear the suggested one."""

    given: tuple[Neighbour, ...]
    suggested: tuple[Neighbour, ...]


def nearest_images(asked: pl.DataFrame, core: pl.DataFrame, nearest: int = 3) -> dict[str, Evidence]:
    """By sample.

    Args:
        asked: sample_id, features, row, given_label, suggested_label.
        core: trusted ones: sample_id, features, row, label.
        nearest: images of each class, at most.
    """
    if asked.is_empty() or core.is_empty():
        return {}
    mean = neighbours.mean(neighbours.feature_rows(core))
    queries = np.concatenate([part for _, part in neighbours.directions(neighbours.feature_rows(asked), mean, CHUNK)])
    sides = {name: Nearest(queries, asked[name].to_list(), nearest) for name in ("given_label", "suggested_label")}
    own = asked["sample_id"].to_list()
    for rows, part in track(
        neighbours.directions(neighbours.feature_rows(core), mean, CHUNK), len(core), "core images", rows_of
    ):
        for side in sides.values():
            side.see(part, core["label"][rows].to_list(), core["sample_id"][rows].to_list(), own)
    given, suggested = (side.neighbours() for side in sides.values())
    return {name: Evidence(*pair) for name, *pair in zip(own, given, suggested, strict=True)}


class Nearest:
    """The rows seen so far that are nearest to each query, among those of the class it asks for.

    Args:
        queries: (e, p) of unit length.
        classes: the class that each query asks for; None for none.
        nearest: how many are kept.
    """

    def __init__(self, queries: Array, classes: Sequence[str | None], nearest: int) -> None:
        self.queries = queries
        self.asking: dict[str, list[int]] = {}
        for query, name in enumerate(classes):
            if name is not None:
                self.asking.setdefault(name, []).append(query)
        self.cosine = np.full((len(queries), nearest), -np.inf, np.float32)
        self.name = np.full((len(queries), nearest), "", dtype=object)

    def see(self, rows: Array, labels: Sequence[str], names: Sequence[str], own: Sequence[str]) -> None:
        """Compare with more rows; no row is near itself."""
        by_class: dict[str, list[int]] = {}
        for index, label in enumerate(labels):
            by_class.setdefault(label, []).append(index)
        for label in by_class.keys() & self.asking.keys():
            asking, here = self.asking[label], by_class[label]
            cosine = self.queries[asking] @ rows[here].T
            there = np.array([names[index] for index in here], dtype=object)
            cosine[np.array([own[index] for index in asking], dtype=object)[:, None] == there[None, :]] = -np.inf
            self._merge(asking, cosine, there)

    def _merge(self, asking: list[int], cosine: Array, names: Array) -> None:
        most = self.cosine.shape[1]
        both = np.concatenate([self.cosine[asking], cosine], axis=1)
        candidates = np.concatenate([self.name[asking], np.broadcast_to(names, cosine.shape)], axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, :most]
        self.cosine[asking] = np.take_along_axis(both, order, axis=1)
        self.name[asking] = np.take_along_axis(candidates, order, axis=1)

    def neighbours(self) -> list[tuple[Neighbour, ...]]:
        """Of each query, nearest first."""
        return [
            tuple(Neighbour(name, float(value)) for name, value in zip(row, values, strict=True) if value > -np.inf)
            for row, values in zip(self.name, self.cosine, strict=True)
        ]
