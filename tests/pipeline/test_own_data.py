"""One's own data, as docs/how-to shows it: real photographs with a real ImageNet network, and ready features alone."""

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

from benchmarks.accuracy import wrong_labels
from tests.projects.checkout import Project, ran
from tests.report.browser import Reader, applied, chromium, walk


def halves(labels: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A seeded half of each class, and the rest."""
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    first = [order[: len(order) // 2] for order in orders]
    return np.sort(np.concatenate(first)), np.setdiff1d(np.arange(len(labels)), np.concatenate(first))


def with_wrong(labels: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    """Labels of which a share is changed, uniformly over the other classes."""
    classes, codes = np.unique(labels, return_inverse=True)
    return classes[wrong_labels(codes, len(classes), share, seed)]


def errors(run: Project) -> dict[str, float]:
    evaluated = json.loads((run.root / "data/metrics/evaluate.json").read_text())
    return {name: row["error"] for name, row in evaluated["sets"].items()}


def write_list(path, folder, files, labels) -> str:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        rows.writerows(zip((str(folder / name) for name in files), labels, strict=True))
    return str(path)


@pytest.mark.slow
def test_real_photographs_with_a_real_network(fresh, shared_data, tmp_path):
    images = shared_data / "flowers102"
    table = pl.read_csv(images / "index.csv")
    official = {name: table.filter(pl.col("file").str.starts_with(f"{name}/")) for name in ("train", "test")}
    files, labels = (official["train"][name].to_numpy() for name in ("file", "class_name"))
    core, pool = halves(labels)
    sources = {
        "core": write_list(tmp_path / "core.csv", images, files[core], with_wrong(labels[core], 0.1)),
        "pool": write_list(tmp_path / "pool.csv", images, files[pool], with_wrong(labels[pool], 0.3)),
        "test": write_list(tmp_path / "test.csv", images, *(official["test"][n] for n in ("file", "class_name"))),
    }
    network = shared_data / "weights" / "mobilenet_v2_imagenet_features.pth"
    arguments = [part for name, source in sources.items() for part in (f"--{name}", source)]
    fresh.diva("init", *arguments, "--backbone", "mobilenet_v2", "--weights", str(network), "--force")
    fresh.edit("params.yaml", lambda params: params["extract"].update(workers=2))
    assert "1,157" in fresh.diva("plan").stdout
    fresh.repro()

    error = errors(fresh)
    assert error["release_weighted"] < error["core"]
    assert error["release_weighted"] < error["everything"]
    train = pl.read_parquet(fresh.root / "data/release/train.parquet")
    assert set(train["origin"]) == {"core", "pool"}
    assert not list((fresh.root / "data" / "raw").rglob("*.jpg"))  # used in place
    assert relative_to_pack(fresh, shared_data) < 1e-2
    assert ran(fresh.repro()) == set()
    with chromium() as browser, Reader(browser, (fresh.root / "data/report/index.html").as_uri()) as reader:
        decided = walk(reader)
    applied(pl.read_parquet(fresh.root / "data/curated/r003.parquet"), decided)


def relative_to_pack(run: Project, shared_data) -> float:
    """Largest relative difference between extracted features and the reference pack's, over core and pool."""
    with np.load(shared_data / "features/flowers102_mobilenetv2.npz", allow_pickle=False) as pack:
        names = (f"image_{number:05d}.jpg" for number in pack["id_train"])
        known = dict(zip(names, pack["x_train"].astype(np.float32), strict=True))
    worst = []
    for batch in ("core", "b001"):
        manifest = pl.read_parquet(run.root / f"data/manifests/{batch}.parquet")
        with h5py.File(run.root / f"data/features/{batch}.h5") as file:
            features = file["features"][:].astype(np.float32)
        for path, row in zip(manifest["path"], features, strict=True):
            expected = known[Path(path).name]
            worst.append(np.linalg.norm(row - expected) / np.linalg.norm(expected))
    return max(worst)


@pytest.mark.slow
def test_ready_features_without_any_image(fresh, shared_data, tmp_path):
    with np.load(shared_data / "features/flowers102_mobilenetv2.npz", allow_pickle=False) as pack:
        x, y, x_test, y_test = (pack[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    core, pool = halves(y)
    known = np.isin(y_test, y)
    np.savez(tmp_path / "core.npz", features=x[core], labels=y[core].astype(str))
    np.savez(tmp_path / "pool.npz", features=x[pool], labels=with_wrong(y[pool], 0.3).astype(str))
    np.savez(tmp_path / "test.npz", features=x_test[known], labels=y_test[known].astype(str))
    where = {name: str(tmp_path / f"{name}.npz") for name in ("core", "pool", "test")}
    fresh.diva("init", *(part for name, path in where.items() for part in (f"--{name}", path)), "--force")
    assert "images   0 to extract" in fresh.diva("plan").stdout
    fresh.repro()
    error = errors(fresh)
    assert error["release_weighted"] < error["core"]
    assert error["release_weighted"] < error["everything"]
    assert ran(fresh.repro()) == set()


def test_without_test_set_and_pool_the_run_says_how_it_judged(fresh, tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    features = rng.normal(size=(120, 6)) + 3 * np.eye(6)[labels]
    np.savez(tmp_path / "core.npz", features=features, labels=labels.astype(str))
    fresh.diva("init", "--core", str(tmp_path / "core.npz"), "--test", "none", "--force")
    fresh.repro()
    evaluated = json.loads((fresh.root / "data/metrics/evaluate.json").read_text())
    assert evaluated["test"]["kind"] == "held_out"
    assert "held-out" in fresh.diva("summary").stdout
