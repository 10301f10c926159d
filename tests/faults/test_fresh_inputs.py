"""Deliveries, lists, features, images, settings and calls as people make them, made up from the README alone.

The right answer was decided before the first run; each is small, and none is one of the cases that the code was
written for.
"""

import enum
import io
import re
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image, PngImagePlugin

import diva
from diva.estimators import DivaClassifier, detect, extend, reweight
from diva.ingest import project as own
from diva.ingest import sources
from diva.store import documents, manifest
from flows import work
from stages.params.__main__ import faults
from tests.faults.case import REFUSED, SET_ASIDE, UNHARMED, Case
from tests.projects import real_stages as project

Make = Callable[[], Any]
TWO = {"cat": 4, "dog": 4}


def image(path: str | Path, seed: int = 0, size: tuple[int, int] = (16, 16), mode: str = "RGB", **options: Any) -> Path:
    """A file of noise, of its own for every seed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


def folders(root: str, names: Sequence[str] = ("cat", "dog"), each: int = 4, seed: int = 0) -> str:
    """Images in folders."""
    for number, name in enumerate(names):
        for i in range(each):
            image(Path(root) / name / f"{i}.png", seed + 100 * number + i)
    return root


def table(text: str, name: str = "list.csv", encoding: str = "utf-8", **pictures: Any) -> str:
    """A list beside eight images, i/0.png to i/7.png."""
    for i in range(8):
        image(f"i/{i}.png", i, **pictures)
    Path(name).write_bytes(text.encode(encoding))
    return name


def lines(form: str, head: str = "path,label", labels: Sequence[str] = ("cat", "dog"), end: str = "\n") -> str:
    """A row for each of the eight images."""
    return head + end + "".join(form.format(f"i/{i}.png", labels[i % 2]) + end for i in range(8))


def pack(name: str = "pack.npz", **arrays: Any) -> str:
    """Ready features of eight rows."""
    given = {"features": np.random.default_rng(0).normal(size=(8, 3)), "labels": np.array(["cat", "dog"] * 4)} | arrays
    np.savez(name, **{key: value for key, value in given.items() if value is not None})
    return name


def archive(name: str, prefix: str, separator: str = "/", extra: Sequence[str] = ()) -> str:
    """A zip or tar of such folders."""
    folders("packed")
    members = {
        f"{prefix}{path.relative_to('packed').as_posix()}": path.read_bytes() for path in Path("packed").rglob("*.png")
    }
    members |= dict.fromkeys(extra, b"text")
    if name.endswith(".zip"):
        with zipfile.ZipFile(name, "w") as file:
            for member, content in members.items():
                entry = zipfile.ZipInfo("x")
                entry.filename = member.replace("/", separator)
                file.writestr(entry, content)
        return name
    with tarfile.open(name, "w:gz") as file:
        for member, content in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return name


def classes(core: str, *pool: str, columns: dict[str, str] | None = None) -> list[dict[str, int]]:
    """What a project of these sources would hold, by batch: samples by class."""
    contents = own.gather(core, pool, "none", columns)
    found = []
    for batch, source in contents.items():
        Path("raw", batch).mkdir(parents=True)
        delivery = sources.open_source(source.name, source.options).read(Path("raw", batch))
        delivery = manifest.for_core(delivery) if batch == "core" else delivery
        found.append(dict(delivery.samples["label"].value_counts(sort=True).sort("label").iter_rows()))
    return [found[0], *found[2:]]


def aside(core: str) -> dict[str, str]:
    """Reasons by file name, of what is set aside."""
    refused = sources.open_source(core, {}).read(Path()).refused
    return {Path(path).name: reason for path, reason in refused.select("path", "reason").iter_rows()}


def good(area: str, name: str, what: str, make: Make, right: Any = TWO) -> Any:
    return Case(name, area, what, UNHARMED).param(make, right)


def bad(area: str, name: str, what: str, make: Make, *said: str) -> Any:
    return Case(name, area, what, REFUSED).param(make, said)


def lost(area: str, name: str, what: str, make: Make, right: dict[str, str]) -> Any:
    return Case(name, area, what, SET_ASIDE).param(make, right)


def split(top: Sequence[str]) -> dict[str, int]:
    for number, name in enumerate(top):
        folders(f"photos/{name}", each=2, seed=1000 * number)
    return classes("photos")[0]


def two_pools(core: Sequence[str], pool: Sequence[str]) -> list[dict[str, int]]:
    return classes(folders("core", core), folders("pool", pool, seed=5000))


LABEL = "Bäcker"
NFC, NFD = (unicodedata.normalize(form, LABEL) for form in ("NFC", "NFD"))


def years() -> dict[str, int]:
    for number, name in enumerate(("cat", "dog")):
        folders(f"photos/{name}", ("2021", "2022"), each=2, seed=1000 * number)
    return classes("photos")[0]


def beside(*names: str) -> Make:
    def make() -> dict[str, int]:
        folders("photos")
        for name in names:
            Path("photos", name).parent.mkdir(exist_ok=True)
            Path("photos", name).write_text("notes")
        (Path("photos") / "bird").mkdir()
        return classes("photos")[0]

    return make


def sidecars() -> Any:
    for path in sorted(Path(folders("photos")).rglob("*.png")):
        for beside in (
            f"{path}.json",
            path.with_suffix(".xmp"),
            path.with_suffix(".AAE"),
            path.with_name(f"{path.stem}.ini"),
        ):
            Path(beside).write_text("{}")
    Path("photos/print-subscriptions.json").write_text("{}")
    refused = sources.open_source("photos", {}).read(Path()).refused
    return [classes("photos")[0], own.gather("photos", [], "none")["core"].unusable, manifest.kinds(refused)]


def listed_zip() -> Any:
    """As competitions pack them: found by the names of the columns, or by those that are said."""
    rows = "".join(f"{i},{['cat', 'dog'][i % 2]},3\n" for i in range(8))
    with zipfile.ZipFile("all.zip", "w") as file:
        file.writestr("all/train.csv", f"id,breed,age\n{rows}")
        for i in range(8):
            file.writestr(f"all/images/{i}.png", image(f"i/{i}.png", i).read_bytes())
    with pytest.raises(ValueError, match=r"train\.csv with the columns id, breed, age: --columns path=NAME"):
        own.gather("all.zip", [], "none")
    core = own.gather("all.zip", [], "none", {"path": "id", "label": "breed"})["core"]
    Path("raw").mkdir()
    samples = sources.open_source(core.name, core.options).read(Path("raw")).samples
    assert core.labels == TWO
    return [
        dict(samples["label"].value_counts().sort("label").iter_rows()),
        samples.columns[-1:],
    ]


def flat() -> Any:
    folders("core")
    for i in range(4):
        image(f"pool/{i}.png", 50 + i)
    return classes("core", "pool")


def encrypted() -> Any:
    content = bytearray(Path(archive("secret.zip", "")).read_bytes())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = content.find(mark)
        while start >= 0:
            content[start + offset] |= 1
            start = content.find(mark, start + 4)
    Path("secret.zip").write_bytes(content)
    return classes("secret.zip")


GOOD = [
    good("layouts", "splits in capitals", "Train and Validation, classes below", lambda: split(("Train", "Validation"))),
    good("layouts", "training and testing", "the long names of the two parts", lambda: split(("training", "testing"))),
    good("layouts", "years below classes", "cat/2021, cat/2022, dog/2021, …", years),
    good("layouts", "notes beside classes", "a README, a list of labels, an empty class", beside("README.md", "labels.txt")),
    good("layouts", "files of telephones and cameras", "0.png.json, 0.xmp, 0.AAE, desktop.ini beside the images", sidecars, [TWO, 0, {"system file": 33}]),
    good("layouts", "a zip with a list", "train.csv beside a folder of images, ids without endings", lambda: listed_zip(), [TWO, ["age"]]),
    good("layouts", "a pool without folders", "images only, which wait for their labels", flat, [TWO, {}]),
    good("layouts", "a zip of Windows", "backslashes in the names of members", lambda: classes(archive("a.zip", "photos/", "\\"))[0]),
    good("layouts", "a tar with dots", "./photos/cat/0.png", lambda: classes(archive("a.tar.gz", "./photos/"))[0]),
    good(
        "layouts", "a zip of two levels", "release-1/images/cat, and notes beside",
        lambda: classes(archive("a.zip", "release-1/images/", extra=["release-1/README.md", "release-1/LICENSE"]))[0],
    ),
    good("layouts", "a zip with parts", "data/train/cat, no other part", lambda: classes(archive("a.zip", "data/train/"))[0]),
    good(
        "spellings", "blanks and zero-width marks", "' cat', 'dog' and a zero-width space in the pool",
        lambda: classes(table(lines("{},{}"))) + classes_of_pool(lines("{},{}", labels=(" cat", "dog\u200b"))), [TWO, TWO],
    ),
    good(
        "spellings", "soft hyphens and marks of direction", "what word processors and web pages leave in labels",
        lambda: classes_of_pool(lines("{},{}", labels=("c\u00adat", "\u200edog\u200f"))), [TWO],
    ),
    good("spellings", "folders 1 and 2, list 1.0 and 2.00", "a pool that a spreadsheet wrote", lambda: numbers()[1], {"1": 4, "2": 4}),
    good("spellings", "accents in two forms", "a core of Linux, a pool of a Mac", lambda: two_pools((NFC, "dog"), (NFD, "dog"))[1], {NFC: 4, "dog": 4}),
    good(
        "lists", "named columns", "filename and class, said on the command line",
        lambda: classes(table(lines("{},{}", "filename,class")), columns={"path": "filename", "label": "class"})[0],
    ),
    good("lists", "quotes and semicolons", "every cell in quotes", lambda: classes(table(lines('"{}";"{}"', '"path";"label"')))[0]),
    good("lists", "a .tsv", "tabs, as its ending says", lambda: classes(table(lines("{}\t{}", "path\tlabel"), "list.tsv"))[0]),
    good("lists", "absolute paths", "a list of another folder", lambda: classes(table(lines("{},{}").replace("i/", f"{Path.cwd()}/i/"), "list.csv"))[0]),
    good("lists", "blank lines", "between rows, and blanks at their ends", lambda: classes(table(lines("{}, {}  ", end="\n\n")))[0]),
    good("lists", "Unicode text of Excel", "UTF-16 and tabs", lambda: classes(table(lines("{}\t{}", "path\tlabel", end="\r\n"), encoding="utf-16"))[0]),
    good("lists", "blanks", "path label", lambda: classes(table(lines("{} {}", "path label"), "list.txt"))[0]),
    good("lists", "a title above", "the name of a table of Numbers", lambda: classes(table("Table 1;;\n;;\n" + lines("{};{};x", "path;label;note")))[0]),
    good("lists", "bars", "a database's export", lambda: classes(table(lines("{}|{}", "path|label")))[0]),
    good("lists", "commas in labels, semicolons between", "'cat, grey'", lambda: classes(table(lines("{};{}", "path;label", ("cat, grey", "dog"))))[0], {"cat, grey": 4, "dog": 4}),
    good("lists", "decimal commas", "numbers as most of Europe writes them", lambda: own.gather(table(lines("{};{}", "path;label", ("3,5", "0,125"))), [], "none", task="regression")["core"].notes, ()),
    good("layouts", "a zip of a Mac", "names in UTF-8, which it does not say", lambda: classes(unsaid("utf-8"))[0], {NFC: 4, "dog": 4}),
    good("lists", "an ending in capitals", "LIST.CSV", lambda: classes(table(lines("{},{}"), "LIST.CSV"))[0]),
    good("lists", "a parquet of categories", "labels as a categorical column", lambda: parquet_list()),
    good("lists", "rows twice", "the same row again", lambda: classes(table(lines("{},{}") + "i/0.png,cat\n"))[0]),
    good("ready features", "small integers", "int8", lambda: classes(pack(features=np.arange(24).reshape(8, 3).astype(np.int8)))[0]),
    good("ready features", "numbers as ids", "sample_id 0 to 7", lambda: classes(pack(sample_id=np.arange(8)))[0]),
    good("ready features", "half precision in HDF5", "float16, labels of variable length", lambda: hdf5()),
    good("images", "a PNG called JPEG", "the wrong ending", lambda: renamed()),
    good("images", "an animation", "a GIF of two frames", lambda: with_one("a.gif", save_all=True, append_images=[Image.new("RGB", (16, 16))])),
    good("images", "transparency", "RGBA", lambda: with_one("a.png", mode="RGBA")),
    good("images", "one pixel", "1 × 1", lambda: with_one("a.png", size=(1, 1))),
]  # fmt: skip


def classes_of_pool(text: str) -> list[dict[str, int]]:
    """The pool of a list; its core is one of folders."""
    folder = f"core-{len(list(Path().iterdir()))}"
    contents = own.gather(folders(folder, seed=9000), [table(text, f"{folder}.csv")], "none")
    delivery = sources.open_source(contents["b001"].name, {}).read(Path())
    return [dict(delivery.samples["label"].value_counts().sort("label").iter_rows())]


def numbers() -> list[dict[str, int]]:
    return classes(folders("core", ("1", "2"), seed=9000), table(lines("{},{}", labels=("1.0", "2.00"))))


def parquet_list() -> dict[str, int]:
    table("")
    labels = pl.Series(["cat", "dog"] * 4, dtype=pl.Categorical)
    pl.DataFrame({"path": [f"i/{i}.png" for i in range(8)], "label": labels}).write_parquet("l.parquet")
    return classes("l.parquet")[0]


def unsaid(encoding: str) -> str:
    """A zip that does not say how its names are encoded."""

    class Entry(zipfile.ZipInfo):
        def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802 - zipfile's
            return self.filename.encode(encoding), self.flag_bits

    with zipfile.ZipFile("names.zip", "w") as file:
        for path in sorted(Path(folders("packed", (NFC, "dog"))).rglob("*.png")):
            file.writestr(Entry(path.relative_to("packed").as_posix()), path.read_bytes())
    return "names.zip"


def hdf5() -> dict[str, int]:
    with h5py.File("h.h5", "w") as file:
        file["features"] = np.arange(24, dtype=np.float16).reshape(8, 3)
        file["labels"] = np.array(["cat", "dog"] * 4, dtype=h5py.string_dtype())
    return classes("h.h5")[0]


def with_one(name: str, **options: Any) -> dict[str, int]:
    folders("photos")
    Path("photos/cat/0.png").unlink()
    image(f"photos/cat/{name}", 77, **options)
    return classes("photos")[0]


def renamed() -> dict[str, int]:
    folders("photos")
    Path("photos/cat/0.png").rename("photos/cat/0.jpg")
    return classes("photos")[0]


@pytest.mark.parametrize(("fault", "make", "right"), GOOD)
def test_what_is_sound_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Case, make: Make, right: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert make() == right


def written(name: str, content: bytes) -> str:
    Path(name).write_bytes(content)
    return name


def parquet(**columns: Any) -> str:
    pl.DataFrame(columns).write_parquet("p.parquet")
    return "p.parquet"


def npy() -> str:
    np.save("x.npy", np.zeros((8, 3)))
    return "x.npy"


def nul_labels() -> Any:
    with h5py.File("h.h5", "w") as file:
        file["features"] = np.arange(24.0).reshape(8, 3)
        file["labels"] = np.array([b"cat\0\0x", b"dog"] * 4, dtype="S8")
    return classes("h.h5")


def linked(folder: str) -> str:
    Path("link").symlink_to(folders(folder))
    return "link"


def wrapped() -> Any:
    folders("photos/images")
    return classes("photos")


def other_kind() -> Any:
    return classes(pack(), folders("pool"))


def other_width() -> Any:
    return classes(pack(), pack("b.npz", features=np.zeros((8, 4))))


BAD = [
    bad("layouts", "a folder around the classes", "photos/images/cat", wrapped, "two classes", "photos/images"),
    bad("layouts", "another case", "Cat and Dog in the core, cat and dog in the pool", lambda: two_pools(("Cat", "Dog"), ("cat", "dog")), "--pool", "Cat", "cat"),
    bad("layouts", "a zip without folders", "images only", lambda: classes(archive_flat()), "class folder"),
    bad("layouts", "a zip with a password", "members that are encrypted", encrypted, "secret.zip", "encrypted", "Unpack it"),
    bad("layouts", "the core once more", "as its own pool", lambda: own.ledger_of(own.gather(folders("core"), ["core"], "none"), 1, {}), "--pool", "core"),
    bad("layouts", "a pool within the core", "photos and photos/new", lambda: classes(folders("photos"), folders("photos/new/more")), "--pool: photos/new/more must lie apart from photos, got one folder within the other", "move one out"),
    bad("layouts", "a core within the pool, by a link", "a link to a folder of the pool", lambda: classes(linked("all/a"), "all"), "--pool: all must lie apart from link, got one folder within the other"),
    bad("lists", "a pool of the core's files", "another list of the same images", lambda: classes(table(lines("{},{}")), table(lines("{},{}").removesuffix("i/7.png,dog\n"), "pool.csv")), "--pool: pool.csv must be a delivery of its own, got the content of core: 7 of 7 files are those of list.csv, too, such as .*0.png; give it samples"),
    bad("lists", "a split of a list", "--split train", lambda: own.gather(table(lines("{},{}")), [], "none", split="train"), "--split must name a split of a data set, got 'train'; of a list write a file"),
    bad("lists", "columns named for one of two lists", "--columns path=img,label=cls, path,label in the pool", lambda: classes(table(lines("{},{}", "img,cls")), table(lines("{},{}"), "pool.csv"), columns={"path": "img", "label": "cls"}), "--pool: .*--columns holds for all lists, so call their columns alike"),
    bad("lists", "images of a bucket", "s3://bucket/0.png", lambda: classes(table(lines("s3://bucket/{},{}"))), "address on the network: a list names files"),
    bad("layouts", "no name at all", "--core ''", lambda: classes(""), "got an empty text"),
    bad("settings", "groups that no path names", "--group-by patient_(\\d+)", lambda: own.require_groups(own.gather(table(lines("{},{}")), [], "none")["core"], r"patient_(\d+)"), "--group-by must be parent or match paths such as i/0.png"),
    bad("lists", "paths of another machine", "/home/ann/i/0.png", lambda: classes(table(lines("/home/ann/{},{}"))), "missing file", "i/0.png is there: write paths from the list's folder on"),
    bad("lists", "another ending", "0.jpg for 0.png", lambda: classes(table(lines("{},{}").replace(".png", ".jpg"))), "Is 0.png meant, which lies beside it"),
    bad("lists", "columns exchanged", "labels as paths, paths as labels", lambda: classes(table("path,label\n" + "".join(f"{'cat' if i % 2 else 'dog'},i/{i}.png\n" for i in range(8)))), "looks like a path: are the columns exchanged"),
    bad("lists", "a column for each label", "0 and 1 below cat and dog", lambda: classes(table(lines("{},1,0", "path,cat,dog"))), "cat, dog hold 0 and 1: write the names"),
    bad("lists", "numbers in a .csv", "measurements and a label", lambda: classes(table("x1,x2,label\n1.5,2,cat\n3,4,dog\n")), "are these features.", ".npz"),
    bad("lists", "JSON called .csv", "a list of records", lambda: classes(written("x.csv", b'[{"path": "i/0.png"}]')), "got JSON; write its rows as .csv"),
    bad("lists", "a pointer of git LFS", "for a list", lambda: classes(written("x.csv", b"version https://git-lfs.github.com/spec/v1")), "pointer of git LFS; fetch the file: git lfs pull"),
    bad("lists", "one target for all", "the same number everywhere", lambda: own.gather(pack(labels=np.ones(8)), [], "none", task="regression"), "targets of pack.npz must differ, got 1 in every"),
    bad("ready features", "a column without values", "NaN in every row", lambda: classes(pack(features=np.c_[np.ones((8, 2)), np.full(8, np.nan)])), "8 of 8 rows hold NaN, infinity.* in row 0, column 2; fill"),
    bad("ready features", "the core's rows as a test set", "under another name", lambda: own.gather(pack(), [], pack("b.npz", site=np.arange(8))), "--test: b.npz must be a delivery of its own, got the content of core: 8 of 8 rows"),
    bad("lists", "thousands as targets", "1,234 may be two numbers", lambda: own.gather(table(lines("{};{}", "path;label", ("1,234", "2,500"))), [], "none", task="regression"), "labels of list.csv must be numbers, got '1,234' .i/0.png; 8 of 8.; write decimals with a point"),
    bad("lists", "Image and Label", "what others call the columns, in capitals", lambda: classes(table(lines("{},{}", "Image,Label"))), "--columns path=image,label=label"),
    bad("lists", "paths of a home", "~/i/0.png", lambda: classes(table(lines("~/{},{}"))), "missing file", "list's folder"),
    bad("lists", "a header alone", "no rows", lambda: classes(table("path,label\n")), "labelled samples", "header alone: write a row"),
    bad("lists", "blanks and no header", "rows from the first line on", lambda: classes(table(lines("{} {}").partition("\n")[2], "train.txt")), "where the first line is a row, write path label above it"),
    bad("lists", "blanks below commas", "such a list with path,label above", lambda: classes(table(lines("{} {}"))), "line 2: cells must be separated as in the header, by ','", "write the header with blanks"),
    bad("lists", "columns of another language", "Bild;Klasse", lambda: classes(table(lines("{};{}", "Bild;Klasse"))), "got bild, klasse", "--columns path=NAME,label=NAME"),
    bad("lists", "labels that are all empty", "a column without values", lambda: classes(table(lines("{},{}", labels=("", "")))), "label"),
    bad("lists", "a class for every row", "ids taken for labels", lambda: classes(table("path,label\n" + "".join(f"i/{i}.png,id{i}\n" for i in range(8)))), "two samples"),
    bad("lists", "features in a .csv", "numbers by column", lambda: classes(table("f0,f1,label\n1,2,cat\n3,4,dog\n")), "f0", ".npz"),
    bad("ready features", "NUL bytes in labels", "fixed-width text of C, its padding in the middle", nul_labels, "h.h5 must be text without NUL bytes", "in row 0; write the name alone"),
    bad("lists", "no header", "rows from the first line on", lambda: classes(table(lines("{},{}").partition("\n")[2])), "must have the columns path and label", "where the first line is a row, write path,label above it"),
    bad("ready features", "a label less than rows", "eight rows, seven labels", lambda: classes(pack(labels=np.array(["cat"] * 7))), "one entry per row", "8", "7"),
    bad("ready features", "maps instead of vectors", "(n, 2, 2)", lambda: classes(pack(features=np.zeros((8, 2, 2)))), r"\(n, p\)", r"\(8, 2, 2\)"),
    bad("ready features", "a vector column", "vector and label in a parquet", lambda: classes(parquet(vector=[[1.0]] * 4, label=["a", "b"] * 2)), "save vector as features and label as labels"),
    bad("ready features", "an .npy without labels", "no second file", lambda: classes(npy()), "x_labels.npy"),
    bad("ready features", "another width", "three features, then four", other_width, "--pool", "3 features", "4"),
    bad("ready features", "another kind", "a pool of images", other_kind, "--pool", "features", "images"),
    bad("ready features", "no rows", "arrays of length 0", lambda: classes(pack(features=np.zeros((0, 3)), labels=np.array([], str))), "labelled samples"),
    bad("ready features", "a page called .npz", "what a server answers instead of a file", lambda: classes(written("x.npz", b"<!DOCTYPE html>")), "begins with b'<!DOCTYP'", "deliver it again"),
    bad("ready features", "a short row", "lists of 3 numbers, row 2 of 2", lambda: classes(parquet(features=[[1.0] * 3, [1.0] * 3, [1.0] * 2, [1.0] * 3], labels=["a", "b"] * 2)), "3 numbers in most rows, 2 in row 2"),
    bad("lists", "img_path and category", "what others call the columns", lambda: classes(table(lines("{},{}", "img_path,category"))), "--columns path=img_path,label=category"),
    bad("layouts", "half a zip", "a copy that broke off, as a source", lambda: half_a_zip(), "half.zip must be a whole archive", "Fetch or pack it again"),
    bad("ready features", "a pickle of torch", "a .pt file", lambda: classes(written("x.pt", b"PK\3\4")), "x.pt", ".npz", "save features and labels by numpy.savez"),
    bad("ready features", "text among wide columns", "f0 to f1 in a parquet", lambda: classes(parquet(f0=["x"] * 4, f1=[1.0] * 4, labels=["a", "b"] * 2)), "f0 of p.parquet must hold real numbers, got String"),
    bad("ready features", "columns of other names", "age and height in a parquet", lambda: classes(parquet(age=[1.0] * 4, height=[1.0] * 4, labels=["a", "b"] * 2)), "name its numbers features .of a table also f0, f1"),
    bad("ready features", "features transposed", "(p, n)", lambda: classes(pack(features=np.zeros((3, 8)))), r"one entry per row \(3\), got 8; transpose its features"),
    bad("ready features", "arrays without names", "numpy.savez(X, y)", lambda: classes(unnamed()), "save arr_0 as features and arr_1 as labels"),
    bad("lists", "imagefolder without its images", "metadata.csv names others", lambda: classes(metadata("gone/")), "must name images, got none in 8 that were opened", "missing file"),
    bad("ready features", "a folder of features", "one .npz in it", lambda: classes(packed_away()), "ready features in a folder. Name the file itself"),
    bad("layouts", "a zip of nothing", "no file in it", lambda: classes(zipped()), "outer.zip must hold images, got an archive of nothing; pack"),
    bad("layouts", "a zip in a zip", "and nothing else", lambda: classes(zipped(archive_flat())), "must hold images, got archives, the first flat.zip; unpack it"),
    bad("layouts", "a .rar", "an archive that is not read", lambda: classes(written("x.rar", b"Rar!")), "unpack it, and name what it holds"),
    bad("lists", "a workbook", "of Excel", lambda: classes(written("x.xlsx", b"PK\3\4")), "save the sheet as .csv"),
    bad("lists", "a workbook called .csv", "renamed, not saved", lambda: classes(written("x.csv", b"PK\3\4\xff")), "got a workbook or an archive; save it as .csv"),
    bad("lists", "UTF-16 without its mark", "every second byte is zero", lambda: classes(table(lines("{},{}"), encoding="utf-16-le")), "NUL bytes in its first line", "save it as UTF-8"),
]  # fmt: skip


def zipped(*inner: str) -> str:
    with zipfile.ZipFile("outer.zip", "w") as file:
        for name in inner:
            file.write(name)
    return "outer.zip"


def unnamed() -> str:
    np.savez("x.npz", np.zeros((8, 3)), np.arange(8) % 2)
    return "x.npz"


def metadata(before: str) -> str:
    """A folder as imagefolder has it, whose images lie elsewhere."""
    table(lines(f"{before}{{}},{{}}", "file_name,label"), "metadata.csv")
    return "."


def packed_away() -> str:
    Path("folder").mkdir()
    Path(pack()).rename("folder/pack.npz")
    return "folder"


def half_a_zip() -> dict[str, int]:
    whole = Path(archive_flat()).read_bytes()
    return classes(written("half.zip", whole[: len(whole) // 2]))


def archive_flat() -> str:
    with zipfile.ZipFile("flat.zip", "w") as file:
        for i in range(4):
            file.writestr(f"{i}.png", image(f"f/{i}.png", i).read_bytes())
    return "flat.zip"


@pytest.mark.parametrize(("fault", "make", "said"), BAD)
def test_what_cannot_be_used_is_refused_with_place_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Case, make: Make, said: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said[0]) as refused:
        make()
    for part in said:
        assert refused.match(part)


def dangling() -> dict[str, str]:
    folders("photos")
    Path("photos/cat/gone.png").symlink_to("nowhere.png")
    return aside("photos")


def with_a_broken_chunk() -> bytes:
    """A sound PNG but for the checksum of a chunk of text."""
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "b")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=text)
    data = bytearray(buffer.getvalue())
    data[data.index(b"tEXt") + 7] ^= 255
    return bytes(data)


def odd(name: str, content: bytes = b"no pixels here") -> Make:
    def make() -> dict[str, str]:
        folders("photos")
        Path("photos/cat", name).write_bytes(content)
        return aside("photos")

    return make


LOST = [
    lost("images", "a photo of a phone", "HEIC", odd("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), {"a.heic": "format that is not read: HEI"}),
    lost("images", "a drawing", "SVG", odd("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), {"a.svg": "format that is not read: SVG"}),
    lost("images", "a project of Photoshop", "PSD", odd("a.psd", b"8BPS\0\1"), {"a.psd": "format that is not read: PSD"}),
    lost("images", "a link to nothing", "a dangling link in a class folder", dangling, {"gone.png": "missing file: a link that leads nowhere"}),
    lost("images", "a broken chunk of text", "sound pixels, one checksum wrong", odd("a.png", with_a_broken_chunk()), {"a.png": "damaged image: a chunk of the PNG"}),
    lost("images", "a text called PNG", "no image inside", odd("a.png"), {"a.png": "not an image"}),
    lost("lists", "a folder among the paths", "i instead of i/0.png", lambda: aside(table(lines("{},{}") + "i,cat\n")), {"i": "not a file"}),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "make", "right"), LOST)
def test_what_is_no_sample_is_set_aside_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Case, make: Make, right: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = make()
    assert found.keys() == right.keys()
    assert all(found[name].startswith(reason) for name, reason in right.items())


X = np.random.default_rng(3).normal(size=(60, 4)) + 4 * np.eye(4)[np.arange(60) % 3]
Y = np.array(["ant", "bee", "cow"])[np.arange(60) % 3]
FRAME = pl.DataFrame(X, schema=list("abcd"))


def closed() -> Any:
    with h5py.File(io.BytesIO(), "w") as file:
        return file.create_dataset("x", data=X)


def long_list(rows: Sequence[Any]) -> pl.DataFrame:
    """Two annotators of each row."""
    return pl.DataFrame({"sample": [*rows] * 2, "annotator": ["ann"] * 60 + ["bob"] * 60, "label": Y.tolist() * 2})


CALLS = [
    bad("estimators", "words and numbers", "labels of two types", lambda: detect(X, [1, *Y[1:].tolist()]), "y must hold", "text or numbers"),
    bad("estimators", "a label that is None", "in row 7", lambda: detect(X, [None if i == 7 else label for i, label in enumerate(Y)]), "row 7"),
    bad("estimators", "infinite X", "in one cell", lambda: detect(np.where(X[5, 2] == X, np.inf, X), Y), "infinity"),
    bad("estimators", "a column less", "in the pool's frame", lambda: extend(FRAME, Y, FRAME.drop("c"), Y), "X_pool", "columns of X"),
    bad("estimators", "groups of another length", "one less", lambda: detect(X, Y, groups=np.arange(59)), "groups must have one entry per row"),
    bad("estimators", "a lazy frame", "not collected", lambda: detect(FRAME.lazy(), Y), "lazy frame", "collect"),
    bad("estimators", "predict before fit", "a model without rows", lambda: DivaClassifier().predict(X), "not fitted"),
    bad("estimators", "a score misspelt", "sofft", lambda: detect(X, Y, score="sofft"), "score must be", "soft"),
    bad("estimators", "no ridge", "0", lambda: detect(X, Y, ridge=0), "ridge must be"),
    bad("estimators", "a negative budget", "-1", lambda: extend(X, Y, X, Y, budget=-1), "budget must lie"),
    bad("estimators", "a dictionary of columns", "as X", lambda: detect(dict(enumerate(X.T)), Y), "X must be an array or a frame, got a mapping of 4 columns", r"column_stack\(list\(X.values"),
    bad("estimators", "a name of a file", "as X", lambda: detect("x.npz", Y), "X must be an array, a frame or a list of rows, got 'x.npz'; load it"),
    bad("estimators", "a closed file of HDF5", "whose data set is X", lambda: detect(closed(), Y), "X must be an open data set, got one of a closed file"),
    bad("estimators", "rows and columns exchanged", "X is (p, n)", lambda: detect(X.T, Y), r"X and y must have a row for each sample, .*\[4, 60\]; transpose X: X.T"),
    bad("estimators", "numbers as text", "of a .csv read without types", lambda: detect(X.astype(str), Y), "X must hold numbers, got text; convert it"),
    bad("estimators", "a ragged list", "a row of three numbers", lambda: detect([*X.tolist()[:59], [1.0] * 3], Y), "X must have rows of one length, got 4 numbers in row 0, 3 in row 59"),
    bad("estimators", "a mask", "over a cell of X, which stays in it", lambda: detect(np.ma.masked_array(X, X[5, 2] == X), Y), "X contains NaN in row 5, column 2"),
    bad("estimators", "a mask over labels", "in row 5", lambda: detect(X, np.ma.masked_array(Y, np.arange(60) == 5)), "got none in row 5"),
    bad("estimators", "one-hot labels", "(n, k)", lambda: detect(X, np.eye(3)[np.arange(60) % 3]), "y must hold one label a sample", "argmax"),
    bad("estimators", "an iterator of labels", "that can be read once", lambda: detect(X, iter(Y)), "y must hold one label a sample .*, got a iterator", "give a list"),
    bad("estimators", "numbers as classes", "a measurement as y", lambda: detect(X, X[:, 0]), "y must hold classes, got numbers such as", "detect_regression"),
    bad("estimators", "annotations by paths", "rows of X have no names", lambda: diva.consensus(X, long_list([f"{i}.jpg" for i in range(60)])), "positions in X, got .'0.jpg'. in column 'sample'; number them"),
    bad("estimators", "a switch as text", "stop='no'", lambda: extend(X, Y, X + 1, Y, stop="no"), "stop must be True or False, got 'no'"),
    bad("estimators", "a round of True", "per_round=True", lambda: extend(X, Y, X + 1, Y, per_round=True), "per_round must be a number or a share, got True"),
    bad("estimators", "a step as text", "step_size='0.5'", lambda: reweight(X, Y, step_size="0.5"), "step_size must be positive and finite, got '0.5'"),
    bad("estimators", "labels counted from 1 in the pool", "from 0 in the core", lambda: extend(X, np.arange(60) % 3, X + 1, np.arange(60) % 3 + 1), r"only classes of y, got .3.; leave .*, or spell them as y does: 0, 1, 2"),
    bad("estimators", "annotations turned", "a row an annotator", lambda: diva.consensus(X, [Y.tolist(), Y.tolist()]), "transpose annotations: annotations.T"),
    bad("estimators", "annotations with ids", "a column of numbers beside two of labels", lambda: diva.consensus(X, pl.DataFrame({"ann": Y, "bob": Y, "id": range(60)})), "got numbers and text in ann, bob, id"),
    bad("estimators", "lists of labels as text", "of a .csv", lambda: diva.detect_multilabel(X, ["['a']", "['b']"] * 30), "in row 0; read the text by ast.literal_eval"),
    bad("estimators", "a column for the rows", "one feature as (n,)", lambda: detect(X[:, 0], Y), r"X must have shape \(n, p\), got \(60,\)", "Reshape your data: X.reshape"),
    bad("estimators", "lists as text", "of a .csv with a column of vectors", lambda: detect(pl.DataFrame({"x": [str(row.tolist()) for row in X]}), Y), "got a list as text in row 0", "json.loads"),
    bad("estimators", "a weight below 0", "in row 4", lambda: DivaClassifier().fit(X, Y, np.where(np.arange(60) == 4, -1.0, 1.0)), "sample_weight must hold numbers of at least 0, got -1.0 in row 4"),
    bad("estimators", "weights of classes", "a dictionary", lambda: DivaClassifier().fit(X, Y, {"ant": 2.0}), "sample_weight must hold a number for each row", "compute them first"),
    bad("estimators", "a label of blanks", "'' in row 9", lambda: detect(X, np.where(np.arange(60) == 9, "", Y)), "y must hold a label for every row, got none in row 9"),
    bad("estimators", "the name of a column as groups", "'patient'", lambda: detect(X, Y, groups="patient"), r"got 'patient'; or give groups \(n,\)"),
    bad("estimators", "rows of text", "a column of names among the numbers", lambda: detect(FRAME.with_columns(a=pl.lit("x")), Y), "X must hold numbers, got .x. in row 0, column .a.; leave it out"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "make", "said"), CALLS)
def test_calls_that_cannot_be_are_refused(fault: Case, make: Make, said: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=said[0]) as refused:
        make()
    for part in said:
        assert refused.match(part)


Kind = enum.Enum("Kind", "ant bee cow")


@pytest.mark.parametrize(
    ("fault", "labels"),
    [
        Case("labels of other types", "estimators", "intervals, enumerations, dates: by their names", UNHARMED).param([Kind[name] for name in Y]),
        Case("bytes", "estimators", "labels as C and old HDF5 hold them", UNHARMED).param(np.char.encode(Y)),
        Case("a frame of labels", "estimators", "of one column", UNHARMED).param(pl.DataFrame({"y": Y})),
        Case("categories", "estimators", "of polars", UNHARMED).param(pl.Series(Y, dtype=pl.Categorical)),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_labels_of_any_type_are_classes(fault: Case, labels: Any) -> None:
    wrong = detect(X, labels)
    assert np.array_equal(wrong.score, detect(X, Y).score)
    assert [name.split(".")[-1] for name in wrong.suggested] == detect(X, Y).suggested.tolist()


@Case(
    "a column of vectors", "estimators", "a frame or series of lists, as parquet and pandas hold embeddings", UNHARMED
).test
def test_a_column_of_vectors_is_features() -> None:
    column = pl.DataFrame({"x": X.tolist()})
    for rows in (column, column["x"], column.with_columns(pl.col("x").list.to_array(4))):
        assert np.array_equal(detect(rows, Y).score, detect(X, Y).score)
    assert DivaClassifier().fit(column, Y).predict(column).shape == (60,)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: detect(FRAME.with_columns(label=np.arange(60) % 3), np.arange(60) % 3), "'label', which looks like a label"),
        (lambda: detect(FRAME.with_row_index("Unnamed: 0"), Y), "'Unnamed: 0', which numbers the rows"),
        (lambda: detect(FRAME.with_row_index("number", 1), Y), "'number', which numbers the rows"),
        (lambda: extend(X, Y, X, Y), "X_pool holds 60 rows that are rows of X, too"),
        (lambda: diva.consensus(X, np.eye(3)[np.arange(60) % 3]), "annotations look like one-hot rows"),
        (lambda: diva.detect_regression(X, np.ones(60)), "y is 1 in every row"),
        (lambda: detect(X, np.where(np.arange(60) < 9, "unknown", Y)), "y holds 'unknown', which counts as a class"),
        (lambda: detect(X, np.where(np.arange(60) < 9, -1, np.arange(60) % 3)), "y holds '-1', which counts as a class"),
    ],
)  # fmt: skip
def test_what_is_probably_no_feature_and_no_label_is_said(call: Make, said: str) -> None:
    with pytest.warns(UserWarning, match=said):
        call()


def test_intervals_are_classes_by_their_names_and_whole_numbers_stay_such() -> None:
    pandas = pytest.importorskip("pandas")
    cut = pandas.cut(X[:, 0], 3)
    assert set(detect(X, cut).suggested) <= set(map(str, cut.categories))
    assert detect(X, pandas.Series(np.arange(60) % 3, dtype="Int64")).suggested.dtype.kind == "i"


@Case("a long list of annotations", "estimators", "a row for each thing said, as consensus gets it", UNHARMED).test
def test_consensus_takes_a_long_list() -> None:
    said = long_list(range(60))
    assert diva.consensus(X, said).label.tolist() == diva.consensus(X, np.column_stack([Y, Y])).label.tolist()
    timed = said.with_columns(time=pl.int_range(120))
    assert diva.consensus(X, timed).label.tolist() == diva.consensus(X, said).label.tolist()


@Case("lists of lists", "estimators", "X and y as plain lists, weights too, from diva itself", UNHARMED).test
def test_plain_lists_are_as_good_as_arrays() -> None:
    assert np.array_equal(diva.detect(X.tolist(), Y.tolist()).score, detect(X, Y).score)
    weights = reweight(X, Y).weights
    model = DivaClassifier().fit(X.tolist(), Y.tolist(), sample_weight=weights.tolist())
    assert np.array_equal(model.coef_, DivaClassifier().fit(X, Y, sample_weight=weights).coef_)


SETTINGS = [
    bad("settings", "a key misspelt", "extend.per_rounds", lambda: {"extend": {"per_rounds": 10}}, "per_rounds"),
    bad("settings", "a truth value as a number", "batch_size: yes, which YAML reads as true", lambda: {"extract": {"batch_size": True}}, "batch_size", "no truth value"),
    bad("settings", "an action that there is not", "curate.action: remove", lambda: {"curate": {"action": "remove"}}, "weigh", "remove"),
    bad("settings", "more than the whole pool", "per_round: 1.5", lambda: {"extend": {"per_round": 1.5}}, "per_round", "1.5"),
    bad("settings", "a list of one as a word", "evaluate.learners: ridge", lambda: {"evaluate": {"learners": "ridge"}}, "evaluate.learners: must be a list, got 'ridge'; write learners: [ridge]"),
    bad("settings", "a list of numbers as a text", "fit.ridges: 0.1, 1", lambda: {"fit": {"ridges": "0.1, 1"}}, "write ridges: [0.1, 1]"),
    bad("settings", "a crop above its resize", "extract.crop: 300 of 256", lambda: {"extract": {"resize": 256, "crop": 300}}, "crop must be at most resize (256), got 300; write resize: 300"),
    bad("settings", "a score that no stage makes", "curate.score: margin, score.methods: [soft]", lambda: {"curate": {"score": "margin"}, "score": {"methods": ["soft"]}}, "curate.score: must be one of score.methods, ['soft'], got 'margin'"),
    bad("settings", "pixels of 0 to 255", "extract.mean: [127, 127, 127]", lambda: {"extract": {"mean": [127, 127, 127]}}, "mean and std must be of pixels from 0 to 1", "divide such of 0 to 255 by 255"),
    bad("settings", "no regular expression", "download.group_by: [", lambda: {"download": {"group_by": "["}}, "group_by: must be parent or a regular expression, got '['"),
    bad("settings", "a learner that there is not", "evaluate.learners: [forest]", lambda: {"evaluate": {"learners": ["forest"]}}, "learners", "forest"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "make", "said"), SETTINGS)
def test_settings_that_cannot_be_are_named(fault: Case, make: Make, said: tuple[str, ...]) -> None:
    text = "\n".join(faults(yaml.safe_load(yaml.safe_dump(project.params(**make())))))
    assert all(part in text for part in said), text


@Case("a key twice", "settings", "of which YAML takes the last", REFUSED).test
def test_a_key_that_stands_twice_is_named() -> None:
    with pytest.raises(ValueError, match="key a stands twice in the section that begins in line 2"):
        documents.sections("fit:\n  a: 1\n  a: 2\n", "params.yaml")


@Case("a budget in quotes", "settings", "'100'", UNHARMED).test
def test_a_number_in_quotes_is_that_number() -> None:
    content = project.params(extend={"budget": "100"})
    assert not faults(content)
    assert work.checked({name: content[name] for name in project.SETTINGS})[0].budget == 100


def test_labels_that_differ_in_blanks_alone_are_said() -> None:
    with pytest.warns(UserWarning, match="y holds 'ant' and 'ant ', which count as two classes"):
        detect(X, np.where(np.arange(60) < 30, np.char.add(Y, np.where(Y == "ant", " ", "")), Y))


def test_blanks_around_a_path_are_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert classes(table(lines(" ./{} ,{}"))) == [TWO]


def test_classes_that_are_called_as_if_there_were_none_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    notes = own.gather(table(lines("{},{}", labels=("cat", "dog")) + "i/7.png,N/A\n"), [], "none")["core"].notes
    assert any("N/A counts as a class; where nobody knows, leave the label empty" in note for note in notes)


def test_names_of_an_archive_that_may_be_garbled_and_files_in_two_sets_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (note,) = own.gather(unsaid("cp1252"), [], "none")["core"].notes
    assert "does not say how its names are encoded" in note
    assert "unpack it" in note
    (note,) = own.gather(table(lines("{},{}").removesuffix("i/7.png,dog\n")), ["i"], "none")["b001"].notes
    assert note.startswith("i: 7 of 8 files are those of list.csv, too")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: table(lines("{},{},train", "path,label,split").replace("dog,train", "dog,test")), "all rows are taken, whatever its column split says"),
        (lambda: table(lines("{},{}", labels=("cat;dog", "dog")) + "i/1.png,cat\n"), "such as cat;dog look like several labels of a sample; if they are, say --separator ';'"),
        (lambda: table(lines("{},{}", labels=("red car", "red_car"))), "the classes 'red car' and 'red_car' count as two"),
        (lambda: table(lines("{},{}").replace("i/7.png,dog", "https://host/7.png,dog")), "1 of 8 files cannot be used; the first: https://host/7.png"),
        (lambda: table(lines("{},{}").replace("i/7.png,dog", "i/7.png,bird")), "1 class of one sample will be set aside .the core needs two.: bird"),
        (lambda: table(lines("{},{},p", "path,label,patient_id")), "samples share values of the column patient_id; if they belong together, call the column group"),
        (lambda: table(lines("{},{}") + "i/0.png,dog\n"), "1 of 8 files stand there with several labels, such as i/0.png .cat, dog.: they will be set aside"),
        (lambda: folders("p", ("images", "masks")), "images, masks are parts of a data set of boxes or masks"),
        (lambda: str(Path(table(lines("{},{}"), f"{folders('q')}/list.csv")).parent), "A list lies there; the labels are those of the folders"),
        (lambda: pack(features=np.arange(24.0).reshape(8, 3) * [1, 1, 1e6]), "column 2 makes up 100.0% .*fit.normalize: standardize"),
        (lambda: pack(features=np.where(np.eye(8)[:, :3] == 1, np.inf, 1.0)), "3 of 8 rows hold NaN, infinity.* in row 0, column 0: they will be set aside"),
    ],
)  # fmt: skip
def test_what_is_used_but_probably_meant_otherwise_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert any(re.search(said, note) for note in own.gather(make(), [], "none")["core"].notes)


def test_folders_below_the_classes_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for top, below in (("cats", ("tabby", "siam")), ("dogs", ("pug", "boxer"))):
        folders(f"L/{top}", below)
    notes = own.gather("L", [], "none")["core"].notes
    assert any("folders on top" in note and "cats/siam, cats/tabby, dogs/boxer and 1 more" in note for note in notes)
