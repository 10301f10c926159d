"""What the dataset derivative costs beside the plain matrix products that it needs.

    python -m benchmarks.derivative [--threads 2] [--repeats 5] [--out FILE.json] [--quick]
    python -m benchmarks.derivative --device cuda --shape 2000000 2048 1000 --fed --out FILE.json

    floor          4 products n×p×p (two ZᵀZ, two ZA) and 4 of n×p×k (three ZH, one ZᵀG), chunk by chunk as the
                   derivative does them, by torch or by scipy's BLAS, whichever took less
    derivative     moments, one factorisation, all three passes, loss `calibrated`
    pool           pass 3 over rows of weight 0; floor: 1 of n×p×p, 2 of n×p×k. With the leverages that the gain needs,
                   and (known) with those of an earlier round
    ridge grid     25 ridges in one go, and one fit: moments, factorisation, leave-one-out predictions
    ten times      the derivative of all rows over that of a tenth
    matrix rate    of one large product in the same precision; the derivative's share of it, by its least products
                   (symmetric ones at half) and by the floor's
    fed            with --fed: the derivative of rows in half precision in the machine's memory, which stay on the
                   device after their first pass
    difference     of the derivative of the first 20,000 rows from the processor's in float64, of its largest value

Ratios are of medians over interleaved repeats, of the least times, and of the least processor times (on a machine that
others use, too, these mean most). Rows are random, not negative, of unit norm, in memory, on the device; float32 on the
processor, on a card what stages take there.
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
from diva.numerics.device import chunk_size, precision, resolve
from diva.numerics.grid import choose_ridge
from diva.numerics.leave_one_out import leave_one_out, leverage_factors
from diva.numerics.losses import Loss
from diva.numerics.normalize import Prepared
from diva.numerics.precision import fit_ridge
from diva.numerics.products import Workspace, exactly
from diva.numerics.residence import Resident
from diva.numerics.ridge import moments, solve

SHAPES = ((200_000, 512, 100), (50_000, 1280, 100))
QUICK = ((20_000, 512, 100), (5_000, 1280, 100))
RIDGE, LOSS = 1.0, Loss("calibrated", 9.0)
BY = ("median", "least", "processor")
GRID = torch.logspace(-3, 1, 25, dtype=torch.float64).tolist()


@dataclass(frozen=True)
class Rows:
    """A problem of n rows, p features, k classes, in chunks of ``size`` rows."""

    z: Tensor
    labels: Tensor
    k: int
    size: int

    def chunks(self, n: int | None = None) -> InMemory:
        """The first n rows, or all."""
        return InMemory(self.z[:n], self.labels[:n], self.size)

    def in_memory(self) -> InMemory:
        """The same in half precision in the machine's memory, which a card reads; without the constant column."""
        z = self.z[:, :-1].half().cpu()
        return InMemory(z.pin_memory() if self.z.is_cuda else z, self.labels.cpu(), self.size)

    def fed(self, raw: InMemory) -> Resident:
        """Those rows on the device, once they were read."""
        return Resident(Prepared(raw, "none", device=self.z.device, dtype=self.z.dtype))


