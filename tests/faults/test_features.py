"""Faults of features: rows that are no numbers are set aside, files that are no features are refused before a round."""

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

from diva.store import ledger, paths
from flows import provenance
from stages import evaluate
from tests.faults.case import REFUSED, SET_ASIDE, UNHARMED, Case
from tests.faults.conftest import GOOD, MORE, Undisturbed
from tests.projects import real_stages as project

BAD = Path("bad.npz")
LABELS = [project.CLASSES[seed % 3] for seed in GOOD]


def rows(seeds: range = GOOD, width: int = 6) -> np.ndarray:
    """The features of ``project.pack``."""
    drawn = [np.random.default_rng(seed).normal(size=width) + 2 * np.eye(width)[seed % 3] for seed in seeds]
    return np.stack(drawn).astype(np.float32)


def with_row(value: float, dtype: type = np.float32, fill: float = 1) -> Callable[[], Path]:
    """The good rows and one more."""

    def plant() -> Path:
        row = np.full((1, 6), fill, dtype)
        row[0, 2] = value
        return project.pack(BAD, GOOD, features=np.concatenate([rows(), row]), labels=np.array([*LABELS, "cat"]))

    return plant


def bad(name: str, what: str, plant: Callable[[], Path], kind: str) -> object:
    return Case(name, "features", what, SET_ASIDE).param(plant, kind)


PLANTED = [
    bad("NaN", "a row with a number that is none", with_row(np.nan), "not finite: nan in column 2"),
    bad("infinite", "a row with an infinite number", with_row(-np.inf), "not finite: -inf in column 2"),
    bad(
        "beyond float32",
        "a row of 10^300, which 32 bits cannot hold",
        with_row(1e300, np.float64),
        "beyond float32: features reach 1e+300",
    ),
    bad(
        "huge",
        "a row of 10^25, whose square 32 bits cannot hold",
        with_row(1e25),
        "beyond float32: features reach 1e+25",
    ),
    bad(
        "tiny",
        "a row of 10^-30, whose square 32 bits take for 0",
        with_row(1e-30, fill=0),
        "beyond float32: features reach 1e-30",
    ),
]


@pytest.mark.parametrize(("fault", "plant", "kind"), PLANTED)
def test_a_row_that_is_no_numbers_is_set_aside_and_changes_nothing(
    pack: Undisturbed, fault: Case, plant: Callable[[], Path], kind: str
) -> None:
    batch = project.half_night(plant())
    refused = project.quarantine(batch)
    assert len(refused) == 1
    assert refused["reason"][0].startswith(kind)
    assert refused["remedy"][0].endswith(".")
    project.night("more.npz")
    assert project.alike(project.released(), pack.released)


@Case("all rows NaN", "features", "a delivery without a single usable row", SET_ASIDE).test
def test_a_useless_delivery_is_set_aside_as_a_whole(pack: Undisturbed) -> None:
    batch = project.half_night(project.pack(BAD, range(900, 904), features=np.full((4, 6), np.nan)))
    assert len(project.quarantine(batch)) == 4
    project.half_night("good.npz")
    project.night("more.npz")
    assert project.alike(
        project.released().with_columns(
            batch=pl.col("batch").replace({"b002": "b001", "b003": "b002"}),
            round=pl.col("round").replace({"r002": "r001", "r003": "r002"}),
        ),
        pack.released,
    )


@Case("float64 on disk", "features", "the same numbers in twice the bits", UNHARMED).test
def test_float64_is_stored_and_used_like_float32(pack: Undisturbed) -> None:
    batch = project.half_night(project.pack(BAD, GOOD, features=rows().astype(np.float64)))
    with h5py.File(paths.features(batch)) as file:
        assert np.array_equal(file["features"][:], rows())
    project.night("more.npz")
    assert project.alike(project.released(), pack.released)


def numbers(name: str, what: str, features: Callable[[np.ndarray], np.ndarray], normalize: str = "unit") -> object:
    """A core and a pool of such features."""
    return Case(name, "features", what, UNHARMED).param(features, normalize)


def zeroed(features: np.ndarray) -> np.ndarray:
    features = features.copy()
    features[::5] = 0
    return features


