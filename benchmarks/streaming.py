"""What does it cost to read from disk instead of memory, and how much memory does it need?

    python -m benchmarks.streaming [--rows 2000000] [--times 10] [--repeat] [--features FILE.npz] [--quick] [--out FILE]

The derivative of n rows of p = 512 float16 features (k = 100) in HDF5 files against that of 200,000 float32 rows in
memory, per row, each in a process of its own, in turns; the peak is of resident memory above the imported process.
``--times`` measures that many times the rows as well: as many files, or with ``--repeat`` the same file again and again
(where the disk is too small; then the operating system may keep it in memory). Before that, how files may be laid out:
size and reading time of contiguous and chunked data sets, with and without compression; FILE.npz gives real features.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from benchmarks.machine import description

P, K, CHUNK = 512, 100, 8192
IN_MEMORY = 200_000
LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunks of 64 rows": {"chunks": 64},
    "chunks of 1024 rows": {"chunks": 1024},
    "chunks of 1024 rows, lzf": {"chunks": 1024, "compression": "lzf"},
    "chunks of 1024 rows, shuffled, lzf": {"chunks": 1024, "compression": "lzf", "shuffle": True},
    "chunks of 1024 rows, shuffled, gzip 4": {"chunks": 1024, "compression": "gzip", "shuffle": True},
}
Array = npt.NDArray[Any]


def block(rows: int, seed: int) -> tuple[Array, Array]:
    """Features around a centre per class, and labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, K, rows)
    centres = np.random.default_rng(0).standard_normal((K, P), dtype=np.float32)
    return centres[labels] + 2 * random.standard_normal((rows, P), dtype=np.float32), labels


def write(path: Path, rows: int, seed: int = 0) -> None:
    """A file of features; blocks repeat, which changes no time."""
    features, labels = block(min(rows, 1 << 16), seed)
    half = features.astype(np.float16)
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("features", (rows, P), np.float16)
        for start in range(0, rows, len(half)):
            stored[start : start + len(half)] = half[: rows - start]
        file["labels"] = np.resize(labels, rows).astype(np.int32)
        file["sample_id"] = np.full(rows, b"0" * 32, dtype="S32")
        file.create_dataset("classes", data=[f"{label:03d}" for label in range(K)], dtype=h5py.string_dtype())


