"""HOST-CP's program: CPU seconds, forward and with the derivative, against cvxpy and cvxpylayers at equal objective.

python -m benchmarks.host_cp_solvers [--out FILE.json] [--quick]
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and BLAS are loaded

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import description
from diva.methods.host_cp_program import objective, smooth


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="fewer programs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = {"machine": description(), "solvers": solvers(2 if options.quick else 10)}
    for coefficient, rows in result["solvers"].items():
        for name, row in rows.items():
            print(f"ε {coefficient}: {name}:", ", ".join(f"{key} {figure:.2g}" for key, figure in row.items()))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def solvers(count: int) -> dict[str, Any]:
    """CPU seconds per program of 40 new and 40 kept points, capacity 8; objectives relative to cvxpy's."""
    new, old = instances(32)
    result: dict[str, Any] = {}
    for coefficient in (0.05, 1e-5):
        rows: dict[str, Any] = {}
        for batch in (1, 4, 32):
            rows[f"smooth, batch of {batch}"] = timed(
                lambda a, b, c=coefficient: smooth(a, b, 8.0, coefficient=c).new, new[:batch], old[:batch], batch, count
            )
        if importlib.util.find_spec("cvxpylayers"):
            rows |= oracles(new, old, coefficient, count)
        result[f"{coefficient:g}"] = rows
    return result


def instances(count: int) -> tuple[Tensor, Tensor]:
    """Dn (count, 40, 40) and Do (count, 40, 40) of normal points in 5 dimensions, in mean distances."""
    points = torch.randn(count, 80, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    distances = torch.cdist(points[:, :40], points, compute_mode="donot_use_mm_for_euclid_dist")
    distances = distances / distances.mean((1, 2), keepdim=True)
    return distances[..., :40], distances[..., 40:]


def timed(solve: Callable[..., Tensor], new: Tensor, old: Tensor, batch: int, count: int) -> dict[str, float]:
    """Median CPU seconds per program, forward alone and with the derivative."""
    forward, both = [], []
    for _ in range(count + 1):
        distances = new.clone().requires_grad_()
        start = time.process_time()
        found = solve(distances, old)
        forward.append((time.process_time() - start) / batch)
        found.amax(-2).sum().backward()
        both.append((time.process_time() - start) / batch)
    return {"forward": statistics.median(forward[1:]), "with_derivative": statistics.median(both[1:])}


def oracles(new: Tensor, old: Tensor, coefficient: float, count: int) -> dict[str, Any]:
    """cvxpylayers (one program a call, as in the authors' code) and cvxpy with Clarabel."""
    import cvxpy as cp
    from cvxpylayers.torch import CvxpyLayer

    shares, costs = cp.Variable((40, 80), nonneg=True), cp.Parameter((40, 80))
    goal = cp.sum(cp.multiply(costs, shares)) + coefficient / 2 * cp.sum_squares(shares)
    limits = [cp.sum(shares, 1) == 1, cp.sum(cp.max(shares[:, :40], axis=0)) <= 8]
    program = cp.Problem(cp.Minimize(goal), limits)
    layer = CvxpyLayer(program, parameters=[costs], variables=[shares])
    seconds, gaps, layer_gaps = [], [], []
    for a, b in zip(new[:count], old[:count], strict=True):
        costs.value = torch.cat([a, b], 1).numpy()
        start = time.process_time()
        program.solve(solver="CLARABEL")
        seconds.append(time.process_time() - start)
        ours = float(objective(smooth(a, b, 8.0, coefficient=coefficient), a, b, coefficient=coefficient))
        gaps.append(abs(ours / program.value - 1))
        (z,) = layer(torch.cat([a, b], 1))
        theirs = float((torch.cat([a, b], 1) * z).sum() + coefficient / 2 * z.square().sum())
        layer_gaps.append(abs(theirs / program.value - 1))
    as_layer = timed(lambda a, b: layer(torch.cat([a, b], -1)[0])[0][None, :, :40], new[:1], old[:1], 1, min(count, 3))
    return {
        "cvxpylayers": {**as_layer, "objective_gap": max(layer_gaps)},
        "cvxpy, Clarabel": {"forward": statistics.median(seconds)},
        "smooth against cvxpy": {"objective_gap": max(gaps)},
    }


if __name__ == "__main__":
    main()
