"""Small copies of the paper's data sets, in the true layout of their archives."""

import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from diva.ingest import catalog, sources

Expected = dict[str, list[tuple[str, str]]]  # split to (file name, label)
numbers = count()


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5), tuple(int(n) for n in np.random.default_rng(next(numbers)).integers(0, 256, 3))).save(path)


def lines(path: Path, *text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


def cub200(root: Path) -> Expected:
    base = root / "CUB_200_2011"
    names = ["001.Black_footed_Albatross/B_0001.jpg", "001.Black_footed_Albatross/B_0002.jpg", "002.Laysan/L_0003.jpg"]
    for name in names:
        image(base / "images" / name)
    lines(base / "images.txt", *(f"{i} {name}" for i, name in enumerate(names, 1)))
    lines(base / "classes.txt", "1 001.Black_footed_Albatross", "2 002.Laysan")
    lines(base / "image_class_labels.txt", "1 1", "2 1", "3 2")
    lines(base / "train_test_split.txt", "1 1", "2 0", "3 1")
    lines(root / "attributes.txt", "1 bill")  # the archive has it beside the folder
    bird = "001.Black_footed_Albatross"
    return {"train": [("B_0001.jpg", bird), ("L_0003.jpg", "002.Laysan")], "test": [("B_0002.jpg", bird)]}


def aircraft(root: Path) -> Expected:
    data = root / "fgvc-aircraft-2013b" / "data"
    for name in ("0034309", "0034958", "1025794"):
        image(data / "images" / f"{name}.jpg")
    lines(data / "images_variant_trainval.txt", "1025794 707-320", "0034309 F/A-18")
    lines(data / "images_variant_test.txt", "0034958 Model B200")
    train = [("1025794.jpg", "707-320"), ("0034309.jpg", "F/A-18")]
    return {"train": train, "test": [("0034958.jpg", "Model B200")]}


def cars(root: Path) -> Expected:
    names = np.array(["AM General Hummer SUV 2000", "Acura RL Sedan 2012"], dtype=object)
    (root / "devkit").mkdir(parents=True)
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": names})
    boxes = [(f"bbox_{c}", "O") for c in ("x1", "y1", "x2", "y2")]

    def table(path: Path, rows: list[tuple[int, str]]) -> None:
        kind = [*boxes, ("class", "O"), ("fname", "O")]
        savemat(path, {"annotations": np.array([[(1, 1, 5, 5, label, name) for label, name in rows]], dtype=kind)})

    table(root / "devkit" / "cars_train_annos.mat", [(2, "00001.jpg"), (1, "00002.jpg")])
    table(root / "cars_test_annos_withlabels.mat", [(1, "00001.jpg")])
    for name in ("cars_train/00001.jpg", "cars_train/00002.jpg", "cars_test/00001.jpg"):
        image(root / name)
    return {"train": [("00001.jpg", names[1]), ("00002.jpg", names[0])], "test": [("00001.jpg", names[0])]}


def caltech256(root: Path) -> Expected:
    base = root / "256_ObjectCategories"
    for number in range(1, 63):
        image(base / "001.ak47" / f"001_{number:04d}.jpg")
    image(base / "257.clutter" / "257_0001.jpg")
    return {"train": [("", "001.ak47")] * 60, "test": [("", "001.ak47")] * 2}


def flowers102(root: Path) -> Expected:
    for number in range(1, 6):
        image(root / "jpg" / f"image_{number:05d}.jpg")
    savemat(root / "imagelabels.mat", {"labels": np.array([[77, 77, 1, 1, 102]])})
    savemat(root / "setid.mat", {"trnid": np.array([[4, 1]]), "valid": np.array([[2]]), "tstid": np.array([[5, 3]])})
    train = [("image_00004.jpg", "pink primrose"), ("image_00001.jpg", "passion flower")]
    return {"train": train, "test": [("image_00005.jpg", "blackberry lily"), ("image_00003.jpg", "pink primrose")]}


def mit67(root: Path) -> Expected:
    for name in ("kitchen/int474.jpg", "kitchen/cdmc.jpg", "airport_inside/a_01.jpg"):
        image(root / "Images" / name)
    lines(root / "TrainImages.txt", "kitchen/int474.jpg", "airport_inside/a_01.jpg")
    lines(root / "TestImages.txt", "kitchen/cdmc.jpg", "")
    train = [("int474.jpg", "kitchen"), ("a_01.jpg", "airport_inside")]
    return {"train": train, "test": [("cdmc.jpg", "kitchen")]}


def svhn(root: Path) -> Expected:
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    for split, labels in (("train", [1, 10, 9]), ("test", [3, 4])):
        pixels = rng.integers(0, 256, (32, 32, 3, len(labels)), dtype=np.uint8)
        savemat(root / f"{split}_32x32.mat", {"X": pixels, "y": np.array(labels)[:, None]})
    train = [("000000.png", "1"), ("000001.png", "0"), ("000002.png", "9")]
    return {"train": train, "test": [("000000.png", "3"), ("000001.png", "4")]}


def pets(root: Path) -> Expected:
    for name in ("Abyssinian_100", "great_pyrenees_2", "Abyssinian_7"):
        image(root / "images" / f"{name}.jpg")
    lines(root / "annotations" / "trainval.txt", "Abyssinian_100 1 1 1", "great_pyrenees_2 2 2 1")
    lines(root / "annotations" / "test.txt", "Abyssinian_7 1 1 1")
    train = [("Abyssinian_100.jpg", "Abyssinian"), ("great_pyrenees_2.jpg", "great_pyrenees")]
    return {"train": train, "test": [("Abyssinian_7.jpg", "Abyssinian")]}


MAKERS: dict[str, Callable[[Path], Expected]] = {
    maker.__name__: maker for maker in (cub200, aircraft, cars, caltech256, flowers102, mit67, svhn, pets)
}
PACKED = {  # what the archives hold
    "CUB_200_2011.tgz": ("CUB_200_2011", "attributes.txt"),
    "fgvc-aircraft-2013b.tar.gz": ("fgvc-aircraft-2013b",),
    "cars_train.tgz": ("cars_train",),
    "cars_test.tgz": ("cars_test",),
    "car_devkit.tgz": ("devkit",),
    "256_ObjectCategories.tar": ("256_ObjectCategories",),
    "102flowers.tgz": ("jpg",),
    "indoorCVPR_09.tar": ("Images",),
    "images.tar.gz": ("images",),
    "annotations.tar.gz": ("annotations",),
}
EACH = pytest.mark.parametrize("name", MAKERS)


def pack(name: str, root: Path, to: Path) -> None:
    """The archives and loose files of a data set whose unpacked copy lies in ``root``."""
    to.mkdir(parents=True)
    for remote in catalog.get(name).files:
        if remote.name not in PACKED:
            shutil.copy(root / remote.name, to)
            continue
        with tarfile.open(to / remote.name, "w:gz" if "gz" in remote.name else "w") as file:
            for entry in PACKED[remote.name]:
                file.add(root / entry, entry)


def names(found: list[catalog.LabelledImage], expected: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """File names and labels; file names only where they are expected."""
    return [(path.name if expected[0][0] else "", label) for path, label in found]


def check(name: str, root: Path, out: Path, expected: Expected) -> None:
    for split, rows in expected.items():
        (out / split).mkdir(parents=True)
        found = catalog.listing(name, split, root, out / split, download=False)
        assert names(found, rows) == rows
        assert all(path.is_file() for path, _ in found)


@EACH
@pytest.mark.parametrize("around", ["", "stanford_cars", "data/raw"])
def test_a_local_copy_is_recognised_whatever_folders_are_around_it(name, around, tmp_path):
    expected = MAKERS[name](tmp_path / "root" / around)
    check(name, tmp_path / "root", tmp_path / "out", expected)


@EACH
def test_archives_that_lie_there_are_unpacked(name, tmp_path, monkeypatch):
    expected = MAKERS[name](tmp_path / "made")
    wanted = catalog.get(name)
    files = tuple(remote._replace(checksum="") for remote in wanted.files)
    monkeypatch.setitem(catalog.CATALOG, name, replace(wanted, files=files))
    pack(name, tmp_path / "made", tmp_path / "root")
    check(name, tmp_path / "root", tmp_path / "out", expected)


@EACH
def test_without_a_network_it_says_which_file_it_wants_and_where_to_put_it(name, tmp_path):
    with pytest.raises(ValueError, match=r"Put into .* or its archives: ") as told:
        catalog.listing(name, "train", tmp_path, tmp_path, download=False)
    wanted = catalog.get(name)
    assert str(tmp_path) in str(told.value)
    assert all(file.name in str(told.value) and file.url in str(told.value) for file in wanted.files)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address that serves it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path / "served", f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@EACH
def test_what_is_absent_is_fetched_once(name, served, tmp_path, monkeypatch):
    folder, address = served
    expected = MAKERS[name](tmp_path / "made")
    pack(name, tmp_path / "made", folder)
    wanted = catalog.get(name)
    files = tuple(remote._replace(url=f"{address}/{remote.name}", checksum="") for remote in wanted.files)
    monkeypatch.setitem(catalog.CATALOG, name, replace(wanted, files=files))
    (tmp_path / "first").mkdir()
    found = catalog.listing(name, "train", tmp_path / "root", tmp_path / "first")
    assert names(found, expected["train"]) == expected["train"]
    shutil.rmtree(folder)  # the test part needs no network any more
    check(name, tmp_path / "root", tmp_path / "out", expected)


def test_a_fetched_file_must_have_its_checksum(served, tmp_path, monkeypatch):
    folder, address = served
    MAKERS["cub200"](tmp_path / "made")
    pack("cub200", tmp_path / "made", folder)
    wanted = catalog.get("cub200")
    files = tuple(remote._replace(url=f"{address}/{remote.name}") for remote in wanted.files)
    monkeypatch.setitem(catalog.CATALOG, "cub200", replace(wanted, files=files))
    with pytest.raises(ValueError, match=r"CUB_200_2011.tgz must have the checksum md5:97eceeb"):
        catalog.listing("cub200", "train", tmp_path / "root", tmp_path)


def test_an_archive_that_lies_there_must_have_its_checksum(tmp_path):
    MAKERS["cub200"](tmp_path / "made")
    pack("cub200", tmp_path / "made", tmp_path / "root")
    with pytest.raises(ValueError, match=r"CUB_200_2011.tgz must have the checksum md5:97eceeb"):
        catalog.listing("cub200", "train", tmp_path / "root", tmp_path, download=False)


def test_only_what_is_missing_is_fetched(served, tmp_path, monkeypatch):
    folder, address = served
    expected = cars(tmp_path / "root")
    folder.mkdir()
    shutil.move(tmp_path / "root" / "cars_test_annos_withlabels.mat", folder)  # the archives are not to be had
    wanted = catalog.get("cars")
    files = tuple(remote._replace(url=f"{address}/{remote.name}", checksum="") for remote in wanted.files)
    monkeypatch.setitem(catalog.CATALOG, "cars", replace(wanted, files=files))
    found = catalog.listing("cars", "test", tmp_path / "root", tmp_path)
    assert names(found, expected["test"]) == expected["test"]


def test_cars_say_where_a_copy_from_elsewhere_goes(tmp_path):
    with pytest.raises(ValueError, match=r"addresses as broken: a copy from elsewhere is taken with cars_train/"):
        catalog.listing("cars", "train", tmp_path, tmp_path, download=False)


def test_a_copy_sorted_into_folders_is_taken_as_it_is(tmp_path):
    for name in ("train/002/a.jpg", "train/003/b.jpg", "test/002/c.jpg"):
        image(tmp_path / name)
    lines(tmp_path / "train" / "002" / "notes.txt", "no image")
    found = catalog.listing("flowers102", "train", tmp_path, tmp_path)
    assert [(path.name, label) for path, label in found] == [("a.jpg", "002"), ("b.jpg", "003")]


def test_caltech_trains_on_sixty_a_class_the_same_each_time(tmp_path):
    caltech256(tmp_path)
    train, test = (catalog.listing("caltech256", split, tmp_path, tmp_path) for split in ("train", "test"))
    assert (len(train), len(test)) == (60, 2)
    assert not {path for path, _ in train} & {path for path, _ in test}
    assert catalog.listing("caltech256", "train", tmp_path, tmp_path) == train


def test_nested_folders_of_kaggle_are_seen_through(tmp_path):
    expected = cars(tmp_path / "made")
    for name in ("cars_train", "cars_test"):
        shutil.move(tmp_path / "made" / name, tmp_path / "root" / name / name)
    shutil.move(tmp_path / "made" / "devkit", tmp_path / "root" / "car_devkit" / "devkit")
    shutil.move(tmp_path / "made" / "cars_test_annos_withlabels.mat", tmp_path / "root")
    check("cars", tmp_path / "root", tmp_path / "out", expected)


def test_the_digits_of_house_numbers_keep_their_pixels(tmp_path):
    svhn(tmp_path / "root")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        catalog.listing("svhn", "train", tmp_path / "root", tmp_path / folder)
    from scipy.io import loadmat

    pixels = loadmat(tmp_path / "root" / "train_32x32.mat")["X"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one" / "000002.png")), pixels[..., 2])
    assert (tmp_path / "one" / "000001.png").read_bytes() == (tmp_path / "two" / "000001.png").read_bytes()


def test_damaged_lists_and_unknown_names_are_told(tmp_path):
    flowers102(tmp_path)
    (tmp_path / "setid.mat").write_bytes(b"no MATLAB")
    with pytest.raises(ValueError, match=r"setid.mat must be a whole MATLAB file"):
        catalog.listing("flowers102", "train", tmp_path, tmp_path)
    with pytest.raises(ValueError, match="near: flowers102"):
        catalog.get("flowers")
    with pytest.raises(ValueError, match="split must be train or test"):
        catalog.listing("pets", "val", tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["cub200", "svhn"])
def test_a_data_set_is_a_source_like_any_other(name, tmp_path):
    expected = MAKERS[name](tmp_path / "root")
    out = tmp_path / "raw"
    out.mkdir()
    source = sources.open_source(f"dataset:{name}@{tmp_path}/root", {"split": "train"})
    delivery = source.read(out)
    assert delivery.samples["label"].to_list() == [label for _, label in expected["train"]]
    assert bool(list(out.iterdir())) == (name == "svhn")  # others stay in place
    test = sources.open_source(f"dataset:{name}", {"split": "test", "root": str(tmp_path / "root")})
    assert len(test.read(out).samples) == len(expected["test"])
    assert source.checksum() != test.checksum()


def test_a_missing_image_goes_to_quarantine(tmp_path):
    cub200(tmp_path)
    (tmp_path / "CUB_200_2011" / "images" / "002.Laysan" / "L_0003.jpg").unlink()
    delivery = sources.open_source(f"dataset:cub200@{tmp_path}", {}).read(tmp_path)
    assert len(delivery.samples) == 1
    assert delivery.refused["reason"].to_list() == ["missing file"]


def test_an_unknown_data_set_or_option_is_named():
    with pytest.raises(ValueError, match="data set must be one of cub200"):
        sources.open_source("dataset:birds", {})
    with pytest.raises(ValueError, match="options of 'dataset:pets' must be split, root"):
        sources.open_source("dataset:pets", {"part": "train"})
