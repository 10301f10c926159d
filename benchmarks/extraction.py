"""How fast do images become features, against the bare network and against a plain loop?

    python -m benchmarks.extraction [--images FOLDER] [--weights FILE] [--backbone NAME] [--resize 256] [--crop 224]
                                    [--device auto] [--batch 64] [--quick] [--out FILE]
    python -m benchmarks.extraction --device cuda --backbone resnet50 --batch 256 --count 8192 --out FILE

In turns, on the same images (JPEG files of FOLDER, or photographs made up), in images per second:

    bare, eager   the network as torch runs it, on batches that lie ready in memory (channels last)
    bare          the network as extraction runs it, on images that lie ready in memory as bytes
    extraction    `diva.vision.extraction.extract`: reading, decoding and resizing included
    by torch      on the CPU, the same where ONNX Runtime is not installed
    loop          one image after another decoded in the main process, then the network as torch runs it
    decoding      reading, decoding and resizing alone, on one thread

Ratios are of one turn; their median counts. Features of extraction and loop are compared.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.machine import description
from diva.numerics.device import resolve
from diva.store.features import Failure
from diva.vision import onnx_runtime
from diva.vision.backbone import Backbone
from diva.vision.backbones import load_backbone
from diva.vision.datasets import ImageFiles
from diva.vision.decoding import read_image
from diva.vision.extraction import extract
from diva.vision.forward import Forward
from diva.vision.transforms import ResizeCrop, Transform


class Ready(ImageFiles):
    """Files whose pixels lie in memory already."""

    def __init__(self, files: ImageFiles) -> None:
        super().__init__(files.paths, files.transform)
        self.kept = [files.pixels(row) for row in range(len(files))]

    def pixels(self, row: int) -> Tensor | Failure:
        """As they were read."""
        return self.kept[row]

    encoded = pixels  # type: ignore[assignment]


def photographs(folder: Path, count: int) -> list[str]:
    """JPEG files of 500 × 650 pixels: waves and grain, which cost a decoder about what photographs do."""
    random, paths = np.random.default_rng(0), []
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (33, 25, 3), dtype=np.uint8)).resize((500, 650))
        pixels = np.asarray(coarse, dtype=np.int16) + random.integers(-12, 13, (650, 500, 3), dtype=np.int16)
        paths.append(str(folder / f"{number:05d}.jpg"))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def eager(backbone: Backbone, images: Tensor, device: torch.device) -> Tensor:
    """A plain forward pass; mixed precision on a GPU."""
    mixed = device.type == "cuda" and backbone.trained
    with torch.inference_mode(), torch.autocast(device.type, torch.float16, enabled=mixed):
        place = images.to(device, memory_format=torch.channels_last, non_blocking=True)
        features: Tensor = backbone(place).float().cpu()
        return features


def loop(backbone: Backbone, transform: Transform, paths: list[str], device: torch.device, batch: int) -> Tensor:
    """What one writes first."""
    batches = [paths[start : start + batch] for start in range(0, len(paths), batch)]
    parts = [eager(backbone, torch.stack([transform(read_image(p)) for p in some]), device) for some in batches]
    return torch.cat(parts)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Of wall clock and of processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def ways(backbone: Backbone, files: ImageFiles, device: torch.device, batch: int) -> dict[str, Callable[[], object]]:
    """What is measured."""
    ready = Ready(files)
    batches = torch.stack([files[row] for row in range(len(files))]).split(batch)  # type: ignore[arg-type]
    batches = [some.to(memory_format=torch.channels_last) for some in batches]
    options: dict[str, Any] = {"batch_size": batch, "progress": False}
    forward = Forward(backbone, device, files.steps)
    with mock.patch.object(onnx_runtime, "available", return_value=False):
        by_torch = Forward(backbone, device, files.steps)
    on_the_processor = {"by torch": lambda: list(extract(by_torch, files, **options))} if device.type == "cpu" else {}
    return {
        "bare, eager": lambda: [eager(backbone, some, device) for some in batches],
        "bare": lambda: list(extract(forward, ready, **options)),
        "extraction": lambda: list(extract(forward, files, **options)),
        "loop": lambda: loop(backbone, files.transform, files.paths, device, batch),
        "decoding": lambda: [files.pixels(row) for row in range(len(files))],
    } | on_the_processor


def compare(backbone: Backbone, files: ImageFiles, device: torch.device, batch: int, turns: int) -> dict[str, Any]:
    """Images per second and ratios, by wall clock and by processor time."""
    measured = ways(backbone, files, device, batch)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in measured}
    for _ in range(turns):
        for name, work in measured.items():
            times[name].append(seconds(work))
    pairs = {"of the bare network, eager": "bare, eager", "of the bare network": "bare", "of the loop": "loop"}
    pairs["of that by torch"] = "by torch"
    ratios = {
        f"{clock}: {name}": statistics.median(
            other[unit] / own[unit] for other, own in zip(times[against], times["extraction"], strict=True)
        )
        for unit, clock in enumerate(("wall clock", "processor time"))
        for name, against in pairs.items()
        if against in times
    }
    rates = {name: len(files) / statistics.median(wall for wall, _ in spent) for name, spent in times.items()}
    return {"images": len(files), "images_per_second": rates, "extraction_rate": ratios}


def difference(backbone: Backbone, files: ImageFiles, device: torch.device, batch: int) -> float:
    """Largest relative difference of a row of features between extraction and loop."""
    expected = loop(backbone, files.transform, files.paths, device, batch).numpy()
    options: dict[str, Any] = {"batch_size": batch, "device": device.type, "progress": False}
    got = np.concatenate([block.features for block in extract(backbone, files, **options)])
    return float((np.linalg.norm(got - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--resize", type=int, default=256)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=64, help="images that travel together")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="128 images, one turn")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.count, options.turns = 128, 1
    backbone, device = (
        load_backbone(options.backbone, options.weights, size=options.crop),
        torch.device(resolve(options.device)),
    )
    with tempfile.TemporaryDirectory() as folder:
        found = sorted(str(path) for path in options.images.rglob("*.jpg")) if options.images else []
        step = max(1, len(found) // options.count)
        paths = found[::step][: options.count] or photographs(Path(folder), options.count)
        files = ImageFiles(paths, backbone.preset or ResizeCrop(options.resize, options.crop))
        warm = ImageFiles(paths[: options.batch], files.transform)
        list(extract(backbone, warm, batch_size=options.batch, device=device.type, progress=False))
        result = compare(backbone, files, device, options.batch, options.turns)
        result["largest_relative_difference"] = difference(backbone, files, device, options.batch)
    for name, rate in result["images_per_second"].items():
        print(f"{name:<14}{rate:8.1f} images/s")
    for name, ratio in result["extraction_rate"].items():
        print(f"extraction, {name}: {ratio:.2f}")
    print(f"largest relative difference of features from the loop's: {result['largest_relative_difference']:.1e}")
    if options.out:
        what = {"backbone": options.backbone, "crop": options.crop, "device": device.type, "batch": options.batch}
        options.out.write_text(json.dumps({"machine": description(), **what, **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