DEGENERATE = [
    numbers("constant", "every row the same: nothing to learn from", lambda f: np.ones_like(f)),
    numbers("constant, standardized", "a spread of 0 to divide by", lambda f: np.full_like(f, 7.25), "standardize"),
    numbers("a constant column", "a column without spread", lambda f: np.concatenate([f, np.ones_like(f[:, :1])], 1), "standardize"),
    numbers("zero rows", "rows without length", zeroed),
    numbers("rank deficient", "columns that are sums of others", lambda f: np.concatenate([f, f, f.sum(1, keepdims=True)], 1), "none"),
    numbers("one column", "a single feature", lambda f: f[:, :1]),
    numbers("more columns than rows", "400 features of 18 samples", lambda f: np.tile(f, (1, 67))[:, :400] + np.random.default_rng(0).normal(size=(len(f), 400)).astype(np.float32)),
    numbers("whole numbers", "bytes, as pixels come", lambda f: np.clip(f * 50 + 100, 0, 255).astype(np.uint8)),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "features", "normalize"), DEGENERATE)
def test_degenerate_features_give_finite_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Case, features: Callable[..., np.ndarray], normalize: str
) -> None:
    monkeypatch.chdir(tmp_path)
    seeds = {"core": range(18), "test": range(50, 56), "pool": GOOD}
    for name, drawn in seeds.items():
        ids = np.array([f"{seed:032x}" for seed in drawn])
        made = features(rows(drawn)) + (name == "test")  # what equals a test sample must not train
        project.pack(Path(f"{name}.npz"), drawn, features=made, sample_id=ids)
    project.begin("core.npz", "test.npz", fit={"normalize": normalize})
    assert project.quarantine(project.night("pool.npz")).is_empty()
    evaluate.main()
    train = project.released()
    assert len(train) == 22
    assert train.select(pl.col("weight", "margin").is_finite().all()).row(0) == (True, True)
    assert train.filter(pl.col("origin") == "pool").height == 4


def hdf5(path: str = "bad.h5", backbone: str = "", **changes: object) -> Path:
    """Ready features as HDF5."""
    with h5py.File(path, "w") as file:
        for name, values in ({"features": rows(), "labels": np.array(LABELS, "S9")} | changes).items():
            if values is not None:
                file.create_dataset(name, data=values)
        if backbone:
            file.attrs.update({"backbone": backbone, "weights": "DEFAULT", "weights_sha256": "ab", "transform": "{}"})
    return Path(path)


