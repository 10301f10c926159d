"""A small network fine-tuned on a core, on the release and on everything as delivered, on a CPU.

    python -m benchmarks.finetune [--images FOLDER] [--classes 10] [--epochs 6] [--seeds N] [--out FILE]

FOLDER holds class folders of images under train and test, such as Flowers-102's; of its classes the first are taken, at
64 pixels. The other set are scikit-learn's digits, 300 of them to train and 400 to test, at 32. Half of the training
images of each class are the core; 30 % of the others carry a wrong label. Extend chooses from these by the features of
the network as it comes, what is called wrong leaves, and the rest is weighed by Reweight, in every draw. Then the
network, EfficientNet-Lite0 with ImageNet weights, is trained whole, and errs on so many per cent of the test images.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader

from benchmarks import machine
from benchmarks.criteria import summarised
from benchmarks.panel import WEIGHING
from benchmarks.problems import Array, fitted, halves, mislabelled, prepared
from diva.curation.detect import detect
from diva.curation.extend import extend
from diva.curation.reweight import reweight
from diva.vision.backbone import Backbone
from diva.vision.backbones import load_backbone
from diva.vision.decoding import read_image
from diva.vision.release import Release
from diva.vision.transforms import ResizeCrop, Transform
from diva.vision.tuning import Tuning, judge

PIXELS = 64  # of flowers
SIDES = {"flowers": PIXELS, "digits": 32}
DIGITS, TESTS = 300, 400  # to train, to test

Paths = tuple[list[str], Array]  # of n images, and their labels (n,)


def flowers(images: Path, classes: int, folder: Path) -> tuple[Paths, Paths]:
    """Training and test images of the first classes, made small once."""
    names = sorted(path.name for path in (images / "train").iterdir())[:classes]
    made: list[Paths] = []
    for part in ("train", "test"):
        files = [(file, code) for code, name in enumerate(names) for file in sorted((images / part / name).iterdir())]
        small = [folder / f"{part}-{number}.png" for number in range(len(files))]
        for (file, _), target in zip(files, small, strict=True):
            image = read_image(file)
            scale = PIXELS / min(image.size)
            image.resize([max(PIXELS, round(side * scale)) for side in image.size]).save(target)
        made.append(([str(path) for path in small], np.array([code for _, code in files])))
    return made[0], made[1]


def digits(folder: Path, seed: int) -> tuple[Paths, Paths]:
    """A random part of the digits to train, the others to test."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    paths = [folder / f"digit-{number}.png" for number in range(len(labels))]
    for row, path in zip(pixels, paths, strict=True):
        Image.fromarray((row.reshape(8, 8) * 15).astype(np.uint8)).convert("RGB").save(path)
    parts = (order[:DIGITS], order[DIGITS : DIGITS + TESTS])
    train, test = (([str(paths[row]) for row in rows], labels[rows]) for rows in parts)
    return train, test


def features(backbone: Backbone, paths: list[str], labels: Array, transform: Transform) -> Array:
    """Rows of unit length (n, p)."""
    with torch.inference_mode():
        x = torch.cat([backbone(pixels) for pixels, _ in DataLoader(Release(frame(paths, labels), transform), 64)])
    return torch.nn.functional.normalize(x).numpy()


def frame(paths: list[str], labels: Array, weights: Array | None = None) -> dict[str, list[Any]]:
    """What a release's rows say."""
    weights = np.ones(len(labels)) if weights is None else weights
    return {"path": paths, "label": [f"{label:03d}" for label in labels], "weight": weights.tolist()}


def training_sets(x: Array, labels: Array, core: Array, pool: Array, classes: int, seed: int) -> Iterator[Any]:
    """Name, rows and weights of each training set."""
    start = fitted(x[core], labels[core], classes)
    rows = prepared(x[pool], labels[pool])
    members = np.concatenate([core, pool[extend(start, rows).index.numpy()]])
    made = fitted(x[members], labels[members], classes)
    stays = ~detect(made).flagged.numpy()
    weights = reweight(made, steps="auto", seed=seed, **WEIGHING).weights.numpy()
    yield "core", core, None
    yield "release", members[stays], None
    yield "release, weights", members[stays], weights[stays]
    yield "everything", np.concatenate([core, pool]), None


def errors(backbone: Backbone, train: Paths, test: Paths, side: int, epochs: int, seed: int) -> dict[str, float]:
    """Test error in % of the network that each set trains, and the images in it."""
    paths, truth = train
    classes = int(truth.max()) + 1
    core, pool = halves(truth, seed)
    labels = truth.copy()
    labels[pool] = mislabelled(truth[pool], "uniform 30 %", classes, seed)
    names = [f"{code:03d}" for code in range(classes)]
    transform = ResizeCrop(side, side, (0.5,) * 3, (0.5,) * 3)
    tuned = judge(backbone, transform, Tuning(epochs, learning_rate=2e-3, batch_size=8, seed=seed, device="cpu"))
    figures: dict[str, float] = {}
    x = features(backbone, paths, labels, transform)
    for name, rows, weights in training_sets(x, labels, core, pool, classes, seed):
        wrong = tuned(frame([paths[row] for row in rows], labels[rows], weights), frame(*test), names)
        figures |= {name: 100 * float(wrong.mean()), f"{name}: images": float(len(rows))}
        print(f"{name}: {len(rows)} images, test error {figures[name]:.1f} %", flush=True)
    return figures


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    backbone = load_backbone("bundled:efficientnet_lite0", "DEFAULT", size=PIXELS)
    draws: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        packs = {"flowers": flowers(given.images, given.classes, Path(folder))} if given.images else {}
        for seed in range(given.seeds):
            draw = {**packs, "digits": digits(Path(folder), seed)}
            made = {name: errors(backbone, *sets, SIDES[name], given.epochs, seed) for name, sets in draw.items()}
            draws.append({f"{name}, {key}": value for name, part in made.items() for key, value in part.items()})
            print(json.dumps({"seed": seed, **draws[-1]}), flush=True)
    about = {
        "machine": machine.description(),
        "pixels": SIDES,
        "classes": given.classes,
        "epochs": given.epochs,
        "seeds": given.seeds,
    }
    if given.out:
        content = about | {"figures": summarised(draws), "draws": draws}
        given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
