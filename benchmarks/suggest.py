"""What to label next: every rule by the test error that its labels bring, and what the default rule costs.

    python -m benchmarks.suggest --features FILE.npz [--start 2] [--per-round 89] [--seeds 3] [--rules R …] [--out FILE]
    python -m benchmarks.suggest --pool 100000 --budget 500 [--threads 2] [--out FILE.json]

FILE.npz holds x_train (n, p), y_train, x_test, y_test. A run starts with so many rows of each class, drawn by its seed,
and asks for so many more in each of five rounds; they come with the label that the file gives them. Errors are those of
the ridge head on all that is labelled, λ by leave-one-out, in percent, after each round.

The cost is held against what scores every row of the pool once (outlook, leverage and pull), and against products that
an exact greedy choice of b rows needs beyond it, 4npb flops, at the rate at which this machine does thin products. Rows
are made anew, chunk by chunk, in every pass, so that the peak of memory is that of the choice; that time is subtracted.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy import Pack, load
from benchmarks.machine import description, threads
from benchmarks.measured import peak_since, reset_peak
from diva.curation.acquisition import BLOCK
from diva.curation.suggest import suggest
from diva.methods.names import RULES, names
from diva.numerics import products
from diva.numerics.chunks import Chunk, InMemory
from diva.numerics.expected_variance import outlook, row_variances
from diva.numerics.grid import choose_ridge
from diva.numerics.precision import fit_ridge

P, K, LABELLED, ROUNDS = 512, 100, 2000, 5


def run(pack: Pack, rule: str, start: int, per_round: int, seed: int) -> tuple[list[float], float]:
    """Test errors at the start and after each round, and the seconds that choosing took."""
    rng, seconds = np.random.default_rng(seed), 0.0
    labelled = np.concatenate([rng.permutation(np.flatnonzero(pack.y == c))[:start] for c in range(pack.classes)])
    errors = []
    for number in range(ROUNDS + 1):
        core = choose_ridge(pack.rows(labelled, pack.y[labelled]), pack.classes).fit()
        errors.append(pack.error(core.chunks, core.ridge))
        if number == ROUNDS:
            return errors, seconds
        unlabelled = np.setdiff1d(np.arange(len(pack.y)), labelled)
        pool = pack.rows(unlabelled, np.zeros(len(unlabelled), dtype=np.int64))
        began = time.perf_counter()
        chosen = suggest(core, pool, budget=per_round, rule=rule, seed=ROUNDS * seed + number)
        seconds += time.perf_counter() - began
        labelled = np.concatenate([labelled, unlabelled[chosen.index.numpy()]])
    raise AssertionError


def compare(pack: Pack, rules: list[str], start: int, per_round: int, seeds: int) -> dict[str, Any]:
    """Of each rule the errors of each round and their mean, over the seeds."""
    table: dict[str, Any] = {}
    for rule in rules:
        runs = [run(pack, rule, start, per_round, seed) for seed in range(seeds)]
        means = [statistics.mean(errors[1:]) for errors, _ in runs]
        rounds = [statistics.mean(errors[i] for errors, _ in runs) for i in range(ROUNDS + 1)]
        spread = statistics.stdev(means) if seeds > 1 else 0.0
        table[rule] = {"mean": statistics.mean(means), "spread": spread, "rounds": rounds, "runs": runs}
        print(
            f"{rule:18} {table[rule]['mean']:6.2f} ± {spread:.2f}  {' '.join(f'{e:6.2f}' for e in rounds)}", flush=True
        )
    return table


class Made:
    """n random rows, made anew in every pass: eight chunks of unit norm and a constant, their columns moved round."""

    def __init__(self, n: int, chunk_size: int = 8192) -> None:
        self.n, self.chunk_size, self.passes = n, chunk_size, 0
        z = torch.randn(8, chunk_size, P, generator=torch.Generator().manual_seed(0)).clamp_min_(0)
        z /= torch.linalg.vector_norm(z, dim=2, keepdim=True)
        z[:, :, -1] = 1
        self.base, self.labels = z, torch.zeros(chunk_size, dtype=torch.int64)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p)."""
        return self.n, P

    def __iter__(self) -> Iterator[Chunk]:
        self.passes += 1
        for number, start in enumerate(range(0, self.n, self.chunk_size)):
            size = min(self.chunk_size, self.n - start)
            z = self.base[number % 8, :size].roll(number // 8, 1)
            yield Chunk(z, self.labels[:size], slice(start, start + size))


def timed(work: Callable[[], Any]) -> float:
    """Processor seconds of this process: others on the machine do not count."""
    began = time.process_time()
    work()
    return time.process_time() - began


def cost(n: int, budget: int) -> dict[str, float]:
    """Processor seconds of a pass over n rows, of choosing ``budget``, and of the greedy products by their flops."""
    rows = torch.cat([z for z, _, _ in Made(LABELLED)])
    core = fit_ridge(InMemory(rows, torch.arange(LABELLED) % K), K, 1.0)
    pool, inverse = Made(n), core.model.inverse
    making = min(timed(lambda: [None for _ in pool]) for _ in range(3))
    passing = min(
        timed(lambda: (outlook(pool, core.model, 8.0), row_variances(pool, inverse, inverse))) for _ in range(3)
    )
    thin = torch.randn(P, 2 * BLOCK)
    part, out = rows.repeat(4, 1), torch.empty(4 * LABELLED, 2 * BLOCK)
    rate = (
        2 * part.numel() * thin.shape[1] / min(timed(lambda: out.copy_(products.times(part, thin))) for _ in range(9))
    )
    pool = Made(n)
    before = reset_peak()
    choosing = timed(lambda: suggest(core, pool, budget=budget, temperature=8.0))
    peak = peak_since(before)
    flops = 4.0 * n * P * budget
    found = {"rows": n, "budget": budget, "pass": passing - 2 * making, "choice": choosing - pool.passes * making}
    found |= {
        "making": making,
        "passes": pool.passes,
        "greedy_flops": flops,
        "flops_per_second": rate,
        "greedy": flops / rate,
        "peak_mib": peak,
    }
    return found | {
        "choice / pass": found["choice"] / found["pass"],
        "(choice - greedy) / pass": (found["choice"] - found["greedy"]) / found["pass"],
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--start", type=int, default=2)
    parser.add_argument("--per-round", type=int, default=89)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rules", nargs="+", default=list(names(RULES)))
    parser.add_argument("--pool", type=int, help="measure the cost on so many made rows instead")
    parser.add_argument("--budget", type=int, default=500)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    threads(options.threads)
    if options.pool:
        found: dict[str, Any] = cost(options.pool, options.budget)
        print("\n".join(f"{name:26} {value:.4g}" for name, value in found.items()))
    else:
        settings = {"start": options.start, "per_round": options.per_round, "seeds": options.seeds}
        found = settings | {"rules": compare(load(options.features), options.rules, **settings)}
    if options.out:
        options.out.write_text(json.dumps({"machine": description(), **found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
