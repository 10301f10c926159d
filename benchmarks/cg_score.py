"""The price of CG-score: the closed form against the authors' code and against one solve per sample, on one thread.

    python -m benchmarks.cg_score [--reference FOLDER] [--out FILE.json]

FOLDER holds digits_rep*_ratio*.npz: X, y, the authors' scores `vi`, and the `seconds` their code took on another
machine. The loop per sample, on this machine and in this run, removes each row of H and solves again (one repeat,
ratio 1). Wall and CPU seconds: the second is what counts where other work shares the machine.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and BLAS are loaded

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import description
from benchmarks.problems import Array
from diva.methods.cg_score import cg_score, draws, kernel
from diva.methods.inputs import labelled
from diva.numerics.normalize import unit

REFERENCE = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "cg_reference"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, default=REFERENCE)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"machine": description()}
    warm_up = labelled(np.random.default_rng(0).normal(size=(50, 8)), np.arange(50) % 2)
    cg_score(warm_up)  # what a first call costs is not counted
    for name in ("rep1_ratio1", "rep10_ratio1", "rep1_ratio4"):
        with np.load(options.reference / f"digits_{name}.npz", allow_pickle=False) as file:
            result[name] = against_reference({key: file[key] for key in file.files})
        print(name, {key: round(value, 14) for key, value in result[name].items()})
    with np.load(options.reference / "digits_rep1_ratio1.npz", allow_pickle=False) as file:
        result["loop"] = against_loop(file["X"], file["y"])
    print("loop", result["loop"])
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def against_reference(stored: dict[str, Array]) -> dict[str, float]:
    """Seconds, their share of the reference's, and the largest relative difference."""
    ratio, repeats, seed = float(stored["unbalance_ratio"]), int(stored["rep_num"]), int(stored["seed"])
    data = labelled(stored["X"], stored["y"])
    found, wall, processor = timed(lambda: cg_score(data, ratio=ratio, repeats=repeats, seed=seed))
    reference = float(stored["seconds"])
    difference = float(np.abs(found.numpy() / stored["vi"] - 1).max())
    return {
        "seconds": wall,
        "cpu_seconds": processor,
        "reference_seconds": reference,
        "ratio": wall / reference,
        "cpu_ratio": processor / reference,
        "difference": difference,
    }


def against_loop(x: Array, y: Array) -> dict[str, float]:
    """Both on this machine: seconds of the closed form and of one solve per sample, and how far apart they are."""
    found, wall, processor = timed(lambda: cg_score(labelled(x, y), repeats=1))
    looped, loop_wall, loop_processor = timed(lambda: loop(x, y))
    return {
        "seconds": wall,
        "cpu_seconds": processor,
        "loop_seconds": loop_wall,
        "loop_cpu_seconds": loop_processor,
        "cpu_ratio": processor / loop_processor,
        "difference": float((found - looped).abs().max() / looped.abs().max()),
    }


def loop(x: Array, y: Array) -> torch.Tensor:
    """One repeat at ratio 1 by its definition: a solve with and without each sample."""
    data = labelled(x, y)
    scores = torch.zeros(len(y), dtype=torch.float64)
    for own, others in draws(data, 1.0, 4096, np.random.RandomState(0)):
        u = unit(data.features[np.concatenate([own, others])])
        h = kernel(u, u).fill_diagonal_(0.5)
        sign = torch.cat([torch.ones(len(own)), -torch.ones(len(others))]).double()
        whole = sign @ torch.linalg.solve(h, sign)
        for i, row in enumerate(own):
            keep = torch.arange(len(sign)) != i
            scores[row] = whole - sign[keep] @ torch.linalg.solve(h[keep][:, keep], sign[keep])
    return scores


def timed(work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float, float]:
    """What ``work`` returns, wall seconds and CPU seconds: the least of three runs of each."""
    times = []
    for _ in range(3):
        wall, processor = time.perf_counter(), time.process_time()
        found = work()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    return found, min(t[0] for t in times), min(t[1] for t in times)


if __name__ == "__main__":
    main()
