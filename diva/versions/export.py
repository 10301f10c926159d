"""A version's release in the forms that other tools read: a folder per class, or a table.

Images are linked, or copied where asked. Every name below the target is made here from sample ids and from labels with
all that a path could mean taken out, so nothing that a delivery says leads out of the target.
"""

import hashlib
import os
import shutil
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from diva.ingest import images
from diva.ingest.sources import READY
from diva.store import digests, manifest, parts, paths, release, remote, tables
from diva.store.columns import without_durations
from diva.versions import contents
from diva.versions.published import Version
from diva.versions.writers import card, coco, croissant, cvat, hugging_face, label_studio, webdataset
from diva.versions.writers.pictures import ExportedImage, PlacedImage, write_json

FORMATS = ("imagefolder", "fiftyone", "csv", "parquet", "hf", "webdataset", "coco", "labelstudio", "cvat", "croissant")
FIELDS = ("weight", "flagged", "given_label", "suggested_label", "origin", "round", "margin", "derivative", "reason")
LENGTH = 120  # bytes of a folder's name; longer labels end in their hash


def export(
    version: Version, form: str, folder: Path, *, copy: bool = False, facts: Sequence[tuple[str, str]] = ()
) -> int:
    """Write the release of a version into ``folder``; return how many samples it has.

    Args:
        version: which.
        form: ``imagefolder`` (class/sample_id.ext, and index.csv with labels and weights), ``fiftyone`` (its
            FiftyOneImageClassificationDataset), ``csv`` or ``parquet`` (train and removed; paths absolute), ``hf`` or
            ``webdataset`` (the images themselves within), ``coco``, ``labelstudio``, ``cvat`` or ``croissant`` (its
            description beside a folder of images). A data card, README.md, lies beside each.
        folder: a new or an empty one; it is there when everything is.
        copy: copy images, checking their content, instead of linking them.
        facts: of data, network, settings and code, for the card.

    Raises:
        ValueError: another form, a folder that holds something, an image that is gone or changed.
    """
    if form not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, got {form}.")
    train = tables.read(contents.fetch(version, paths.TRAIN), release.TRAIN, further=True)
    frames = {"train": train, "removed": release.read_removed(contents.fetch(version, paths.REMOVED), further=True)}
    with new_folder(folder) as fresh:
        if form == "imagefolder":
            image_folder(frames["train"], fresh, version, copy=copy)
        elif form == "fiftyone":
            fifty_one(frames["train"], fresh, version, copy=copy)
        elif form in ("hf", "webdataset"):
            require_images(train, form)
            whole = tables.without_empty(train)
            within = pictures(whole, version)
            hugging_face.write(whole, within, fresh) if form == "hf" else webdataset.write(within, fresh)
        elif form in ("coco", "labelstudio", "cvat", "croissant"):
            require_images(train, form)
            described(tables.without_empty(train), form, fresh, version, facts, copy=copy)
        else:
            write_tables(frames, fresh, form)
        front = hugging_face.front(tables.without_empty(train)) if form == "hf" else None
        summary = tables.read_json(contents.fetch(version, paths.SUMMARY))
        (fresh / "README.md").write_text(
            card.text(version.name, summary, train, frames["removed"], facts, front), encoding="utf-8"
        )
    return len(frames["train"])


def pictures(train: pl.DataFrame, version: Version) -> Iterator[ExportedImage]:
    """The samples of a release with the bytes of their images; ValueError where one is gone or another."""
    for name, row in zip(_names(train), train.iter_rows(named=True), strict=True):
        source = _located(version, Path(row["path"]))
        content = parts.read(source)
        if hashlib.sha256(content).hexdigest()[: manifest.ID_LENGTH] != row["sample_id"]:
            raise ValueError(f"{source} must be the image that was curated, got other content.")
        yield ExportedImage(name, content, row)