def rows(n: int, p: int, k: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Rows:
    """Rows as a network gives them: not negative, of unit norm, a constant column last."""
    g = torch.Generator(device).manual_seed(0)
    z = torch.randn(n, p, generator=g, device=device, dtype=dtype).clamp_min_(0)
    z /= torch.linalg.vector_norm(z, dim=1, keepdim=True)
    z[:, -1] = 1
    teacher = torch.randn(p, k, generator=g, device=device, dtype=dtype)
    labels = torch.cat([(part @ teacher).argmax(1) for part in z.split(8192)])
    wrong = torch.rand(n, generator=g, device=device) < 0.1
    labels[wrong] = torch.randint(k, (int(wrong.sum()),), generator=g, device=device)
    return Rows(z, labels, k, chunk_size(p, device))


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


def measure(shape: tuple[int, int, int], repeats: int, device: str, dtype: torch.dtype, fed: bool) -> dict[str, Any]:
    """Times and ratios at one shape."""
    problem, k = rows(*shape, device, dtype), shape[2]
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
    if fed:
        raw = problem.in_memory()
        work["derivative, fed"] = lambda: dataset_derivative(fit_ridge(problem.fed(raw), k, RIDGE), LOSS)
    times, rate = interleaved(work, repeats, device), matrix_rate(problem.z)
    return {
        "n": shape[0], "p": shape[1], "k": k, "chunk": problem.size, "precision": str(dtype).removeprefix("torch."),
        "tflops": rate / 1e12, "difference": difference(problem),
        "ratios": ratios(times, shape, rate), "seconds": times,
    }  # fmt: skip


def matrix_rate(like: Tensor, turns: int = 5) -> float:
    """Operations a second of a large plain product, the best of some."""
    side = 8192 if like.is_cuda else 2048
    a, b = torch.randn(2, side, side, device=like.device, dtype=like.dtype)
    out = torch.empty_like(a)

    def product() -> None:
        with exactly():
            torch.mm(a, b, out=out)

    return 2 * side**3 / float(interleaved({"": product}, turns, like.device.type)[""]["least"])


def difference(problem: Rows, n: int = 20_000) -> float:
    """Of the derivative of the first n rows from that in float64 on the processor, of its largest value."""
    z, labels = problem.z[:n].cpu().double(), problem.labels[:n].cpu()
    here, there = (
        dataset_derivative(fit_ridge(chunks, problem.k, RIDGE), LOSS).values
        for chunks in (InMemory(z, labels), problem.chunks(n))
    )
    return float((there - here).abs().max() / here.abs().max())


def libraries(device: str) -> list[str]:
    return ["torch", "blas"] if blas.ROUTINES is not None and device == "cpu" else ["torch"]


def one_fit(problem: Rows) -> None:
    """Moments, factorisation, leave-one-out error."""
    model = solve(moments(problem.chunks(), problem.k), RIDGE).to(problem.z)
    work = Workspace()
    for z, labels, _ in problem.chunks():
        predictions = leave_one_out(z, labels, z.new_ones(len(z)), model, work=work).predictions
        (predictions.argmax(1) != labels).sum()


def interleaved(
    work: dict[str, Callable[[], object]], repeats: int, device: str = "cpu"
) -> dict[str, dict[str, float]]:
    """Median and least wall seconds and least processor seconds of each, in turns; the first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    processor: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeats + 1):
        for name, run in work.items():
            start, began = time.perf_counter(), time.process_time()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - start)
                processor[name].append(time.process_time() - began)
    return {
        name: {"median": statistics.median(each), "least": min(each), "processor": min(processor[name])}
        for name, each in seconds.items()
    }


def ratios(times: dict[str, dict[str, float]], shape: tuple[int, int, int], rate: float) -> dict[str, dict[str, float]]:
    """The figures, by median and by least time."""
    (n, p, k), found = shape, {}
    least, plain = 4 * n * p * p + 8 * n * p * k, 8 * n * p * p + 8 * n * p * k  # a product of n×p×k takes 2npk
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
            "share of the matrix rate": least / t["derivative"] / rate,
            "share, by plain products": plain / t["derivative"] / rate,
            **({"fed / derivative": t["derivative, fed"] / t["derivative"]} if "derivative, fed" in t else {}),
        }
    return {name: {by: round(found[by][name], 3) for by in found} for name in found["median"]}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", choices=("float32", "float64"), help="else float32, on a card what stages take")
    parser.add_argument("--shape", type=int, nargs=3, metavar=("N", "P", "K"))
    parser.add_argument("--fed", action="store_true", help="also from half precision in the machine's memory")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, three repeats: under a minute")
    options = parser.parse_args()
    try:
        resolve(options.device)
    except ValueError as error:
        parser.error(str(error))
    threads(options.threads)
    shapes, repeats = (QUICK, 3) if options.quick else (SHAPES, options.repeats)
    shapes = (tuple(options.shape),) if options.shape else shapes
    dtype = getattr(torch, options.dtype) if options.dtype else precision(options.device)
    found = [measure(shape, repeats, options.device, dtype, options.fed) for shape in shapes]
    for each in found:
        print(f"n = {each['n']}, p = {each['p']}, k = {each['k']}, {each['precision']}, chunks of {each['chunk']}")
        print(f"  one large product {each['tflops']:.3f} TFLOP/s, difference from float64 {each['difference']:.1e}")
        for name, ratio in each["ratios"].items():
            print(f"  {name:32} " + ", ".join(f"{ratio[by]:.2f} ({by})" for by in BY))
    if options.out:
        options.out.write_text(json.dumps({"machine": description(), "shapes": found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