def layouts(features: Array, folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Bytes per number, and microseconds per row of a whole pass and of a pass over a random half, by layout."""
    n, p = features.shape
    half = np.sort(np.random.default_rng(0).permutation(n)[: n // 2])
    found = {}
    for name, how in LAYOUTS.items():
        path = folder / "layout.h5"
        options = dict(how, **({"chunks": (min(how["chunks"], n), p)} if how else {}))
        with h5py.File(path, "w") as file:
            file.create_dataset("features", data=features, **options)
        whole, part = [], []
        for _ in range(repeats):
            whole.append(reading(path, [np.arange(s, min(s + CHUNK, n)) for s in range(0, n, CHUNK)]) / n)
            part.append(reading(path, np.array_split(half, -(-len(half) // CHUNK))) / len(half))
        size = path.stat().st_size / features.size
        found[name] = {"bytes": size, "whole": 1e6 * min(whole), "half": 1e6 * min(part)}
    return found


def reading(path: Path, parts: list[Array]) -> float:
    """Seconds to read these rows, part by part, as a pass does."""
    from diva.store.streams import FeatureRows

    rows = np.concatenate(parts)
    nothing = np.zeros(len(rows), dtype=np.int64)
    stream = FeatureRows.indexed([path], nothing, rows, nothing, len(parts[0]))
    begun = time.perf_counter()
    for _ in stream:
        pass
    return time.perf_counter() - begun


def derivative(source: str, rows: int, paths: list[str]) -> dict[str, float]:
    """Seconds and peak MiB of the derivative; run in a process of its own."""
    import torch

    from benchmarks.measured import peak_since, reset_peak
    from diva.numerics.chunks import InMemory
    from diva.numerics.derivative import dataset_derivative
    from diva.numerics.losses import Loss
    from diva.numerics.normalize import Prepared
    from diva.numerics.precision import fit_ridge
    from diva.store.streams import FeatureRows

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    chunks: Any = InMemory(*block(rows, 0), CHUNK) if source == "memory" else None
    warm = Prepared(InMemory(*block(4 * CHUNK, 1), CHUNK))
    loss = Loss("calibrated", temperature=10.0)
    dataset_derivative(fit_ridge(warm, K, 1.0), loss)
    before, begun, used = reset_peak(), time.perf_counter(), time.process_time()
    if chunks is None:
        chunks = FeatureRows.whole(paths, [f"{label:03d}" for label in range(K)], CHUNK)
    result = dataset_derivative(fit_ridge(Prepared(chunks), K, 1.0), loss)
    seconds, used = time.perf_counter() - begun, time.process_time() - used
    assert result.validating > 0  # noqa: S101 - it did compute
    return {"rows": len(result.values), "seconds": seconds, "cpu": used, "peak_mib": peak_since(before)}


def measured(*arguments: object) -> dict[str, float]:
    """``derivative`` in another process."""
    command = [sys.executable, "-m", "benchmarks.streaming", "--measure", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def passes(paths: list[Path], rows: int, repeats: int) -> dict[str, Any]:
    """In turns from memory and from the files; the median of the ratios per row."""
    memory, stream = [], []
    for _ in range(repeats):
        memory.append(measured("memory", min(rows, IN_MEMORY)))
        stream.append(measured("files", rows, *paths))
    ratio, cpu = (
        statistics.median(s[unit] / s["rows"] / (m[unit] / m["rows"]) for s, m in zip(stream, memory, strict=True))
        for unit in ("seconds", "cpu")
    )
    return {
        "rows": stream[0]["rows"],
        "seconds": [run["seconds"] for run in stream],
        "microseconds_per_row": [1e6 * run["seconds"] / run["rows"] for run in stream],
        "microseconds_per_row_in_memory": [1e6 * run["seconds"] / run["rows"] for run in memory],
        "ratio": ratio,
        "ratio_of_processor_time": cpu,
        "peak_mib": max(run["peak_mib"] for run in stream),
    }


def sets(folder: Path, rows: int, times: int, repeat: bool) -> Iterator[tuple[list[Path], bool]]:
    """The files of n rows, then of ``times`` as many, and whether these are files of their own."""
    one = folder / "0.h5"
    write(one, rows)
    yield [one], True
    if times > 1:
        own = not repeat and shutil.disk_usage(folder).free > 1.1 * (times - 1) * one.stat().st_size
        paths = [folder / f"{number}.h5" if own else one for number in range(times)]
        for path in paths[1:] if own else ():
            shutil.copyfile(one, path)
        yield paths, own


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--repeat", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--quick", action="store_true", help="100,000 rows, and three times as many, once")
    parser.add_argument("--folder", type=Path, help="where the files are made; a temporary one by default")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        source, rows, *paths = options.measure
        print(json.dumps(derivative(source, int(rows), paths)))
        return
    if options.quick:
        options.rows, options.times, options.repeats = 100_000, 3, 1
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        report(Path(name), options)


def report(folder: Path, options: argparse.Namespace) -> None:
    """All figures."""
    features = block(50_000, 0)[0].astype(np.float16)
    if options.features:
        with np.load(options.features, allow_pickle=False) as pack:
            features = np.concatenate([pack["x_train"], pack["x_test"]]).astype(np.float16)
    found = layouts(features, folder, options.repeats)
    print(f"{features.shape[0]:,} rows of {features.shape[1]}: bytes a number, µs a row in order, µs a row of a half")
    for name, row in found.items():
        print(f"  {name:<40}{row['bytes']:6.2f}{row['whole']:8.2f}{row['half']:8.2f}")
    results = []
    for paths, own in sets(folder, options.rows, options.times, options.repeat):
        result = passes(paths, options.rows * len(paths), options.repeats if len(paths) == 1 else 1)
        results.append({"files": len(paths) if own else 1, **result})
        cpu = result["ratio_of_processor_time"]
        print(
            f"{result['rows']:,} rows × {P} float16, {results[-1]['files']} files: {result['ratio']:.2f} × the time "
            f"per row in memory ({cpu:.2f} × the processor time), peak {result['peak_mib']:.0f} MiB above the imported"
            " process"
        )
    if options.out:
        content = {"machine": description(), "layouts": found, "passes": results}
        options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
