"""HOST-CP: what its sets are worth, whether its selector learns, whether it finds wrong labels.

    python -m benchmarks.host_cp --features digits|clusters|FILE.npz [--seeds 5] [--out FILE.json] [--quick]

- value: test accuracy of ridge regression (λ by leave-one-out) trained on the chosen share alone, beside uniform,
  k-centre, CG-score and DIVA; mean and standard deviation over seeds, which draw clusters or split, selector and order;
- selector: the same set with φ as it starts, and the difference that learning makes, paired by seed;
- detection: share of planted wrong labels among the rows inspected; for HOST-CP the least chosen come first, or those
  with the highest derivative of the validation loss by their score, which is what its selector learns from.

`clusters` is synthetic: 10 classes of 2 clusters each, of very different sizes. With --out a PNG is drawn beside the
JSON where matplotlib is installed.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and BLAS are loaded

import argparse
import importlib.util
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import recall_score
from torch import Tensor

from benchmarks.machine import description
from benchmarks.problems import Array, Problem, digits, load, problem
from diva.curation.evaluation import train_by_leave_one_out
from diva.methods.host_cp import Settings, ValuedSubset, host_cp
from diva.methods.registry import compute, order
from diva.numerics.chunks import InMemory
from diva.numerics.normalize import Prepared

RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
FRACTIONS = (0.05, 0.1, 0.2)
NOISE = 0.2
PROGRAMS = {
    "host_cp": {},
    "host_cp, loo": {"validate": "loo"},
    "host_cp, untrained": {"epochs": 0},
    "host_cp, published": {"program": "published"},
}
DERIVATIVE = "host_cp, loo, derivative by score"
DETECTORS = (*PROGRAMS, DERIVATIVE, "cg_score", "soft")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", default="digits", help="FILE.npz, digits or clusters")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="one seed, 400 rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = values(options.features, *((1, 400) if options.quick else (options.seeds, None)))
    print(render(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        if importlib.util.find_spec("matplotlib"):
            draw(result, options.out.with_suffix(".png"))


def values(features: str, seeds: int, rows: int | None) -> dict[str, Any]:
    """Value, selector and detection on one data set."""
    fractions = (0.025, *FRACTIONS) if features == "clusters" else FRACTIONS
    draw = {"clusters": clusters, "digits": digits}.get(features, lambda _: load(features))
    clean, noisy = ([problem(draw(seed), noise, seed, rows) for seed in range(seeds)] for noise in (0.0, NOISE))
    accuracies, selector = value(clean, fractions)
    return {
        "pack": Path(features).stem,
        "samples": len(clean[0].y),
        "seeds": seeds,
        "machine": description(),
        "value": accuracies,
        "selector": selector,
        "detection": detection(noisy),
    }


def clusters(seed: int) -> dict[str, Array]:
    """1,000 training and 1,000 test rows in 16 dimensions: 20 clusters, of 2 each class, of 6 to 160 training rows."""
    rng = np.random.default_rng(seed)
    share = np.geomspace(1, 25, 20)
    centres = rng.normal(size=(20, 16))
    drawn: dict[str, Array] = {}
    for name, sizes in (("train", share / share.sum()), ("test", np.full(20, 1 / 20))):
        of = rng.choice(20, size=1000, p=sizes)
        drawn[f"x_{name}"] = (centres[of] + 0.35 * rng.normal(size=(1000, 16))).astype(np.float32)
        drawn[f"y_{name}"] = of % 10
    return drawn


def value(tasks: list[Problem], fractions: tuple[float, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Accuracy of each method's set by its share; and what learning did to the selector."""
    found: dict[str, dict[str, list[float]]] = {}
    selector: dict[str, Any] = {}
    for fraction in fractions:
        at, runs = f"{fraction:g}", [one_draw(task, fraction, seed) for seed, task in enumerate(tasks)]
        for label in runs[0][0]:
            found.setdefault(label, {})[at] = spread([accuracies[label] for accuracies, _ in runs])
        selector[at] = learning(runs)
    everything = spread([accuracy(task, np.arange(len(task.y))) for task in tasks])
    return {**found, "everything": {f"{fraction:g}": everything for fraction in fractions}}, selector


