"""A small project and its nights, run by the real stages in this process.

The core and the test set are made once; a night accepts a delivery as the pool's next batch, plans a round, and runs
the stages that DVC would run.
"""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from PIL import Image

from diva.ingest import sources
from diva.store import ledger, paths, release, tables
from tests.projects import ledgers
from tests.projects.checkout import ROOT

CLASSES = ("cat", "dog", "owl")
NETWORK = "tests.projects.tiny_network:network"
SMALL: dict[str, dict[str, Any]] = {
    "download": {"workers": 1, "max_pixels": 200 * 200},
    "extract": {
        "backbone": "tests.projects.tiny_network:network",
        "weights": "none",
        "resize": 12,
        "crop": 12,
        "batch_size": 4,
        "device": "cpu",
    },
    "fit": {"ridges": [0.1, 1.0], "device": "cpu"},
    "extend": {"per_round": 4, "stop": False},
    "reweight": {"steps": 1, "folds": 2},
    "evaluate": {"draws": 20, "uniform": 1},
    "release": {"flagged": "keep"},
}
SETTINGS = ("extend", "curate")


def params(**changes: dict[str, Any]) -> dict[str, Any]:
    """The shipped params.yaml, made small, with further changes by section."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, values in [*SMALL.items(), *changes.items()]:
        content[section] = content[section] | values
    return content


def write_params(**changes: dict[str, Any]) -> None:
    """params.yaml of the project in the working directory."""
    paths.PARAMS.write_text(yaml.safe_dump(params(**changes), sort_keys=False), encoding="utf-8")


def pixels(seed: int, label: str, size: tuple[int, int] = (14, 12)) -> np.ndarray:
    """An RGB image (height, width, 3) whose colour tells its class."""
    noise = np.random.default_rng(seed).integers(0, 160, (size[1], size[0], 3))
    noise[..., CLASSES.index(label)] += 90
    return noise.astype(np.uint8)


def photograph(path: Path, seed: int, label: str) -> Path:
    """Such an image as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, label)).save(path)
    return path


def album(root: Path, seeds: Iterable[int]) -> Path:
    """A folder class/image of plain PNG files, classes in turn."""
    for seed in seeds:
        label = CLASSES[seed % 3]
        photograph(root / label / f"{seed:03d}.png", seed, label)
    return root


def pack(path: Path, seeds: Iterable[int], width: int = 6, labels: list[Any] | None = None, **arrays: Any) -> Path:
    """Ready features (.npz), classes in turn; ``arrays`` go into the file as well, or in place of its own."""
    numbers = list(seeds)
    rows = np.stack([np.random.default_rng(seed).normal(size=width) + 2 * np.eye(width)[seed % 3] for seed in numbers])
    own = {
        "features": rows.astype(np.float32),
        "labels": np.array([CLASSES[seed % 3] for seed in numbers] if labels is None else labels),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **(own | arrays))
    return path


def begin(core: str, test: str, **changes: dict[str, Any]) -> None:
    """Parameters, ledger, and all that rounds start from."""
    from stages.download import download
    from stages.extract import extract
    from stages.fit import fit
    from stages.score import score
    from stages.start import start

    write_params(**changes)
    ledgers.write((core, {}), test=(test, {}))
    for batch in ("core", "test"):
        download(batch)
        extract(batch)
    fit()
    score("soft")
    start()


def accept(source: str | Path, options: dict[str, Any] | None = None) -> str:
    """A delivery as the pool's next batch, and a round that draws from it; its name."""
    content = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    book = sources.accept(ledger.read(), None, str(source), options or {})
    book = ledger.plan_round(book, {stage: content[stage] for stage in SETTINGS})
    ledger.write(paths.LEDGER, book)
    return ledger.newest_pool(book)


def take_back() -> None:
    """The ledger without its newest batch and round, as ``git checkout data/ledger.yaml`` would leave it."""
    content = ledger.read().model_dump()
    batch, round_ = max(content["pool"]), max(content["rounds"])
    del content["batches"][batch], content["pool"][batch]
    content["latest"] = content["rounds"].pop(round_)["previous"]
    ledger.write(paths.LEDGER, ledger.validated(content))


def run() -> None:
    """The stages of the newest batch and round, and of its release."""
    from stages import release as publish
    from stages import reweight

    run_round()
    reweight.main()
    publish.main()


def run_round() -> None:
    """The stages of the newest batch and round."""
    from stages.curate import curate
    from stages.download import download
    from stages.extend import extend
    from stages.extract import extract
    from stages.pool import pool

    book = ledger.read()
    batch = ledger.newest_pool(book)
    for stage, name in (
        (download, batch),
        (extract, batch),
        (pool, batch),
        (extend, book.latest),
        (curate, book.latest),
    ):
        stage(name)


def night(source: str | Path, options: dict[str, Any] | None = None) -> str:
    """Accept a delivery and run; the batch."""
    batch = accept(source, options)
    run()
    return batch


def taste(source: str | Path) -> None:
    """What the nightly run does with a delivery before it accepts it."""
    from flows import provenance

    provenance.require_same_source(ledger.read(), str(source))
    sources.checksum(str(source), {})


def half_night(source: str | Path, options: dict[str, Any] | None = None) -> str:
    """The same without the stages of the newest set, which the next night does again anyway; the batch."""
    batch = accept(source, options)
    run_round()
    return batch


def quarantine(batch: str, *stages: str) -> pl.DataFrame:
    """What stages (all, unless named) set aside of a batch."""
    places = [paths.quarantine(stage, batch) for stage in stages or ("download", "extract", "pool")]
    return pl.concat([pl.read_parquet(place) for place in places if place.is_file()])


def released() -> pl.DataFrame:
    """The training set, in a fixed order: what two runs must have in common."""
    return tables.read(paths.TRAIN, release.TRAIN).sort("sample_id")


def same(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    """Whether two training sets are equal, to the last digit."""
    return left.equals(right, null_equal=True)


def alike(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    """Whether they are equal but for rounding and paths: the order of files is the order of sums."""
    exact = ["sample_id", "label", "given_label", "flagged", "origin", "round", "batch"]
    numbers = ["weight", "margin", "derivative"]
    close = np.allclose(left[numbers].to_numpy(), right[numbers].to_numpy(), rtol=1e-4, atol=1e-6, equal_nan=True)
    return close and left.select(exact).equals(right.select(exact))


def files() -> dict[str, bytes]:
    """All that a run wrote, by name."""
    return {path.as_posix(): path.read_bytes() for path in sorted(paths.DATA.rglob("*")) if path.is_file()}


def copied(template: Path, to: Path) -> Path:
    """A project made before, elsewhere."""
    shutil.copytree(template, to, symlinks=True, dirs_exist_ok=True)
    return to


Plant = Callable[[Path], Any]
