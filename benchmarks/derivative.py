"""What the dataset derivative costs beside the plain matrix products that it needs.

    python -m benchmarks.derivative [--threads 2] [--repeats 5] [--out FILE.json] [--quick]
    python -m benchmarks.derivative --device cuda --shape 2000000 2048 1000 --out FILE.json

    floor          4 products n×p×p (two ZᵀZ, two ZA) and 4 of n×p×k (three ZH, one ZᵀG), chunk by chunk as the
                   derivative does them, by torch or by scipy's BLAS, whichever took less
    derivative     moments, one factorisation, all three passes, loss `calibrated`
    pool           pass 3 over rows of weight 0; floor: 1 of n×p×p, 2 of n×p×k. With the leverages that the gain needs,
                   and (known) with those of an earlier round
    ridge grid     25 ridges in one go, and one fit: moments, factorisation, leave-one-out predictions
    ten times      the derivative of all rows over that of a tenth

Ratios are of medians over interleaved repeats, of the least times, and of the least processor times (on a machine that
others use, too, these mean most). Rows are random, not negative, of unit norm, float32, in memory. On a GPU the floor
is the card's own matrix rate at these shapes: its share that is reached is 1 / (derivative / floor).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import description, threads
from diva.numerics import blas
from diva.numerics.adjoint import member_pass
from diva.numerics.chunks import InMemory
from diva.numerics.derivative import dataset_derivative, outsider_derivatives
from diva.numerics.device import chunk_size
from diva.numerics.grid import choose_ridge
from diva.numerics.leave_one_out import leave_one_out, leverage_factors
from diva.numerics.losses import Loss
from diva.numerics.precision import fit_ridge
from diva.numerics.products import Workspace
from diva.numerics.ridge import moments, solve

SHAPES = ((200_000, 512, 100), (50_000, 1280, 100))
QUICK = ((20_000, 512, 100), (5_000, 1280, 100))
RIDGE, LOSS = 1.0, Loss("calibrated", 9.0)
BY = ("median", "least", "processor")
GRID = torch.logspace(-3, 1, 25, dtype=torch.float64).tolist()


@dataclass(frozen=True)
class Rows:
    """A problem of n rows, p features, k classes."""

    z: Tensor
    labels: Tensor
    k: int

    def chunks(self, n: int | None = None) -> InMemory:
        """The first n rows, or all."""
        return InMemory(self.z[:n], self.labels[:n], chunk_size(self.z.shape[1], self.z.device.type))


def rows(n: int, p: int, k: int, device: str = "cpu") -> Rows:
    """Rows as a network gives them: not negative, of unit norm, a constant column last."""
    g = torch.Generator(device).manual_seed(0)
    z = torch.randn(n, p, generator=g, device=device).clamp_min_(0)
    z /= torch.linalg.vector_norm(z, dim=1, keepdim=True)
    z[:, -1] = 1
    teacher = torch.randn(p, k, generator=g, device=device)
    labels = torch.cat([(part @ teacher).argmax(1) for part in z.split(8192)])
    wrong = torch.rand(n, generator=g, device=device) < 0.1
    labels[wrong] = torch.randint(k, (int(wrong.sum()),), generator=g, device=device)
    return Rows(z, labels, k)


class Floor:
    """The plain products, into buffers made once."""

    def __init__(self, problem: Rows, by: str) -> None:
        self.problem, self.by = problem, by
        (_, p), k, m, new = problem.z.shape, problem.k, problem.chunks().chunk_size, problem.z.new_empty
        self.square, self.narrow, self.values = new(p, p).normal_(), new(p, k).normal_(), new(m, k).normal_()
        self.wide, self.outputs, self.gram, self.cross = new(m, p), new(m, k), new(p, p), new(p, k)

    def times(self, z: Tensor, matrix: Tensor, out: Tensor) -> None:
        """``out`` ← zA."""
        (blas.gemm if self.by == "blas" else torch_times)(z, matrix, out[: len(z)])

    def transposed(self, z: Tensor, values: Tensor, out: Tensor) -> None:
        """``out`` ← zᵀG."""
        (blas.gemm_transposed if self.by == "blas" else torch_transposed)(z, values[: len(z)], out)

    def derivative(self) -> None:
        """All eight products."""
        for z, _, _ in self.problem.chunks():
            for _ in range(2):
                self.transposed(z, z, self.gram)
                self.times(z, self.square, self.wide)
            for _ in range(3):
                self.times(z, self.narrow, self.outputs)
            self.transposed(z, self.values, self.cross)

    def pool(self) -> None:
        """The three of a pass over the pool."""
        for z, _, _ in self.problem.chunks():
            self.times(z, self.square, self.wide)
            for _ in range(2):
                self.times(z, self.narrow, self.outputs)


def torch_times(z: Tensor, matrix: Tensor, out: Tensor) -> None:
    torch.mm(z, matrix, out=out)


def torch_transposed(z: Tensor, values: Tensor, out: Tensor) -> None:
    torch.mm(z.T, values, out=out)


def measure(shape: tuple[int, int, int], repeats: int, device: str = "cpu") -> dict[str, Any]:
    """Times and ratios at one shape."""
    problem, k = rows(*shape, device), shape[2]
    chunks = problem.chunks()
    model = solve(moments(chunks, k), RIDGE)
    adjoint, _ = member_pass(chunks, model, LOSS)
    g = leverage_factors(chunks, model)
    work: dict[str, Callable[[], object]] = {
        **{f"floor, {by}": Floor(problem, by).derivative for by in libraries(device)},
        **{f"pool floor, {by}": Floor(problem, by).pool for by in libraries(device)},
        "derivative": lambda: dataset_derivative(fit_ridge(chunks, k, RIDGE), LOSS),
        "a tenth": lambda: dataset_derivative(fit_ridge(problem.chunks(len(problem.z) // 10), k, RIDGE), LOSS),
        "pool, leverages known": lambda: outsider_derivatives(chunks, model, adjoint, None, g),
        "pool": lambda: outsider_derivatives(chunks, model, adjoint, None),
        "one fit": lambda: one_fit(problem),
        "25 ridges": lambda: choose_ridge(chunks, k, GRID),
    }
    times = interleaved(work, repeats)
    return {"n": shape[0], "p": shape[1], "k": k, "chunk": chunks.chunk_size, "ratios": ratios(times), "seconds": times}


def libraries(device: str) -> list[str]:
    return ["torch", "blas"] if blas.ROUTINES is not None and device == "cpu" else ["torch"]


def one_fit(problem: Rows) -> None:
    """Moments, factorisation, leave-one-out error."""
    model = solve(moments(problem.chunks(), problem.k), RIDGE).to(problem.z)
    work = Workspace()
    for z, labels, _ in problem.chunks():
        predictions = leave_one_out(z, labels, z.new_ones(len(z)), model, work=work).predictions
        (predictions.argmax(1) != labels).sum()


def interleaved(work: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Median and least wall seconds and least processor seconds of each, in turns; the first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    processor: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeats + 1):
        for name, run in work.items():
            start, began = time.perf_counter(), time.process_time()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - start)
                processor[name].append(time.process_time() - began)
    return {
        name: {"median": statistics.median(each), "least": min(each), "processor": min(processor[name])}
        for name, each in seconds.items()
    }


def ratios(times: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The figures, by median and by least time."""
    found = {}
    for by in BY:
        t = {name: each[by] for name, each in times.items()}
        floor = min(each for name, each in t.items() if name.startswith("floor"))
        pool = min(each for name, each in t.items() if name.startswith("pool floor"))
        found[by] = {
            "derivative / floor": t["derivative"] / floor,
            "pool / floor, leverages known": t["pool, leverages known"] / pool,
            "pool / floor": t["pool"] / pool,
            "25 ridges / one fit": t["25 ridges"] / t["one fit"],
            "ten times the rows": t["derivative"] / t["a tenth"],
        }
    return {name: {by: round(found[by][name], 3) for by in found} for name in found["median"]}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--shape", type=int, nargs=3, metavar=("N", "P", "K"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, three repeats: under a minute")
    options = parser.parse_args()
    threads(options.threads)
    shapes, repeats = (QUICK, 3) if options.quick else (SHAPES, options.repeats)
    shapes = (tuple(options.shape),) if options.shape else shapes
    found = [measure(shape, repeats, options.device) for shape in shapes]
    for each in found:
        print(f"n = {each['n']}, p = {each['p']}, k = {each['k']}")
        for name, ratio in each["ratios"].items():
            print(f"  {name:32} " + ", ".join(f"{ratio[by]:.2f} ({by})" for by in BY))
    if options.out:
        options.out.write_text(json.dumps({"machine": description(), "shapes": found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
