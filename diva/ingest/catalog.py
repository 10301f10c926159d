"""The data sets of the paper, by name, with the paper's splits and the archives' own lists of who trains and tests.

    cub200       Caltech-UCSD Birds 200-2011     train_test_split.txt
    aircraft     FGVC-Aircraft, 100 variants     images_variant_trainval.txt, …_test.txt
    cars         Stanford Cars                   cars_train_annos.mat, cars_test_annos_withlabels.mat
    caltech256   Caltech-256, without clutter    60 a class train, drawn by a fixed seed; the rest test
    flowers102   Oxford Flowers 102              setid.mat: the official 1,020 train (not the 1,020 of validation)
    mit67        MIT Indoor 67                   TrainImages.txt, TestImages.txt
    svhn         Street View House Numbers       train_32x32.mat, test_32x32.mat
    pets         Oxford-IIIT Pets                trainval.txt, test.txt

A copy that lies on the disk already is used where it lies, whatever folders are around it: each list and each folder
of images is looked for in the root and up to four folders below. A copy sorted into train/class and test/class is
taken as it is. Otherwise the archives in the root are unpacked there, and fetched where they are absent.
"""

import difflib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from diva.ingest import archives, fetch

DEPTH = 4  # folders below the root that are searched
PER_CLASS = 60  # training images a class of Caltech-256
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm"}


class LabelledImage(NamedTuple):
    """An image file and its class."""

    path: Path
    label: str


class Remote(NamedTuple):
    """A file to fetch: name, address, checksum (empty where its authors give none), and what it unpacks to."""

    name: str
    url: str
    checksum: str = ""
    holds: str = ""


