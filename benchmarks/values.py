"""The CG-score paper's own experiments, with every score of ours that they could be made with.

    python -m benchmarks.values --features digits|FILE.npz [--noise 0.2] [--seeds 5] [--out FILE.json] [--quick]

- removal: test error of ridge regression when 10 … 90 % is removed by lowest, by highest score, or at random, without
  wrong labels and with them;
- detection curve: share of wrong labels found against share inspected, most suspicious first;
- training: rank correlation of the scores with what a small network shows while it learns the data without wrong
  labels: mean loss over the epochs, and forgetting events (right in one epoch, wrong in the next; Toneva et al. 2019).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and BLAS are loaded

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from benchmarks.machine import description
from benchmarks.problems import Array, Problem, load, problem
from diva.curation.evaluation import train_by_leave_one_out
from diva.methods.registry import scores
from diva.numerics.chunks import InMemory
from diva.numerics.grid import RIDGES
from diva.numerics.normalize import Prepared

METHODS = ("cg_score", "soft", "derivative", "knn_shapley", "learning_to_reweight")
SHARES = tuple(round(0.1 * i, 1) for i in range(1, 10))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", default="digits", help="FILE.npz, or digits")
    parser.add_argument("--noise", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="one seed, 400 rows, 5 epochs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    arrays = load(options.features)
    seeds, rows, epochs = (1, 400, 5) if options.quick else (options.seeds, None, options.epochs)
    result = {
        "pack": Path(options.features).stem,
        "noise": options.noise,
        "seeds": seeds,
        "machine": description(),
        "removal": {
            str(noise): removal([problem(arrays, noise, seed, rows) for seed in range(seeds)])
            for noise in (0.0, options.noise)
        },
        "detection": detection([problem(arrays, options.noise, seed, rows) for seed in range(seeds)]),
        "training": training([problem(arrays, 0.0, seed, rows) for seed in range(seeds)], epochs),
    }
    print(render(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def removal(tasks: list[Problem]) -> dict[str, Any]:
    """Mean test error in percent for each share removed; `lowest` says what happens when the lowest scores go."""
    curves: dict[str, list[list[float]]] = {}
    for seed, task in enumerate(tasks):
        orders = {"random": np.random.default_rng(seed).permutation(len(task.y))}
        for name in METHODS:
            lowest_first = np.argsort(score(name, task, seed), kind="stable")
            orders |= {f"{name}, lowest": lowest_first, f"{name}, highest": lowest_first[::-1]}
        for label, order in orders.items():
            kept = [order[round(share * len(order)) :] for share in (0.0, *SHARES)]
            curves.setdefault(label, []).append([error(task, rows) for rows in kept])
    return {"shares": [0.0, *SHARES], **{label: means(runs) for label, runs in curves.items()}}


def detection(tasks: list[Problem]) -> dict[str, Any]:
    """Share of the wrong labels among the most suspicious 5, 10, … 100 %."""
    shares = [round(0.05 * i, 2) for i in range(21)]
    curves: dict[str, list[list[float]]] = {}
    for seed, task in enumerate(tasks):
        for name in METHODS:
            found = np.cumsum(task.wrong[np.argsort(-score(name, task, seed), kind="stable")]) / task.wrong.sum()
            curve = [0.0, *(float(found[max(0, round(share * len(found)) - 1)]) for share in shares[1:])]
            curves.setdefault(name, []).append(curve)
    return {"shares": shares, **{name: means(runs) for name, runs in curves.items()}}


def training(tasks: list[Problem], epochs: int) -> dict[str, Any]:
    """Spearman's rank correlation of each score with loss and forgetting events, mean over the seeds."""
    found: dict[str, dict[str, list[float]]] = {name: {"loss": [], "forgetting": []} for name in METHODS}
    forgotten = []
    for seed, task in enumerate(tasks):
        loss, events = watch(task, epochs, seed)
        forgotten.append(float((events > 0).mean()))
        for name in METHODS:
            values = score(name, task, seed)
            found[name]["loss"].append(float(spearmanr(values, loss).statistic))
            found[name]["forgetting"].append(float(spearmanr(values, events).statistic))
    correlations = {
        name: {what: means([[v] for v in seen])[0] for what, seen in of.items()} for name, of in found.items()
    }
    return {"epochs": epochs, "forgotten_once": statistics.mean(forgotten), **correlations}


def score(name: str, task: Problem, seed: int) -> Array:
    """Suspicion (n,), or its opposite of value."""
    return scores(name, task.x, task.y, task.classes, seed=seed).numpy()


def watch(task: Problem, epochs: int, seed: int) -> tuple[Array, Array]:
    """Mean loss and forgetting events (n,) of a network of one hidden layer of 128, plain SGD with momentum."""
    torch.manual_seed(seed)
    x = torch.from_numpy(task.x.astype(np.float32))
    x, y = (x - x.mean()) / x.std(), torch.from_numpy(task.y)
    network = nn.Sequential(nn.Linear(x.shape[1], 128), nn.ReLU(), nn.Linear(128, task.classes))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    loss, events, right = torch.zeros(len(y)), torch.zeros(len(y)), torch.zeros(len(y), dtype=torch.bool)
    for _ in range(epochs):
        for batch in torch.randperm(len(y)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            outputs = network(x)
        now = outputs.argmax(1) == y
        loss += nn.functional.cross_entropy(outputs, y, reduction="none") / epochs
        events += right & ~now
        right = now
    return loss.numpy(), events.numpy()


def error(task: Problem, rows: Array) -> float:
    """Test error in percent of the head trained on these rows."""
    rows = np.sort(rows)
    some = Prepared(InMemory(task.x[rows].astype(np.float32), task.y[rows]))
    test = Prepared(InMemory(task.x_test.astype(np.float32), task.y_test))
    head = train_by_leave_one_out(some, task.classes, RIDGES)
    return 100 * float((~head.correct(test)).double().mean())


def means(runs: list[list[float]]) -> list[float]:
    """Of each point of the curves."""
    return [round(statistics.mean(point), 4) for point in zip(*runs, strict=True)]


def render(result: dict[str, Any]) -> str:
    """The tables, as Markdown."""
    parts = []
    for noise, curves in result["removal"].items():
        parts += [f"removal, {float(noise):.0%} wrong: test error", "", *table(curves, "{:.1f}")]
    parts += ["", "share of wrong labels found by share inspected", "", *table(result["detection"], "{:.2f}")]
    parts += ["", "rank correlation with training", "", "| score | loss | forgetting |", "| --- | ---: | ---: |"]
    for name in METHODS:
        row = result["training"][name]
        parts.append(f"| {name} | {row['loss']:.3f} | {row['forgetting']:.3f} |")
    return "\n".join(parts)


def table(curves: dict[str, Any], form: str) -> list[str]:
    """One row per curve."""
    head = "| | " + " | ".join(f"{share:.0%}" for share in curves["shares"]) + " |"
    rows = [
        f"| {label} | " + " | ".join(form.format(v) for v in curve) + " |"
        for label, curve in curves.items()
        if label != "shares"
    ]
    return [head, "| --- |" + " ---: |" * len(curves["shares"]), *rows]


if __name__ == "__main__":
    main()
