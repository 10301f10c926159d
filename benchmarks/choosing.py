"""What does it cost to choose from a pool, and what is the choice worth? Extend beside margin sampling, in one run.

    python -m benchmarks.choosing --features FILE.npz [--splits 5] [--quick] [--out FILE.json]

Half of the pool is chosen, by tenths of it or at once; the core of a split is half of each class. Margin sampling takes
what logistic regression on all that is chosen so far can least tell. Errors in percent, of the ridge head that core and
choice train, at the λ of the core; processor seconds are those of the choice, a fit of the core included.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from benchmarks.accuracy import RIDGES, Pack, load, split, union, wrong_labels
from benchmarks.machine import description, publish
from diva.curation.additions import RoundSettings
from diva.curation.extend import extend
from diva.numerics.grid import choose_ridge
from diva.numerics.normalize import unit

PENALTY = 10.0  # C of the logistic regression
Choose = Callable[[Pack, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def by_derivative(rounds: int) -> Choose:
    """Extend's rule, in so many rounds; it stops where no candidate is left."""

    def choose(pack: Pack, core: np.ndarray, pool: np.ndarray, labels: np.ndarray) -> np.ndarray:
        most = len(pool) // 2
        fitted = choose_ridge(pack.rows(core, pack.y[core]), pack.classes, RIDGES).fit()
        settings = RoundSettings(per_round=-(-most // rounds))
        return extend(fitted, pack.rows(pool, labels), budget=most, settings=settings).index.numpy()

    return choose


def by_margin(rounds: int) -> Choose:
    """The least margins of logistic regression, trained anew in each of so many rounds."""

    def choose(pack: Pack, core: np.ndarray, pool: np.ndarray, labels: np.ndarray) -> np.ndarray:
        most, chosen = len(pool) // 2, np.zeros(0, np.int64)
        x = unit(torch.from_numpy(pack.x)).numpy()
        while len(chosen) < most:
            rest = np.setdiff1d(np.arange(len(pool)), chosen)
            model = LogisticRegression(C=PENALTY, max_iter=1000)
            model.fit(x[np.r_[core, pool[chosen]]], np.r_[pack.y[core], labels[chosen]])
            top = np.sort(model.predict_proba(x[pool[rest]]), 1)
            order = np.argsort(top[:, -1] - top[:, -2], kind="stable")
            chosen = np.r_[chosen, rest[order[: min(-(-most // rounds), most - len(chosen))]]]
        return chosen

    return choose


CHOICES = {
    "extend, tenths": by_derivative(5),
    "extend, at once": by_derivative(1),
    "margin, tenths": by_margin(5),
    "margin, at once": by_margin(1),
}


def compare(pack: Pack, share: float, splits: int) -> dict[str, dict[str, float]]:
    """Means over splits, of a pool of which a share is labelled wrongly."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in (*CHOICES, "uniform")}
    for seed in range(splits):
        core, pool = split(pack, seed)
        labels = wrong_labels(pack.y[pool], pack.classes, share, 1000 + seed)
        ridge = choose_ridge(pack.rows(core, pack.y[core]), pack.classes, RIDGES).ridge
        for name, choose in CHOICES.items():
            begun = time.process_time()
            chosen = choose(pack, core, pool, labels)
            used = time.process_time() - begun
            error = pack.error(union(pack, core, pool, labels, chosen), ridge)
            wrong = float((labels[chosen] != pack.y[pool[chosen]]).mean())
            rows[name].append({"error": error, "cpu": used, "added": len(chosen), "wrong": wrong})
        drawn = np.random.default_rng(2000 + seed).permutation(len(pool))[: len(pool) // 2]
        error = pack.error(union(pack, core, pool, labels, drawn), ridge)
        rows["uniform"].append({"error": error, "cpu": 0.0, "added": len(drawn), "wrong": share})
    return {name: {key: statistics.mean(row[key] for row in some) for key in some[0]} for name, some in rows.items()}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two splits")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    pack, splits = load(options.features), 2 if options.quick else options.splits
    by_margin(1)(pack, *split(pack, 0), pack.y[split(pack, 0)[1]])  # libraries are loaded before anything is timed
    found: dict[str, Any] = {f"{share:.0%} wrong": compare(pack, share, splits) for share in (0.0, 0.3)}
    publish({"pack": options.features.stem, "machine": description(), "splits": splits, **found}, options.out)


if __name__ == "__main__":
    main()
