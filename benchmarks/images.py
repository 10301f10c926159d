"""From images to a pack of features that the other benchmarks read, with variants of the training images.

    python -m benchmarks.images --train SOURCE --test SOURCE [--network resnet34] [--weights DEFAULT|PATH]
                                [--variants horizontal_flip vertical_flip …] [--linearize P] --out FILE.npz

SOURCE is what `diva init` takes: a folder class/image, a list, dataset:NAME. FILE.npz holds x_train (n, p), y_train,
x_test, y_test, class_name, and x_train_NAME for each variant: the same rows after a transform of params.yaml's section
augment. With CLIP (--network open_clip:ARCHITECTURE --weights PATH) also x_names, y_names: the embeddings of the class
names. With --linearize the features are those of the network linearised in its last block, projected to P.
"""

import argparse
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from diva.ingest import sources
from diva.vision import backbones, clip, datasets, extraction, linearize, transforms, variants

logger = logging.getLogger(__name__)
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
    given = parser.parse_args()
    write(
        given.out, given.train, given.test, given.network, given.weights, given.variants,
        size=given.size, projection=given.linearize, workers=given.workers,
    )  # fmt: skip


def write(
    out: Path,
    train: str,
    test: str | None,
    network: str,
    weights: str,
    wanted: list[str],
    *,
    size: int = 224,
    projection: int | None = None,
    workers: int = 0,
) -> None:
    """The pack of two sources; see the module."""
    out.parent.mkdir(parents=True, exist_ok=True)  # before the work, which would be lost
    with tempfile.TemporaryDirectory() as folder:
        parts = {"train": read(train, "train", Path(folder) / "train")}
        parts["test"] = read(test or train, "test", Path(folder) / "test")
        np.savez(out, **pack(parts, network, weights, wanted, size, projection, workers))
    print(out)


def read(source: str, part: str, folder: Path) -> tuple[list[str], np.ndarray]:
    """Paths and labels of a source's usable images."""
    folder.mkdir()
    if source == "digits":
        named = {"train": {"size": 1300}, "test": {"offset": 1300, "size": 497}}[part]
    else:
        named = {"split": part} if source.startswith(("dataset:", "torchvision:")) else {}
    samples = sources.open_source(source, named).read(folder).samples
    return samples["path"].to_list(), samples["label"].to_numpy().astype(str)


def pack(
    parts: dict[str, tuple[list[str], np.ndarray]],
    name: str,
    weights: str,
    wanted: list[str],
    size: int,
    projection: int | None,
    workers: int,
) -> dict[str, np.ndarray]:
    """The arrays of FILE.npz."""
    network: Any = backbones.load_backbone(name, weights, size=size)
    transform = network.preset or transforms.ResizeCrop(size * 8 // 7, size)
    if projection:
        network = linearize.Linearized(network, projection)
    names = np.unique(parts["train"][1])
    arrays = {"class_name": names, "network": np.array(network.name), "weights": np.array(told(weights))}
    if name.startswith(clip.PREFIX):
        spoken = [clip.spoken(label) for label in names.tolist()]
        arrays |= {"x_names": clip.embed_names(name, weights, spoken), "y_names": np.arange(len(names))}
    for part, (paths, labels) in ((part, of_classes(names, part, *listed)) for part, listed in parts.items()):
        arrays[f"x_{part}"] = features(network, paths, transform, workers)
        arrays[f"y_{part}"] = np.searchsorted(names, labels)
    if projection:
        arrays["projection"] = np.array(projection)
    known = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["augment"]["transforms"]
    for key in wanted:
        variant = variants.Variant(known[key]["name"], known[key]["arguments"], transform)
        arrays[f"x_train_{key}"] = features(network, parts["train"][0], variant, workers)
    return arrays


def of_classes(names: np.ndarray, part: str, paths: list[str], labels: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The images of classes that train; how many are left out is said."""
    known = np.isin(labels, names)
    if not known.all():
        some = ", ".join(np.unique(labels[~known])[:3].tolist())
        logger.warning("%d images of %s left out: no training image has their class (%s)", (~known).sum(), part, some)
    return [path for path, keep in zip(paths, known, strict=True) if keep], labels[known]


def told(weights: str) -> str:
    """Weights without the folders they lie in."""
    return Path(weights).name


def features(network: Any, paths: list[str], transform: transforms.Transform, workers: int) -> np.ndarray:
    """Rows (n, p) float32 of the images; every image must be readable."""
    blocks = list(extraction.extract(network, datasets.ImageFiles(paths, transform), workers=workers))
    failures = [failure for block in blocks for failure in block.failures]
    if failures:
        raise ValueError(f"images must be readable, got {paths[failures[0].row]}: {failures[0].reason}.")
    return np.concatenate([block.features for block in blocks])


if __name__ == "__main__":
    main()
