"""Scikit-learn's digits: slices by name for a ledger, and images in folders."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

UNTRAINED = {  # of section extract: small images, random numbers
    "weights": "none",
    "resize": 32,
    "crop": 32,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


def options(offset: int, size: int, wrong: float = 0.0) -> dict[str, Any]:
    """Options of the source ``digits``: a slice of it, some of whose labels are changed."""
    return {"offset": offset, "size": size, "wrong": wrong, "seed": 1}


def images(folder: Path, rows: Iterable[int]) -> Path:
    """A folder class/row.png of these rows."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for row in rows:
        path = folder / str(digits.target[row]) / f"{row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[row] * 15).astype("uint8")).save(path)
    return folder