def one_draw(task: Problem, fraction: float, seed: int) -> tuple[dict[str, float], dict[str, ValuedSubset]]:
    """Test accuracy by method; HOST-CP's answers."""
    count = round(fraction * len(task.y))
    subsets = {
        label: host_cp(task.x, task.y, Settings(fraction=fraction, seed=seed, **options))
        for label, options in PROGRAMS.items()
    }
    orders = {label: best_first(subset.norms, seed) for label, subset in subsets.items()}
    orders |= rivals(task, count, seed)
    return {label: accuracy(task, order[:count]) for label, order in orders.items()}, subsets


def rivals(task: Problem, count: int, seed: int) -> dict[str, Array]:
    """Positions, best first, by the other methods; of DIVA's Extend the first half is chance, its core."""
    x, y, k = task.x.astype(np.float32), task.y, task.classes
    drawn = np.random.default_rng(seed).permutation(len(y))
    core, pool = drawn[: count // 2], drawn[count // 2 :]
    chosen = order("derivative", x[core], y[core], x[pool], y[pool], classes=k).numpy()
    regular = compute("cg_score", x, y, classes=k, seed=seed, repeats=3).best_first.numpy()
    return {
        "uniform": drawn,
        "balanced_uniform": compute("balanced_uniform", x, y, classes=k, seed=seed).best_first.numpy(),
        "k_center": compute("k_center", x, y, classes=k, budget=count).best_first.numpy(),
        "cg_score, lowest": regular,
        "cg_score, highest": regular[::-1],
        "diva, lowest derivative": compute("derivative", x, y, classes=k).best_first.numpy(),
        "diva, extend": np.r_[core, pool[chosen]],
    }


def best_first(norms: Tensor, seed: int) -> Array:
    """Positions by falling norm, equal ones in random order: the rows may be sorted by class."""
    shuffled = np.random.default_rng(seed).permutation(len(norms))
    return shuffled[np.argsort(-norms.numpy()[shuffled].round(3), kind="stable")]


def accuracy(task: Problem, rows: Array) -> float:
    """Test accuracy in percent of the head trained on these rows."""
    some = Prepared(InMemory(task.x[np.sort(rows)].astype(np.float32), task.y[np.sort(rows)]))
    test = Prepared(InMemory(task.x_test.astype(np.float32), task.y_test))
    head = train_by_leave_one_out(some, task.classes, RIDGES)
    return 100 * float(head.correct(test).double().mean())


def learning(runs: list[tuple[dict[str, float], dict[str, ValuedSubset]]]) -> dict[str, Any]:
    """Learned less untrained, paired by seed; what is chosen; loss and gradient by epoch."""
    result: dict[str, Any] = {}
    for label in ("host_cp", "host_cp, loo"):
        gains = [accuracies[label] - accuracies["host_cp, untrained"] for accuracies, _ in runs]
        epochs = list(zip(*(subsets[label].history for _, subsets in runs), strict=True))
        result[label] = {
            "gain": spread(gains),
            "better": sum(gain > 0 for gain in gains),
            "shared": statistics.mean(
                recall_score(s[label].selected, s["host_cp, untrained"].selected, zero_division=0.0) for _, s in runs
            ),
            "loss": [round(statistics.mean(run.loss for run in epoch), 4) for epoch in epochs],
            "gradient": [round(statistics.mean(run.gradient for run in epoch), 4) for epoch in epochs],
        }
    result["chosen"] = {
        label: statistics.mean(int(subsets[label].selected.sum()) for _, subsets in runs) for label in PROGRAMS
    }
    return result


def detection(tasks: list[Problem]) -> dict[str, Any]:
    """Share of the wrong labels found among the first 5, 10, … 100 % inspected; mean over seeds."""
    shares = [round(0.05 * i, 2) for i in range(21)]
    curves: dict[str, list[list[float]]] = {}
    for seed, task in enumerate(tasks):
        x = task.x.astype(np.float32)
        for label, options in PROGRAMS.items():
            subset = host_cp(x, task.y, Settings(seed=seed, **options))
            curves.setdefault(label, []).append(curve(best_first(-subset.mean_norms, seed), task, shares))
            if label == "host_cp, loo":  # the one whose derivative says something of every row
                ranking = np.argsort(-subset.derivative.numpy(), kind="stable")
                curves.setdefault(DERIVATIVE, []).append(curve(ranking, task, shares))
        for name in ("cg_score", "soft"):
            values = compute(name, x, task.y, classes=task.classes, seed=seed)
            curves.setdefault(name, []).append(curve(values.best_first.numpy()[::-1], task, shares))
    means = {label: [statistics.mean(point) for point in zip(*runs, strict=True)] for label, runs in curves.items()}
    return {"noise": NOISE, "shares": shares, **means}


def curve(order: Array, task: Problem, shares: list[float]) -> list[float]:
    found = np.r_[0, np.cumsum(task.wrong[order])] / task.wrong.sum()
    return [round(float(found[round(share * len(order))]), 4) for share in shares]


def spread(figures: list[float]) -> dict[str, float]:
    """Mean and standard deviation."""
    deviation = statistics.stdev(figures) if len(figures) > 1 else 0.0
    return {"mean": round(statistics.mean(figures), 3), "deviation": round(deviation, 3)}


def render(result: dict[str, Any]) -> str:
    """The tables, as Markdown."""
    shares = list(result["value"]["uniform"])
    lines = [f"{result['pack']}, {result['samples']} rows, {result['seeds']} seeds: test accuracy, %", ""]
    lines += [
        "| | " + " | ".join(f"{float(share):.1%}" for share in shares) + " |",
        "| --- |" + " ---: |" * len(shares),
    ]
    for label, row in result["value"].items():
        lines.append(
            f"| {label} | " + " | ".join(f"{r['mean']:.2f} ± {r['deviation']:.2f}" for r in row.values()) + " |"
        )
    for share, rows in result["selector"].items():
        for label in ("host_cp", "host_cp, loo"):
            row = rows[label]
            gain = f"{row['gain']['mean']:+.2f} ± {row['gain']['deviation']:.2f}, better in {row['better']}"
            lines.append(f"selector, {share}, {label}: {gain}, {row['shared']:.0%} shared, loss {row['loss']}")
        lines.append(f"selector, {share}: chosen {rows['chosen']}")
    curves = result["detection"]
    for label in DETECTORS:
        found = ", ".join(f"{curves['shares'][i]:.0%}: {curves[label][i]:.2f}" for i in (2, 4, 8))
        lines.append(f"wrong labels found, {label}: {found}")
    return "\n".join(lines)


def draw(result: dict[str, Any], path: Path) -> None:
    """Value against size, and the detection curve."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.5), layout="constrained")
    sizes = [100 * float(share) for share in result["value"]["uniform"]]
    for label, row in result["value"].items():
        means = [r["mean"] for r in row.values()]
        style = {"linewidth": 2.2} if label.startswith("host_cp") else {"linestyle": "--", "linewidth": 1.1}
        grey = {"color": "grey"} if label == "uniform" else {"color": "black"} if label == "everything" else {}
        left.errorbar(sizes, means, [r["deviation"] for r in row.values()], label=label, capsize=2, **style, **grey)
    left.set(xlabel="% of the rows", ylabel="test accuracy of the set alone, %", xscale="log")
    left.set_xticks(sizes, [f"{size:g}" for size in sizes])
    left.minorticks_off()
    left.set_title(f"{result['pack']}, seeds: {result['seeds']}")
    left.legend(fontsize=7)
    curves = result["detection"]
    for label in DETECTORS:
        right.plot([100 * share for share in curves["shares"]], [100 * found for found in curves[label]], label=label)
    right.plot([0, 100], [0, 100], color="grey", linestyle=":", label="chance")
    right.set(xlabel="% inspected", ylabel="% of wrong labels found", title=f"{curves['noise']:.0%} wrong labels")
    right.legend(fontsize=7)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
