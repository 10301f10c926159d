"""Do images within shards become features as fast as files of a folder, and in how much memory?

    python -m benchmarks.shards [--images 20000] [--shards 20] [--size 128] [--crop 64] [--threads 1] [--out FILE]

The same made-up JPEG files as a folder class/image, and in WebDataset shards; of each, the stages ``download`` and
``extract`` with the bundled network, in a process of their own: processor seconds, rates of one over the other,
and the largest resident memory beside that of a process that had a single shard.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.machine import description, publish

ROOT = Path(__file__).resolve().parent.parent
CLASSES = 10


def encoded(row: int, size: int) -> bytes:
    """A JPEG file whose content no other row has."""
    random, stream = np.random.default_rng(row), io.BytesIO()
    coarse = random.integers(0, 255, (size // 8, size // 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((size, size)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def as_folder(folder: Path, count: int, size: int) -> str:
    """class/image."""
    for label in range(CLASSES):
        (folder / f"class {label}").mkdir(parents=True)
    for row in range(count):
        (folder / f"class {row % CLASSES}" / f"{row:06d}.jpg").write_bytes(encoded(row, size))
    return str(folder)


def as_shards(folder: Path, count: int, size: int, shards: int) -> str:
    """Tar files of key.jpg and key.cls."""
    folder.mkdir()
    for number in range(shards):
        with tarfile.open(folder / f"part-{number:03d}.tar", "w") as tar:
            for row in range(number * count // shards, (number + 1) * count // shards):
                for name, content in (
                    (f"{row:06d}.jpg", encoded(row, size)),
                    (f"{row:06d}.cls", b"%d" % (row % CLASSES)),
                ):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return str(folder / f"part-{{000..{shards - 1:03d}}}.tar")


def measure(source: str, crop: int) -> dict[str, float]:
    """Images per processor second of both stages in the working directory, and the peak of memory."""
    from diva.ingest import project
    from stages.download import download
    from stages.extract import extract
    from tests.projects import ledgers, real_stages

    network: dict[str, Any] = {"backbone": "bundled:efficientnet_lite0", "weights": "DEFAULT"}
    Path("data").mkdir(exist_ok=True)
    real_stages.write_params(extract=network | {"resize": crop, "crop": crop, "batch_size": 64}, download={})
    ledgers.write((source, project.options_of(source, "core")))
    begun = [seconds(lambda stage=stage: stage("core")) for stage in (download, extract)]
    rows = json.loads(Path("data/metrics/extract/core.json").read_text(encoding="utf-8"))["extracted"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"images": rows, "download": begun[0], "extract": begun[1], "rate": rows / sum(begun), "peak_mib": peak}


def seconds(work: Callable[[], None]) -> float:
    """Processor seconds of some work, its processes included."""
    before = time.process_time() + _children()
    work()
    return time.process_time() + _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def apart(folder: Path, source: str, options: argparse.Namespace) -> dict[str, float]:
    """The same in a process of its own."""
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(options.threads)}
    command = [sys.executable, "-m", "benchmarks.shards", "--measure", source, "--crop", str(options.crop)]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Make both, measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.crop)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, few = Path(name), max(64, options.images // options.shards)
        sources = {
            "few": as_shards(folder / "few", few, options.size, 1),
            "folder": as_folder(folder / "folder", options.images, options.size),
            "shards": as_shards(folder / "shards", options.images, options.size, options.shards),
        }
        runs = {kind: apart(folder / f"run {kind}", source, options) for kind, source in sources.items()}
    figures = {
        "machine": description(),
        "runs": runs,
        "extraction, shards / folder": runs["folder"]["extract"] / runs["shards"]["extract"],
        "both stages, shards / folder": runs["shards"]["rate"] / runs["folder"]["rate"],
        "peak over one shard's, MiB": runs["shards"]["peak_mib"] - runs["few"]["peak_mib"],
    }
    publish(figures, options.out)


if __name__ == "__main__":
    main()
