"""From images to a pack of features that the other benchmarks read, with variants of the training images.

    python -m benchmarks.images --train SOURCE --test SOURCE [--network resnet34] [--weights DEFAULT|PATH]
                                [--variants horizontal_flip vertical_flip …] [--linearize P] --out FILE.npz

SOURCE is what `diva init` takes: a folder class/image, a list, dataset:NAME. FILE.npz holds x_train (n, p), y_train,
x_test, y_test, class_name, and x_train_NAME for each variant: the same rows after a transform of params.yaml's section
augment. With --linearize the features are those of the network linearised in its last block, projected to P.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from diva.store import sources
from diva.vision import backbones, datasets, extraction, linearize, transforms, variants

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Extract, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="SOURCE; its part `train` where it has parts")
    parser.add_argument("--test", help="SOURCE; the part `test` of --train where not given")
    parser.add_argument("--network", default="resnet34")
    parser.add_argument("--weights", default="DEFAULT", help="DEFAULT, none, or the path of a state dict")
    parser.add_argument("--size", type=int, default=224, help="of the central crop; the shorter side is 8/7 of it")
    parser.add_argument("--variants", nargs="*", default=[], help="names in params.yaml's section augment")
    parser.add_argument("--linearize", type=int, metavar="P")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts = {"train": read(options.train, "train", Path(folder) / "train")}
        parts["test"] = read(options.test or options.train, "test", Path(folder) / "test")
        np.savez(options.out, **pack(parts, options))
    print(options.out)


def read(source: str, part: str, folder: Path) -> tuple[list[str], np.ndarray]:
    """Paths and labels of a source's usable images."""
    folder.mkdir()
    named = {"split": part} if source.startswith(("dataset:", "torchvision:")) else {}
    samples = sources.open_source(source, named).read(folder).samples
    return samples["path"].to_list(), samples["label"].to_numpy()


def pack(parts: dict[str, tuple[list[str], np.ndarray]], options: argparse.Namespace) -> dict[str, np.ndarray]:
    """The arrays of FILE.npz."""
    network: Any = backbones.load_backbone(options.network, options.weights, size=options.size)
    transform = network.preset or transforms.ResizeCrop(options.size * 8 // 7, options.size)
    if options.linearize:
        network = linearize.Linearized(network, options.linearize)
    names = np.unique(parts["train"][1])
    arrays = {"class_name": names}
    for part, (paths, labels) in parts.items():
        arrays[f"x_{part}"] = features(network, paths, transform, options.workers)
        arrays[f"y_{part}"] = np.searchsorted(names, labels)
    wanted = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["augment"]["transforms"]
    for name in options.variants:
        variant = variants.Variant(wanted[name]["name"], wanted[name]["arguments"], transform)
        arrays[f"x_train_{name}"] = features(network, parts["train"][0], variant, options.workers)
    return arrays


def features(network: Any, paths: list[str], transform: transforms.Transform, workers: int) -> np.ndarray:
    """Rows (n, p) float32 of the images; every image must be readable."""
    blocks = list(extraction.extract(network, datasets.ImageFiles(paths, transform), workers=workers))
    failures = [failure for block in blocks for failure in block.failures]
    if failures:
        raise ValueError(f"images must be readable, got {paths[failures[0].row]}: {failures[0].reason}.")
    return np.concatenate([block.features for block in blocks])


if __name__ == "__main__":
    main()
