"""How long does one wait to learn why a sample is thought helpful or harmful?

    python -m benchmarks.why [--rows 1000000] [--samples 3] [--classes 100] [--out FILE]

`diva.curation.why.explain` of members of n rows of p = 512 float32 features in one HDF5 file, read once a sample, after
one fit of the same rows, which several samples share. Processor seconds beside the wall's: those of a machine with
other work are the ones to trust.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from benchmarks.machine import description, publish
from benchmarks.measured import peak_since, reset_peak
from diva.curation.why import Query, explain
from diva.numerics.losses import Loss
from diva.numerics.normalize import Prepared
from diva.numerics.precision import fit_ridge
from diva.store.streams import FeatureRows

P, CHUNK, BLOCK = 512, 8192, 1 << 16


def write(path: Path, rows: int, classes: int) -> None:
    """Features around a centre per class, every label in ten wrong, made block by block."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((classes, P), dtype=np.float32)
    with h5py.File(path, "w") as file:
        stored, codes = file.create_dataset("features", (rows, P), np.float32), np.empty(rows, np.int32)
        for start in range(0, rows, BLOCK):
            n = min(BLOCK, rows - start)
            true = random.integers(0, classes, n)
            wrong = random.random(n) < 0.1
            codes[start : start + n] = np.where(wrong, random.integers(0, classes, n), true)
            stored[start : start + n] = centres[true] + 4 * random.standard_normal((n, P), dtype=np.float32)
        file["labels"] = codes
        file["sample_id"] = np.char.zfill(np.arange(rows).astype("S32"), 32)
        file.create_dataset("classes", data=names(classes), dtype=h5py.string_dtype())


def names(classes: int) -> list[str]:
    """Names of classes, in the order of their codes."""
    return [f"{code:05d}" for code in range(classes)]


def measured(work: Any) -> tuple[Any, dict[str, float]]:
    """What the work returns, with its seconds and its processor's."""
    begun, used = time.perf_counter(), time.process_time()
    result = work()
    return result, {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - used}


def run(path: Path, classes: int, samples: int) -> dict[str, Any]:
    """The fit, and each sample."""
    chunks = Prepared(FeatureRows.whole([path], names(classes), CHUNK))
    before = reset_peak()
    fitted, fit = measured(lambda: fit_ridge(chunks, classes, 1.0))
    n, asked = chunks.shape[0], []
    for row in np.linspace(0, n - 1, samples).astype(int).tolist():
        together = torch.zeros(n, dtype=torch.bool)
        together[row] = True
        features, labels, rows = next(part for part in chunks if part[2].start <= row < part[2].stop)
        query = Query(features[row - rows.start], int(labels[row - rows.start]), together)
        reasons, cost = measured(lambda query=query: explain(fitted, query, Loss("calibrated", 10.0), 10.0))
        asked.append({**cost, "derivative": reasons.derivative, "harmed": len(reasons.harmed.rows)})
    return {"rows": n, "features": P, "classes": classes, "fit": fit, "samples": asked, "peak_mib": peak_since(before)}


def main() -> None:
    """Write the file, measure, print, and write FILE."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.h5")
        write(path, given.rows, given.classes)
        result = {"machine": description(), **run(path, given.classes, given.samples)}
    publish(result, given.out)


if __name__ == "__main__":
    main()