def described(
    train: pl.DataFrame, form: str, folder: Path, version: Version, facts: Sequence[tuple[str, str]], *, copy: bool
) -> None:
    """images/sample_id.ext, and the files of a format that describe them."""
    names = _names(train)
    _put(train, [f"images/{name}" for name in names], folder, version, copy=copy)
    rows = zip(names, train.iter_rows(named=True), strict=True)
    placed = [PlacedImage(name, *image_size(folder / "images" / name), row) for name, row in rows]
    if form == "croissant":
        croissant.write(placed, folder, train, version.name, "; ".join(": ".join(fact) for fact in facts))
    else:
        {"coco": coco, "labelstudio": label_studio, "cvat": cvat}[form].write(placed, folder)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image."""
    size = images.header(path)
    if isinstance(size, images.Fault):
        raise ValueError(f"{path.name} must be an image, got {size.reason}.")
    return size


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which is ``folder``, a new or an empty one, once the block has ended well."""
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise ValueError(f"--to must be a new or an empty folder, got {folder}.")
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    fresh.mkdir(parents=True)
    try:
        yield fresh
        fresh.replace(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def write_tables(frames: dict[str, pl.DataFrame], folder: Path, form: str) -> None:
    """The members and, apart from them, the removed; paths absolute."""
    for name, frame in frames.items():
        whole = tables.without_empty(frame).with_columns(path=pl.col("path").map_elements(_absolute, pl.String))
        if form == "csv":
            without_durations(whole).write_csv(folder / f"{name}.csv")
        else:
            whole.write_parquet(folder / f"{name}.parquet")


def image_folder(train: pl.DataFrame, folder: Path, version: Version, *, copy: bool = False) -> None:
    """class/sample_id.ext, and index.csv: file, label, given label and weight of each sample."""
    require_images(train, "imagefolder")
    named = zip(train["label"], _names(train), strict=True)
    files = [f"{class_name(label)}/{name}" for label, name in named]
    _put(train, files, folder, version, copy=copy)
    columns = ["sample_id", "label", "given_label", "weight"]
    train.select(pl.Series("file", files, pl.String), *columns).write_csv(folder / "index.csv")


def fifty_one(train: pl.DataFrame, folder: Path, version: Version, *, copy: bool = False) -> None:
    """data/sample_id.ext, and labels.json: the label of each sample with all that is known of it as attributes.

    ``fiftyone.Dataset.from_dir(folder, fiftyone.types.FiftyOneImageClassificationDataset)`` reads it; what has no value
    is left out, so that each attribute is of one type.
    """
    require_images(train, "fiftyone")
    _put(train, [f"data/{name}" for name in _names(train)], folder, version, copy=copy)
    labels = {}
    for row in train.select("sample_id", "label", *FIELDS).iter_rows(named=True):
        attributes = {
            name: row[name] for name in FIELDS if row[name] is not None and row[name] == row[name]
        }  # NaN is none
        labels[class_name(row["sample_id"])] = {"label": row["label"], "attributes": attributes}
    write_json(folder / "labels.json", {"classes": sorted(set(train["label"])), "labels": labels})


def require_images(train: pl.DataFrame, form: str) -> None:
    """Refuse features made elsewhere where a form is of images."""
    ready = train.filter(pl.col("path").map_elements(_is_ready, pl.Boolean))
    if len(ready):
        raise ValueError(f"--format {form} must have images, got features made elsewhere ({ready['path'][0]}).")


def _names(train: pl.DataFrame) -> list[str]:
    rows = train.select("sample_id", "path").iter_rows()
    return [f"{class_name(sample_id)}{suffix(path)}" for sample_id, path in rows]


def _put(train: pl.DataFrame, files: list[str], folder: Path, version: Version, *, copy: bool) -> None:
    """The image of each sample as one of ``files``, a link or a copy."""
    put: Callable[[Path, Path, str], None] = copy_image if copy else _link
    for (sample_id, path), file in zip(train.select("sample_id", "path").iter_rows(), files, strict=True):
        target = folder / file
        target.parent.mkdir(exist_ok=True)
        put(_located(version, Path(path)), target, sample_id)


def class_name(label: str) -> str:
    """A label as the name of a folder: letters and digits stay, all that a path could mean becomes %xx; one to one."""
    safe = "".join(c if c.isalnum() or c in "-_+" else urllib.parse.quote(c, safe=" ,()&") for c in label)
    safe = safe.replace(".", "%2E").replace("~", "%7E") if label.startswith((".", "~")) else safe
    if len(safe.encode()) <= LENGTH and safe.strip() == safe and safe:
        return safe
    short = safe.encode()[: LENGTH // 2].decode(errors="ignore").strip(" .~")
    return f"{short}%{hashlib.sha256(label.encode()).hexdigest()[:16]}"


def suffix(path: str) -> str:
    """The end of a file's name, in lower case, where it is short and plain; else nothing."""
    end = Path(path).suffix.lower()
    return end if end[1:].isalnum() and end.isascii() and len(end) <= 6 else ""


def _is_ready(path: str) -> bool:
    return Path(path).suffix.lower() in (*READY, ".parquet")


def _located(version: Version, path: Path) -> Path:
    """Images that the pipeline wrote, as the version has them; others where they lie."""
    part = parts.part_of(path)
    file = part.file if part else path
    location = contents.fetch(version, file) if paths.DATA in path.parents else remote.local(file)
    if not location.is_file():
        raise ValueError(f"{file} must be there, got nothing; put the image back where it was.")
    return parts.path_of(location.resolve(), part.start, part.size, path.name) if part else location.resolve()


def _absolute(path: str) -> str:
    return path if remote.url_of(path) else Path(path).absolute().as_posix()


def _link(source: Path, target: Path, sample_id: str) -> None:
    if parts.part_of(source) or remote.url_of(source):  # a link leads to whole files that stay
        copy_image(source, target, sample_id)
    else:
        target.symlink_to(source)


def copy_image(source: Path, target: Path, sample_id: str) -> None:
    """Write an image, a file or a part of one, as a file; ValueError where it is not that of the sample."""
    target.write_bytes(parts.read(source))
    if digests.sha256(target)[: manifest.ID_LENGTH] != sample_id:
        raise ValueError(f"{source} must be the image that was curated, got other content.")
