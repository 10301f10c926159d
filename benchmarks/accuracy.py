"""Does it help? Reweight, Extend and Detect on a pack of features, by the test error of the same linear head.

    python -m benchmarks.accuracy --features FILE.npz [--splits 10] [--quick] [--out FILE.json]

FILE.npz holds x_train (n, p), y_train, x_test, y_test. All errors in percent. λ is chosen by leave-one-out error on the
core from {.01, .03, .1, .3, 1, 3} and kept; wrong labels are uniform over the other classes; the core of a split is
half of each class. Gains over a uniform choice are paired: same split, same size, same test set.
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from benchmarks.machine import description
from diva.curation.detect import detect
from diva.curation.evaluation import train
from diva.curation.extend import extend
from diva.curation.reweight import reweight
from diva.numerics.chunks import Chunks, InMemory
from diva.numerics.grid import choose_ridge
from diva.numerics.normalize import Prepared
from diva.numerics.precision import fit_ridge

RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Pack:
    """Training and test rows; labels are codes 0..classes−1."""

    x: np.ndarray
    y: np.ndarray
    test: Chunks
    classes: int

    def rows(self, index: np.ndarray, labels: np.ndarray) -> Prepared:
        """Training rows under given labels."""
        return Prepared(InMemory(self.x[index], labels))

    def error(self, rows: Chunks, ridge: float, weights: torch.Tensor | None = None) -> float:
        """Test error in percent of the head trained on ``rows``."""
        correct = train(rows, self.classes, ridge, weights).correct(self.test)
        return 100 * float((~correct).double().mean())


def load(path: Path) -> Pack:
    """The pack at ``path``."""
    with np.load(path, allow_pickle=False) as file:
        return from_arrays(file)


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Pack:
    """A pack of x_train, y_train, x_test and y_test; test rows of classes that no training row has are left out."""
    classes, y = np.unique(arrays["y_train"], return_inverse=True)
    known = np.isin(arrays["y_test"], classes)
    test = InMemory(arrays["x_test"][known], np.searchsorted(classes, arrays["y_test"][known]))
    return Pack(arrays["x_train"], y, Prepared(test), len(classes))


def wrong_labels(labels: np.ndarray, classes: int, share: float, seed: int) -> np.ndarray:
    """Labels of which a share is changed, uniformly over the other classes."""
    rng = np.random.default_rng(seed)
    changed = rng.permutation(len(labels))[: round(share * len(labels))]
    noisy = labels.copy()
    noisy[changed] = (labels[changed] + rng.integers(1, classes, len(changed))) % classes
    return noisy


def split(pack: Pack, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of core and pool: the first half of a permutation of each class, and the rest."""
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(np.flatnonzero(pack.y == c)) for c in range(pack.classes)]
    return (
        np.concatenate([order[: len(order) // 2] for order in orders]),
        np.concatenate([order[len(order) // 2 :] for order in orders]),
    )


def extend_gains(pack: Pack, loss: str, share: float, splits: int) -> dict[str, Any]:
    """Gain of Extend over a uniform choice of the same size, at half of the pool or where it stopped earlier."""
    gains, errors, sizes, cores, everythings = [], [], [], [], []
    for seed in range(splits):
        core, pool = split(pack, seed)
        labels = wrong_labels(pack.y[pool], pack.classes, share, 1000 + seed)
        core_rows = pack.rows(core, pack.y[core])
        ridge = choose_ridge(core_rows, pack.classes, RIDGES).ridge
        chosen = extend(
            fit_ridge(core_rows, pack.classes, ridge), pack.rows(pool, labels), loss=loss, budget=len(pool) // 2
        ).index.numpy()
        drawn = np.random.default_rng(2000 + seed).permutation(len(pool))[: len(chosen)]
        by = [pack.error(union(pack, core, pool, labels, some), ridge) for some in (chosen, drawn)]
        everythings.append(pack.error(union(pack, core, pool, labels, np.arange(len(pool))), ridge))
        cores.append(pack.error(core_rows, ridge))
        errors.append(by[0])
        gains.append(by[1] - by[0])
        sizes.append(len(chosen))
    return {
        "gain": statistics.mean(gains),
        "spread": statistics.stdev(gains) if splits > 1 else 0.0,
        "core": statistics.mean(cores),
        "extended": statistics.mean(errors),
        "everything": statistics.mean(everythings),
        "added": statistics.mean(sizes),
        "splits": splits,
    }


def union(pack: Pack, core: np.ndarray, pool: np.ndarray, labels: np.ndarray, some: np.ndarray) -> Prepared:
    """Core and chosen rows of the pool."""
    return pack.rows(np.r_[core, pool[some]], np.r_[pack.y[core], labels[some]])


def reweight_gains(pack: Pack, loss: str, share: float, draws: int, steps: int | str = 3) -> dict[str, Any]:
    """Test error before and after Reweight."""
    before, after, each = [], [], np.arange(len(pack.y))
    for seed in range(draws if share else 1):
        rows = pack.rows(each, wrong_labels(pack.y, pack.classes, share, seed))
        ridge = choose_ridge(rows, pack.classes, RIDGES).ridge
        before.append(pack.error(rows, ridge))
        weights = reweight(fit_ridge(rows, pack.classes, ridge), loss=loss, steps=steps).weights
        after.append(pack.error(rows, ridge, weights))
    gains = [b - a for b, a in zip(before, after, strict=True)]
    spread = statistics.stdev(gains) if len(gains) > 1 else 0.0
    means = {"before": statistics.mean(before), "after": statistics.mean(after), "gain": statistics.mean(gains)}
    return {**means, "spread": spread, "draws": len(gains)}


def detection(pack: Pack, share: float, draws: int, score: str = "soft") -> dict[str, Any]:
    """AUROC, average precision and F1 of the default flags; the share flagged."""
    found, each = [], np.arange(len(pack.y))
    for seed in range(draws if share else 1):
        labels = wrong_labels(pack.y, pack.classes, share, seed)
        rows, wrong = pack.rows(each, labels), labels != pack.y
        start = time.perf_counter()
        said = detect(fit_ridge(rows, pack.classes, choose_ridge(rows, pack.classes, RIDGES).ridge), score=score)
        row = {"seconds": time.perf_counter() - start, "flagged": float(said.flagged.double().mean())}
        if share:
            row["auroc"] = roc_auc_score(wrong, said.score)
            row["average_precision"] = average_precision_score(wrong, said.score)
            row["f1"] = f1_score(wrong, said.flagged)
        found.append(row)
    return {name: statistics.mean(row[name] for row in found) for name in found[0]} | {"draws": len(found)}


def measure(pack: Pack, splits: int) -> dict[str, Any]:
    """Every figure."""
    return {
        "extend": {
            f"{loss}, {share:.0%} wrong": extend_gains(pack, loss, share, splits)
            for loss, share in (("hard_margin", 0.0), ("calibrated", 0.0), ("calibrated", 0.3))
        },
        "reweight": {
            f"{loss} {steps}, {share:.0%} wrong": reweight_gains(pack, loss, share, splits, steps)
            for loss, steps in (("hard_margin", 3), ("calibrated", 3), ("calibrated", "auto"), ("all", 3))
            for share in (0.0, 0.2)
        },
        "detect": {
            f"{score}, {share:.0%} wrong": detection(pack, share, splits, score)
            for score in ("soft", "margin", "derivative")
            for share in (0.0, 0.2)
        },
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="two splits")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    splits = 2 if options.quick else options.splits
    result = {"pack": options.features.stem, "machine": description(), **measure(load(options.features), splits)}
    for task in ("extend", "reweight", "detect"):
        for name, row in result[task].items():
            print(f"{task:9}{name:26}" + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