def truncated() -> Path:
    path = hdf5()
    os.truncate(path, path.stat().st_size * 2 // 3)
    return path


def cut_npz() -> Path:
    path = shutil.copy("good.npz", BAD)
    os.truncate(path, Path(path).stat().st_size * 2 // 3)
    return Path(path)


def external_link() -> Path:
    hdf5("secret.h5")
    with h5py.File("bad.h5", "w") as file:
        file["features"] = h5py.ExternalLink("secret.h5", "/features")
        file["labels"] = np.array(LABELS, "S9")
    return Path("bad.h5")


def external_bytes() -> Path:
    Path("secret.bin").write_bytes(rows().tobytes())
    with h5py.File("bad.h5", "w") as file:
        file.create_dataset("features", (9, 6), "f4", external=[("secret.bin", 0, h5py.h5f.UNLIMITED)])
        file["labels"] = np.array(LABELS, "S9")
    return Path("bad.h5")


def virtual() -> Path:
    hdf5("secret.h5")
    layout = h5py.VirtualLayout((9, 6), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "features", (9, 6))
    with h5py.File("bad.h5", "w") as file:
        file.create_virtual_dataset("features", layout)
        file["labels"] = np.array(LABELS, "S9")
    return Path("bad.h5")


def never_written() -> Path:
    with h5py.File("bad.h5", "w") as file:
        file.create_dataset("features", (10**9, 10**4), "f4", chunks=(8, 10**4))
        file["labels"] = np.array(LABELS, "S9")
    return Path("bad.h5")


def npz_bomb() -> Path:
    """An archive whose directory says that a member unpacks to a terabyte."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (1 << 36, 4)})
    with zipfile.ZipFile(BAD, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("features", "labels"):
            archive.writestr(f"{name}.npy", head.getvalue() + bytes(1000))
        archive.filelist[0].file_size = 1 << 40
    return BAD


def fifo() -> Path:
    os.mkfifo("bad.h5")
    return Path("bad.h5")


def ragged() -> Path:
    pl.DataFrame({"features": [[1.0, 2.0], [3.0]], "labels": ["cat", "dog"]}).write_parquet("bad.parquet")
    return Path("bad.parquet")


def damaged_parquet() -> Path:
    path = Path("bad.parquet")
    pl.DataFrame({"features": rows().tolist(), "labels": LABELS}).write_parquet(path)
    content = bytearray(path.read_bytes())
    content[60:120] = bytes(60)
    path.write_bytes(content)
    return path


def refused(name: str, what: str, plant: Callable[[], Path], said: str) -> object:
    return Case(name, "features", what, REFUSED).param(plant, said)


FILES = [
    refused("wrong width", "5 features a row, where the core has 6", lambda: project.pack(BAD, GOOD, width=5), "must have the core's 6 columns, got 5"),
    refused("three axes", "an array of another shape", lambda: project.pack(BAD, GOOD, features=np.zeros((9, 2, 3))), "must have shape"),
    refused("complex", "numbers with an imaginary part", lambda: project.pack(BAD, GOOD, features=rows() * 1j), "must be real numbers"),
    refused("too few labels", "8 labels of 9 rows", lambda: project.pack(BAD, GOOD, labels=LABELS[1:]), "one entry per row"),
    refused("truncated HDF5", "a file cut after two thirds", truncated, "must be a whole HDF5 file"),
    refused("truncated npz", "an archive cut after two thirds", cut_npz, "must be a whole numpy file"),
    refused("damaged parquet", "zeros among its pages, at which polars panics", damaged_parquet, "must be a readable parquet file"),
    refused("ragged", "rows of different lengths", ragged, "lists of one length"),
    refused("an HDF5 link", "features that link to another file on this machine", external_link, "in the file itself, got a link"),
    refused("HDF5 with bytes of another file", "external storage: any file as numbers", external_bytes, "in the file itself, got bytes of another"),
    refused("a virtual HDF5 data set", "features stitched together from other files", virtual, "in the file itself, got bytes of another"),
    refused("an HDF5 bomb", "40 terabytes that were never written", never_written, "must be stored"),
    refused("an npz bomb", "a kilobyte that says it unpacks to a terabyte", npz_bomb, "must fit into memory"),
    refused("a FIFO", "a named pipe under the name of features", fifo, "named pipe or a device"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "plant", "said"), FILES)
def test_a_file_that_is_no_features_is_refused_and_the_next_delivery_is_taken(
    pack: Undisturbed, fault: Case, plant: Callable[[], Path], said: str
) -> None:
    path, before = plant(), project.files()
    with pytest.raises(ValueError, match=said) as told:
        project.taste(path)
    assert path.name in str(told.value)
    assert project.files() == before
    project.half_night("good.npz")
    project.night("more.npz")
    assert project.same(project.released(), pack.released)


@Case("no labels", "features", "features alone, for the core", REFUSED).test
def test_a_core_without_labels_is_refused(pack: Undisturbed) -> None:
    with pytest.raises(ValueError, match=r"bad\.h5 must hold features and labels; labels missing"):
        provenance.require_same_source(ledger.read(), str(hdf5(labels=None)), "core")
    project.half_night(hdf5(labels=None))
    project.night("more.npz")
    assert project.released()["origin"].to_list().count("pool") == 4, "of more.npz alone"


@Case("HDF5 of another backbone", "features", "features of resnet50, where the core's are of resnet18", REFUSED).test
def test_features_of_another_backbone_are_refused_and_the_next_delivery_is_taken(
    numbers: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    core, test = range(18), project.pack(Path("test.npz"), range(50, 56))
    labels = np.array([project.CLASSES[seed % 3] for seed in core], "S9")
    project.begin(str(hdf5("core.h5", "resnet18", features=rows(core), labels=labels)), str(test))
    before = project.files()
    with pytest.raises(ValueError, match=r"bad\.h5 must be made .*backbone is 'resnet50', the core's 'resnet18'"):
        project.taste(hdf5("bad.h5", "resnet50"))
    assert project.files() == before
    project.taste(hdf5("good.h5", "resnet18"))
    project.half_night("good.h5")
    project.night(project.pack(Path("more.npz"), MORE))
    assert project.alike(project.released(), numbers.released)
