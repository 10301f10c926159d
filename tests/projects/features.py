"""Files of features around a centre a class, for tests of rows in parts."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from diva.store.features import FeatureWriter


def clusters(folder: Path, sizes: Iterable[int], classes: int, width: int) -> list[Path]:
    """A file of so many rows each, with its labels."""
    random, made = np.random.default_rng(0), list[Path]()
    centres = random.standard_normal((classes, width))
    for number, n in enumerate(sizes):
        labels = random.integers(0, classes, n)
        writer = FeatureWriter(folder / f"{number}.h5", {"backbone": "none"}, "float16")
        writer.append((centres[labels] + random.standard_normal((n, width))).astype(np.float32))
        writer.finish([str(label) for label in labels], [f"{number:016x}{row:016x}" for row in range(n)])
        made.append(folder / f"{number}.h5")
    return made