class NotHereError(ValueError):
    """Something of a data set is missing below its root."""


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        name: by which it is asked for.
        title: of its paper.
        files: to fetch.
        read: lists the images of a split below a root; ``out`` takes those that lie in no file of their own.
        hint: what to know where it cannot be fetched.
    """

    name: str
    title: str
    files: tuple[Remote, ...]
    read: Callable[[Path, str, Path], list[LabelledImage]]
    hint: str = ""


def listing(name: str, split: str, root: Path, out: Path, *, download: bool = True) -> list[LabelledImage]:
    """Images of a split (``train`` or ``test``), in the order of the data set's own list.

    Args:
        name: of the data set.
        split: ``train`` or ``test``.
        root: where it lies, or shall lie.
        out: an empty folder, for data sets whose images lie in no files of their own (svhn).
        download: whether what is absent may be fetched.

    Raises:
        ValueError: no such data set or split; or it is not there and cannot be fetched: the files are named.
    """
    wanted = get(name)
    if split not in ("train", "test"):
        raise ValueError(f"split must be train or test, got {split}.")
    if images := _sorted_folders(root, split):
        return images
    for complete in (False, True):
        try:
            return wanted.read(root, split, out)
        except NotHereError as missing:
            _bring(wanted, root, missing, download, complete)
    try:
        return wanted.read(root, split, out)
    except NotHereError as missing:
        raise ValueError(f"{root} must hold {wanted.title} once its archives are unpacked, but {missing}") from None


def get(name: str) -> DataSet:
    """The data set of this name; ValueError with near names where there is none."""
    if name in CATALOG:
        return CATALOG[name]
    similar = difflib.get_close_matches(name.lower(), CATALOG, cutoff=0.3)
    raise ValueError(
        f"data set must be one of {', '.join(CATALOG)}, got {name!r}; near: {', '.join(similar) or 'none'}."
    )


def _bring(wanted: DataSet, root: Path, missing: NotHereError, download: bool, complete: bool) -> None:
    """Fetch what is absent and unpack; ``again`` also that of which something lies there already."""
    for remote in wanted.files:
        if not complete and any(_below(root, remote.holds or remote.name)):
            continue
        path = root / remote.name
        try:
            if not path.is_file():
                if not download:
                    raise OSError("it may not be fetched")
                fetch.download(remote.url, path, remote.checksum)
        except OSError as error:
            files = "; ".join(f"{file.name} from {file.url}" for file in wanted.files)
            raise ValueError(
                f"{wanted.title} must lie in {root}, but {missing} {error}. Put into {root} either the unpacked data "
                f"set, in any usual layout, or its archives: {files}.{wanted.hint}"
            ) from None
        if archives.is_archive(path):
            fetch.require(path, path.as_posix(), remote.checksum)
            archives.unpack(path, root)


def _below(root: Path, name: str) -> Iterator[Path]:
    for depth in range(DEPTH + 1):
        yield from sorted(root.glob("/".join(["*"] * depth + [name])))


def _file(root: Path, name: str) -> Path:
    """The file of this name, nearest to the root."""
    for path in _below(root, name):
        if path.is_file():
            return path
    raise NotHereError(f"there is no {name} in it or {DEPTH} folders below.")


def _folder(root: Path, name: str) -> Path:
    """The folder of this name that holds something else than itself once more (archives of Kaggle nest them)."""
    for path in _below(root, name):
        if path.is_dir():
            inner = path / name
            return inner if inner.is_dir() else path
    raise NotHereError(f"there is no folder {name} in it or {DEPTH} folders below.")


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]


def _pairs(path: Path) -> dict[str, str]:
    """Lines of a key and, after a blank, its value."""
    return {key: value.strip() for key, _, value in (line.partition(" ") for line in _lines(path))}


def _matlab(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content: dict[str, Any] = loadmat(path, squeeze_me=True)
    except (MatReadError, ValueError, OSError, NotImplementedError, TypeError) as error:
        raise ValueError(f"{path} must be a whole MATLAB file, got: {error}. Fetch it again.") from None
    return content


def _sorted_folders(root: Path, split: str) -> list[LabelledImage]:
    """Images of root/train/class and root/test/class, where both are there and hold folders of images."""
    parts = {part: sorted(root.glob(f"{part}/*/*")) for part in ("train", "test")}
    images = {part: [path for path in paths if path.suffix.lower() in IMAGES] for part, paths in parts.items()}
    return [LabelledImage(path, path.parent.name) for path in images[split]] if all(images.values()) else []


def _cub200(root: Path, split: str, _: Path) -> list[LabelledImage]:
    base = _file(root, "train_test_split.txt").parent
    images, classes = _pairs(_file(base, "images.txt")), _pairs(_file(base, "classes.txt"))
    labels, train = _pairs(_file(base, "image_class_labels.txt")), _pairs(base / "train_test_split.txt")
    folder = _folder(base, "images")
    chosen = "1" if split == "train" else "0"
    return [LabelledImage(folder / name, classes[labels[key]]) for key, name in images.items() if train[key] == chosen]


def _aircraft(root: Path, split: str, _: Path) -> list[LabelledImage]:
    part = "trainval" if split == "train" else "test"
    table = _file(root, f"images_variant_{part}.txt")
    folder = _folder(table.parent, "images")
    return [LabelledImage(folder / f"{image}.jpg", variant) for image, variant in _pairs(table).items()]


def _cars(root: Path, split: str, _: Path) -> list[LabelledImage]:
    table = _file(root, "cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat")
    names = [str(name) for name in _matlab(_file(root, "cars_meta.mat"))["class_names"].reshape(-1)]
    folder = _folder(root, f"cars_{split}")
    rows = _matlab(table)["annotations"].reshape(-1)
    return [LabelledImage(folder / str(row["fname"]), names[int(row["class"]) - 1]) for row in rows]


def _caltech256(root: Path, split: str, _: Path, per_class: int = PER_CLASS) -> list[LabelledImage]:
    folders = [path for path in _below(root, "[0-9][0-9][0-9].*") if path.is_dir()]
    labelled = []
    for folder in sorted(folders):
        if folder.name == "257.clutter":
            continue
        images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)
        chosen = set(random.Random(folder.name).sample(images, min(per_class, len(images))))  # noqa: S311 - a split
        labelled += [LabelledImage(path, folder.name) for path in images if (path in chosen) == (split == "train")]
    if not labelled:
        raise NotHereError("there are no folders such as 001.ak47.")
    return labelled


def _flowers102(root: Path, split: str, _: Path) -> list[LabelledImage]:
    rows = _matlab(_file(root, "setid.mat"))["trnid" if split == "train" else "tstid"].reshape(-1)
    labels = _matlab(_file(root, "imagelabels.mat"))["labels"].reshape(-1)
    names, folder = _names_of_flowers(), _folder(root, "jpg")
    return [LabelledImage(folder / f"image_{row:05d}.jpg", names[labels[row - 1] - 1]) for row in rows.tolist()]


def _names_of_flowers() -> list[str]:
    from torchvision.datasets import Flowers102  # seconds; the archive itself has numbers only

    return list(Flowers102.classes)


def _mit67(root: Path, split: str, _: Path) -> list[LabelledImage]:
    names, folder = _lines(_file(root, f"{split.title()}Images.txt")), _folder(root, "Images")
    return [LabelledImage(folder / name, name.split("/")[0]) for name in names]


def _svhn(root: Path, split: str, out: Path) -> list[LabelledImage]:
    from PIL import Image

    content = _matlab(_file(root, f"{split}_32x32.mat"))
    images, labels = content["X"], content["y"].reshape(-1)
    labelled = []
    for row, label in enumerate(labels.tolist()):
        path = out / f"{row:06d}.png"
        # stored, not deflated: the same bytes whichever zlib is installed
        Image.fromarray(images[..., row]).save(path, format="PNG", compress_level=0)
        labelled.append(LabelledImage(path, str(label % 10)))  # the archive calls zero 10
    return labelled


def _pets(root: Path, split: str, _: Path) -> list[LabelledImage]:
    names = [line.split()[0] for line in _lines(_file(root, "trainval.txt" if split == "train" else "test.txt"))]
    folder = _folder(root, "images")
    return [LabelledImage(folder / f"{name}.jpg", name.rpartition("_")[0]) for name in names]


OXFORD, STANFORD = "https://www.robots.ox.ac.uk/~vgg/data", "https://ai.stanford.edu/~jkrause"
CATALOG = {
    data_set.name: data_set
    for data_set in (
        DataSet("cub200", "Caltech-UCSD Birds 200-2011", (
            Remote("CUB_200_2011.tgz", "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                   "md5:97eceeb196236b17998738112f37df78", holds="CUB_200_2011"),
        ), _cub200),
        DataSet("aircraft", "FGVC-Aircraft", (
            Remote("fgvc-aircraft-2013b.tar.gz", f"{OXFORD}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
                   holds="fgvc-aircraft-2013b"),
        ), _aircraft),
        DataSet("cars", "Stanford Cars", (
            Remote("cars_train.tgz", f"{STANFORD}/car196/cars_train.tgz",
                   "md5:065e5b463ae28d29e77c1b4b166cfe61", holds="cars_train"),
            Remote("cars_test.tgz", f"{STANFORD}/car196/cars_test.tgz",
                   "md5:4ce7ebf6a94d07f1952d94dd34c4d501", holds="cars_test"),
            Remote("car_devkit.tgz", f"{STANFORD}/cars/car_devkit.tgz",
                   "md5:c3b158d763b6e2245038c8ad08e45376", holds="cars_meta.mat"),
            Remote("cars_test_annos_withlabels.mat", f"{STANFORD}/car196/cars_test_annos_withlabels.mat",
                   "md5:b0a2b23655a3edd16d84508592a98d10"),
        ), _cars, " torchvision reports Stanford's addresses as broken: a copy from elsewhere is taken with"
                  " cars_train/, cars_test/, devkit/ and cars_test_annos_withlabels.mat in that folder."),
        DataSet("caltech256", "Caltech-256", (
            Remote("256_ObjectCategories.tar",
                   "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
                   "md5:67b4f42ca05d46448c6bb8ecd2220f6d", holds="256_ObjectCategories"),
        ), _caltech256),
        DataSet("flowers102", "Oxford Flowers 102", (
            Remote("102flowers.tgz", f"{OXFORD}/flowers/102/102flowers.tgz",
                   "md5:52808999861908f626f3c1f4e79d11fa", holds="jpg"),
            Remote("imagelabels.mat", f"{OXFORD}/flowers/102/imagelabels.mat", "md5:e0620be6f572b9609742df49c70aed4d"),
            Remote("setid.mat", f"{OXFORD}/flowers/102/setid.mat", "md5:a5357ecc9cb78c4bef273ce3793fc85c"),
        ), _flowers102),
        DataSet("mit67", "MIT Indoor 67", (
            Remote("indoorCVPR_09.tar", "http://groups.csail.mit.edu/vision/LabelMe/NewImages/indoorCVPR_09.tar",
                   "sha1:0b252516e746ba428b96af408d2e8162d9b08ac5", holds="Images"),
            Remote("TrainImages.txt", "https://web.mit.edu/torralba/www/TrainImages.txt"),
            Remote("TestImages.txt", "https://web.mit.edu/torralba/www/TestImages.txt"),
        ), _mit67),
        DataSet("svhn", "Street View House Numbers", (
            Remote("train_32x32.mat", "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
                   "md5:e26dedcc434d2e4c54c9b2d4a06d8373"),
            Remote("test_32x32.mat", "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
                   "md5:eb5a983be6a315427106f1b164d9cef3"),
        ), _svhn),
        DataSet("pets", "Oxford-IIIT Pets", (
            Remote("images.tar.gz", f"{OXFORD}/pets/data/images.tar.gz",
                   "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c", holds="images"),
            Remote("annotations.tar.gz", f"{OXFORD}/pets/data/annotations.tar.gz",
                   "md5:95a8c909bbe2e81eed6a22bccdf3f68f", holds="annotations"),
        ), _pets),
    )
}  # fmt: skip
