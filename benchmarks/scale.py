"""How does the time grow with the rows, and what does a cluster add?

    python -m benchmarks.scale [--rows 200000] [--workers 2] [--quick] [--out FILE.json]

The derivative of n and of 10 n rows of p = 512 float16 features (k = 100) in HDF5 files, each in a process of its own;
then that of 10 n rows in this process with as many threads as there are workers, and on a Dask cluster of worker
processes with one thread each on this machine, whose start is not counted: their times, and the largest difference of a
derivative relative to the largest derivative, to one process of one thread too: with another number of threads
products in float32 are rounded otherwise. At the end a worker is killed during the run.
"""

import argparse
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.machine import description, threads
from benchmarks.streaming import CHUNK, K, P, measured, write
from diva.curation.cluster import Cluster
from diva.numerics.derivative import dataset_derivative
from diva.numerics.losses import Loss
from diva.numerics.normalize import Prepared
from diva.numerics.parallel import Parts, cuts
from diva.numerics.precision import fit_ridge
from diva.store.streams import FeatureRows

TIMES = 10
LOSS = Loss("calibrated", temperature=10.0)


def rows(paths: list[Path]) -> FeatureRows:
    """All rows of the files."""
    return FeatureRows.whole(paths, [f"{label:03d}" for label in range(K)], CHUNK)


def derivative(chunks: Any) -> tuple[float, Tensor]:
    """Seconds, and ∂L/∂α."""
    begun = time.perf_counter()
    values = dataset_derivative(fit_ridge(chunks, K, 1.0), LOSS).values
    return time.perf_counter() - begun, values


def spread(paths: list[Path], client: Any, part: int) -> Parts:
    """The same rows in parts for a cluster."""
    whole = rows(paths)
    return Parts([Prepared(whole.part(some)) for some in cuts(whole.shape[0], part, CHUNK)], Cluster(client))


def growth(paths: list[Path], n: int, repeats: int) -> dict[str, Any]:
    """Time and memory of n rows and of ten times as many."""
    runs = [(measured("files", n, paths[0]), measured("files", TIMES * n, *paths)) for _ in range(repeats)]
    return {
        "rows": n,
        "seconds": [few["seconds"] for few, _ in runs],
        "seconds_of_ten_times_as_many": [many["seconds"] for _, many in runs],
        "growth": statistics.median(many["seconds"] / few["seconds"] for few, many in runs),
        "growth_of_processor_time": statistics.median(many["cpu"] / few["cpu"] for few, many in runs),
        "peak_mib": max(many["peak_mib"] for _, many in runs),
    }


def cluster(paths: list[Path], n: int, workers: int, repeats: int) -> dict[str, Any]:
    """One process and the cluster in turns, and the cluster with a worker killed half-way."""
    from distributed import Client, LocalCluster

    threads(workers)
    part = max(CHUNK, n * TIMES // (8 * workers))
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0") as made,
        Client(made) as client,
    ):
        derivative(spread(paths[:1], client, part))  # workers import torch
        runs = [(derivative(Prepared(rows(paths))), derivative(spread(paths, client, part))) for _ in range(repeats)]
        ratio = statistics.median(there / here for (here, _), (there, _) in runs)
        (_, expected), (there, got) = runs[-1]
        victim = next(iter(client.run(os.getpid).values()))
        threading.Timer(there / 2, os.kill, (victim, signal.SIGKILL)).start()
        killed, again = derivative(spread(paths, client, part))
    threads(1)
    _, alone = derivative(Prepared(rows(paths)))
    return {
        "workers": workers,
        "ratio_to_one_process": ratio,
        "difference": difference(got, alone),
        "difference_to_as_many_threads": difference(got, expected),
        "killed": {"ratio": killed / there, "difference": difference(again, alone)},
    }


def difference(got: Tensor, expected: Tensor) -> float:
    """The largest, relative to the largest value."""
    return float((got - expected).abs().max() / expected.abs().max())


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="20,000 rows and 200,000, once")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.rows, options.repeats = 20_000, 1
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.h5" for number in range(TIMES)]
        for number, path in enumerate(paths):
            write(path, options.rows, number)
        grown = growth(paths, options.rows, options.repeats)
        spread_out = cluster(paths, options.rows, options.workers, options.repeats)
    cpu = grown["growth_of_processor_time"]
    print(f"{TIMES} × {options.rows:,} rows × {P}: {grown['growth']:.2f} × the time ({cpu:.2f} × the processor time)")
    print(
        f"Dask, {options.workers} workers: {spread_out['ratio_to_one_process']:.2f} × the time of one process with "
        f"as many threads; difference {spread_out['difference']:.1e} to one of one thread, "
        f"{spread_out['difference_to_as_many_threads']:.1e} to one of as many"
    )
    print("a worker killed: {ratio:.2f} × the time, difference {difference:.1e}".format(**spread_out["killed"]))
    if options.out:
        content = {"machine": description(), **grown, "dask": spread_out}
        options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
