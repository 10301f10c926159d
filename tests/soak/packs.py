"""Features for sixty nights: a core, a test set and small deliveries, cut from a pack of real ones.

A delivery holds what real ones do: samples that came before, samples of the test set, classes that the core lacks, rows
that are not finite. Some are no use as a whole: cut short, of another width, or delivered before.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "features" / "flowers102_mobilenetv2.npz"
CLASSES = 12  # of the core; the pack's next class is one that it lacks
CORE, TEST = 120, 60
BATCH = 14  # fresh samples of a delivery
REFUSED = {7: "cut short", 12: "of another width", 17: "delivered before"}  # by the night, in each twenty


class Pack(NamedTuple):
    """Features (n, p) with a class for each, in a seeded order."""

    name: str
    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.str_]


def pack(width: int = 128) -> Pack:
    """Flowers-102 by MobileNetV2 where it lies beside the project (its first columns), else scikit-learn's digits."""
    if SHARED.is_file():
        with np.load(SHARED, allow_pickle=False) as file:
            features = np.concatenate([file["x_train"], file["x_test"]])[:, :width].astype(np.float32)
            names = file["class_name"][np.concatenate([file["y_train"], file["y_test"]])]
        name, classes = "Flowers-102, MobileNetV2", _most_frequent(names, CLASSES + 4)
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        features, names = digits.data.astype(np.float32), digits.target.astype(str)
        name, classes = "scikit-learn's digits", np.unique(names)
    known = np.flatnonzero(np.isin(names, classes))
    order = np.random.default_rng(0).permutation(known)
    return Pack(name, features[order], names[order])


def _most_frequent(names: npt.NDArray[np.str_], count: int) -> npt.NDArray[np.str_]:
    found, counts = np.unique(names, return_counts=True)
    return found[np.argsort(-counts, kind="stable")[:count]]


class Deliveries:
    """Writes what a project is delivered, night by night.

    Args:
        source: pack of features.
        root: of the project.
    """

    def __init__(self, source: Pack, root: Path) -> None:
        self.source, self.root = source, root
        classes = _most_frequent(source.labels, len(np.unique(source.labels)))
        known = np.isin(source.labels, classes[: min(CLASSES, len(classes) - 1)])
        rows, self.foreign = np.flatnonzero(known), np.flatnonzero(~known)
        self.core, self.test, self.fresh = rows[:CORE], rows[CORE : CORE + TEST], rows[CORE + TEST :]
        (root / "packs").mkdir()
        (root / "deliveries").mkdir()
        self._write(root / "packs" / "core.npz", *self._of(self.core))
        self._write(root / "packs" / "test.npz", *self._of(self.test))

    def _of(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.str_]]:
        """Features and labels; what is asked for again after all of the pack is used lies a little elsewhere."""
        lap = rows // len(self.source.features)
        rows = rows % len(self.source.features)
        return self.source.features[rows] + np.float32(1e-3) * lap[:, None].astype(np.float32), self.source.labels[rows]

    def _write(self, path: Path, features: npt.NDArray[np.float32], labels: npt.NDArray[np.str_]) -> None:
        np.savez(path, features=features, labels=labels)

    def deliver(self, night: int) -> str:
        """Tonight's delivery, complete, and one that is no use; in words."""
        features, labels = self.batch(night)
        self._put(f"night-{night:03d}.npz", features, labels)
        told = f"{len(features)} rows"
        kind = REFUSED.get(night % 20)
        if kind:
            self._refused(kind, night, features, labels)
            told += f"; one {kind}"
        return told

    def batch(self, night: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.str_]]:
        """Fresh samples, and by turns repeated ones, test images, a class that the core lacks, a row not finite."""
        start = (night - 1) * BATCH
        places = np.arange(start, start + BATCH)
        rows = [self.fresh[places % len(self.fresh)] + places // len(self.fresh) * len(self.source.features)]
        if night % 2 == 0:
            rows.append(self.test[[night % TEST, (night + 7) % TEST]])
        if night % 3 == 0:
            rows += [self.core[[night % CORE]], rows[0][:2]]
        if night % 4 == 0:
            rows.append(self.foreign[[night % len(self.foreign)]])
        features, labels = self._of(np.concatenate(rows))
        if night % 5 == 0:
            features[3, 5] = np.nan
        return features, labels

    def _refused(self, kind: str, night: int, features: npt.NDArray[np.float32], labels: npt.NDArray[np.str_]) -> None:
        name = f"night-{night:03d}-x.npz"
        if kind == "of another width":
            self._put(name, features[:, :-1] + 1, labels)
            return
        whole = (self.root / "deliveries" / f"night-{max(night - 1, 1):03d}.npz").read_bytes()
        (self.root / "deliveries" / name).write_bytes(whole if kind == "delivered before" else whole[: len(whole) // 2])
        (self.root / "deliveries" / f"{name}.complete").touch()

    def _put(self, name: str, features: npt.NDArray[np.float32], labels: npt.NDArray[np.str_]) -> None:
        self._write(self.root / "deliveries" / name, features, labels)
        (self.root / "deliveries" / f"{name}.complete").touch()  # last
