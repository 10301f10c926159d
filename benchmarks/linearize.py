"""What the linearisation of the last block does to errors and gains, against the last layer alone, on the same images.

    python -m benchmarks.linearize --features FILE.npz [--draws 5] [--out FILE.json]

FILE.npz is made by `python -m benchmarks.images … --linearize P`: its last P columns are the projected Jacobian rows of
the last block, those before them what goes into the last layer. Errors in percent; λ by leave-one-out, as elsewhere.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import problems
from benchmarks.accuracy import RIDGES, Pack, extend_gains, from_arrays, reweight_gains
from benchmarks.machine import description
from diva.numerics.grid import choose_ridge


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", required=True)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    arrays = problems.load(options.features)
    layer = arrays["x_train"].shape[1] - int(arrays["projection"])
    result: dict[str, Any] = {"pack": Path(options.features).stem, "machine": description()}
    for name, columns in {"last layer": slice(layer), "last block": slice(layer, None), "both": slice(None)}.items():
        some = {key: x[:, columns] if key.startswith("x_") else x for key, x in arrays.items()}
        result[name] = measure(from_arrays(some), options.draws)
        print(name, json.dumps(result[name]), flush=True)
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(pack: Pack, draws: int) -> dict[str, Any]:
    """Errors and gains of one kind of features."""
    pack = replace(pack, x=np.ascontiguousarray(pack.x))
    choice = choose_ridge(pack.rows(np.arange(len(pack.y)), pack.y), pack.classes, RIDGES)
    keep = ("before", "after", "gain", "spread")
    gains = {
        f"reweight, {loss}, {share:.0%} wrong": {
            key: value for key, value in reweight_gains(pack, loss, share, draws).items() if key in keep
        }
        for loss in ("hard_margin", "calibrated")
        for share in (0.0, 0.2)
    }
    gains["extend, calibrated, clean pool"] = extend_gains(pack, "calibrated", 0.0, draws)
    return {"features": pack.x.shape[1], "ridge": choice.ridge, "loo_error": 100 * choice.error, **gains}


if __name__ == "__main__":
    main()
