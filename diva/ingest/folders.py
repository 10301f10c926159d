"""Folders of images, nested or not: where classes begin, and which files are no samples.

photos/cat/1.png          the label is the folder on top
photos/train/cat/1.png    the one below, where all on top are splits (train, val, …) with the same folders below
photos/1.png              none, where samples may lack one and no image lies in a folder of its own
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from diva.ingest import archives
from diva.ingest.images import Fault, Listed
from diva.text.labels import normalized
from diva.text.words import few_of
from diva.vision.formats import SUFFIXES

SPLITS = {"train", "training", "val", "valid", "validation", "dev", "eval", "test", "testing"}
OTHERS = {
    "images",
    "image",
    "img",
    "imgs",
    "jpegimages",
    "photos",
    "rgb",
    "labels",
    "label",
    "annotations",
    "annotation",
    "ann",
    "masks",
    "mask",
    "imagesets",
    "segmentationclass",
    "segmentationobject",
    "segmentation",
    "gt",
    "depth",
    "boxes",
    "bboxes",
}  # folders beside each other of data sets of boxes and masks
SYSTEM_NAMES = {
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "thumbs.db", "ehthumbs.db",
    "desktop.ini", "lost+found",
}  # fmt: skip
SIDECARS = (".json", ".xmp", ".aae", ".thm", ".lrv", ".pp3", ".ini", ".db", ".lnk", ".url")  # beside images, never one
LOOSE = Fault("no class folder", "Move the image into the folder of its class: class/image.")
PACKED = (*archives.SUFFIXES, ".7z", ".rar")
SYSTEM = Fault("system file: of a desktop, a disk station, a telephone or a camera, no sample", "Nothing to do.")
SHORTCUT = Fault("shortcut: it holds the place of a folder alone", "Put the folder of images itself there.")
BESIDE = Fault("system file: beside the folders of classes, no sample", "Nothing to do.")


def images_of(root: Path, unlabelled: bool = False) -> list[Listed]:
    """The files of a folder in the order of their names, with the labels that their folders give; no hidden ones.

    Args:
        root: the folder.
        unlabelled: whether the files of a folder without folders are samples that wait for their labels.
    """
    inside, listed = root.resolve(), []

    def closed(error: OSError) -> None:
        path = Path(error.filename)
        fault = Fault(f"folder not readable: {error.strerror}", "Give read permission.")
        listed.append(Listed(path, path.relative_to(root).as_posix(), None, fault))

    for directory, folders, names in os.walk(root, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in folders if (Path(directory) / name).is_symlink()]  # os.walk does not follow them
        paths = [Path(directory) / name for name in (*names, *links) if not name.startswith(".")]
        listed += [_listed(path, root, inside) for path in paths]
    if unlabelled and all(entry.fault for entry in listed):
        listed = [entry._replace(fault=None) if entry.fault == LOOSE else entry for entry in listed]
    depth = 1 if splits(entry.name for entry in listed if not entry.fault) else 0
    return sorted((_labelled(entry, depth) for entry in listed), key=lambda entry: entry.name)


def images_below(root: Path) -> Iterator[Path]:
    """The files of a folder that end as images do, at any depth; none that is hidden or a system's."""
    for directory, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not _is_hidden(name))
        yield from (Path(directory) / name for name in sorted(names) if _ends_as_image(name))


def _ends_as_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not _is_hidden(name)


def _listed(path: Path, root: Path, inside: Path) -> Listed:
    name = path.relative_to(root).as_posix()
    return Listed(path, name, None, _misplaced(path, name.split("/"), inside))


def _labelled(entry: Listed, depth: int) -> Listed:
    parts = entry.name.split("/")
    return entry._replace(label=normalized(parts[depth]) if len(parts) > depth + 1 else None)


def _misplaced(path: Path, parts: list[str], inside: Path) -> Fault | None:
    if not _is_text(str(path)):
        return Fault("name is not UTF-8", "Rename the file.")
    if not SYSTEM_NAMES.isdisjoint(part.lower() for part in parts):
        return SYSTEM
    if path.is_symlink():
        try:
            target = path.resolve()
        except (OSError, RuntimeError):  # which of them depends on the version of Python
            return Fault("missing file: the link leads to itself", "Put the image itself there.")
        if not target.is_relative_to(inside):
            remedy = "Put the image itself there, or name it in a list (.csv with path and label): lists may."
            return Fault(f"link out of the folder: to {target}", remedy)
        if not target.exists():
            return Fault(f"missing file: a link that leads nowhere, to {target}", "Put the image itself there.")
        if target.is_dir():
            return Fault("link to a folder", "Put the images themselves there.")
    if parts[-1].lower().endswith(PACKED):
        return Fault("archive in a folder", "Unpack it: each image into the folder of its class.")
    if len(parts) == 1 and parts[-1].lower().endswith(".lnk"):
        return SHORTCUT
    if parts[-1].lower().endswith(SIDECARS):
        return BESIDE if len(parts) == 1 else SYSTEM
    if len(parts) == 1 and parts[-1].lower().endswith((".npz", ".npy", ".h5", ".hdf5")):
        return Fault("ready features in a folder", "Name the file itself as the source.")
    return LOOSE if len(parts) == 1 else None


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def splits(names: Iterable[str]) -> tuple[str, ...]:
    """The folders on top, where all of them are splits of one data set: by their names and the folders below them."""
    below = _below(names)
    if not below or not all(name.lower() in SPLITS for name in below) or any("" in inner for inner in below.values()):
        return ()
    largest = max(below.values(), key=len)
    alike = all(inner <= largest for inner in below.values()) and len(largest) > 1
    return tuple(sorted(below)) if alike else ()


def are_no_classes(labels: Iterable[str | None]) -> bool:
    """Whether folders say nothing of classes: there is one, or none, or all are called as splits are."""
    names = {label.lower() for label in labels if label}
    return len(names) < 2 or names <= SPLITS


def inner_folders(names: Iterable[str]) -> tuple[str, ...]:
    """Folders that lie below each folder on top, two or more: they, not those on top, probably are the classes."""
    below = _below(names)
    shared = set.intersection(*below.values()) if below else set()
    return () if "" in shared or len(shared) < 2 else tuple(sorted(shared))


def deeper_folders(names: Iterable[str]) -> tuple[str, ...]:
    """Folders below those on top, where every image of two or more of these lies in one: they may be the classes."""
    below = _below(names)
    whole = [f"{top}/{inner}" for top, inners in sorted(below.items()) if "" not in inners for inner in sorted(inners)]
    return (
        tuple(whole)
        if len(below) > 1 and len(whole) > len(below) and all("" not in inner for inner in below.values())
        else ()
    )


def uneven_folders(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Folders on top that hold several folders and no image, and those with images alone, where there are both."""
    below = _below(names)
    deep = tuple(sorted(top for top, inner in below.items() if "" not in inner and len(inner) > 1))
    flat = tuple(sorted(top for top, inner in below.items() if inner == {""}))
    return (deep, flat) if deep and flat else ((), ())


def layout_notes(name: str, names: Sequence[str], packed: bool = False) -> tuple[str, ...]:
    """What was understood of a folder that is laid out in another way than class/image."""
    parts, inner = splits(names), inner_folders(names)
    tops = sorted({entry.split("/")[0] for entry in names if "/" in entry})
    if len(tops) > 1 and all(top.lower() in OTHERS for top in tops):
        way = (
            "boxes need what names their classes (data.yaml, COCO's JSON), else write a list (.csv with path and label)"
        )
        return (f"{name}: {few_of(tops)} are parts of a data set of boxes or masks, no classes; {way}.",)
    if parts:
        train, test = ([part for part in parts if part.lower().startswith("tr") == first] for first in (True, False))
        folder, first = ("FOLDER", ", unpack it") if packed else (name, "")
        use = (
            f" To keep them apart{first}: --core {folder}/{(train or parts)[0]} --test {folder}/{(test or parts)[-1]}."
        )
        return (f"{name} holds parts of one data set, {', '.join(parts)}: its labels are the folders below them.{use}",)
    if inner:
        top = sorted({entry.split("/")[0] for entry in names})
        return (
            f"{name}: the classes are {few_of(top)}, but the same folders lie below each: {few_of(inner)}. If these "
            f"are the classes, name one folder as a source, such as {name}/{top[0]}.",
        )
    deeper = deeper_folders(names)
    if deeper:
        return (
            f"{name}: the classes are the folders on top; what lies below, as in {few_of(deeper)}, counts as theirs. "
            "If those below are the classes, say so by a list (.csv with path and label), or move them up.",
        )
    deep, flat = uneven_folders(names)
    if deep and deep[0].lower() in SPLITS and _below(names)[deep[0]] <= set(flat):
        option = "--test" if deep[0].lower().startswith("te") else "--pool"
        return (
            f"{name}: {deep[0]} holds folders, {few_of(flat)} images alone, and each counts as a class. If {deep[0]} "
            f"is a part of the data: move it out of {name}, then --core {name} {option} {deep[0]}.",
        )
    if deep:
        return (
            f"{name}: {few_of(deep)} holds folders, {few_of(flat)} images alone, and each counts as a class. If the "
            f"folders are the classes: --core {name}/{deep[0]} --pool {name}/{flat[0]}.",
        )
    return ()


def _below(names: Iterable[str]) -> dict[str, set[str]]:
    """By folder on top, the folders below it; "" stands for images right in it."""
    below: dict[str, set[str]] = {}
    for name in names:
        top, *rest = name.split("/")
        if len(rest) > 1:
            below.setdefault(top, set()).add(rest[0])
        elif rest and name.lower().endswith(SUFFIXES):
            below.setdefault(top, set()).add("")
    return below


def root_of(folder: Path) -> Path:
    """Where classes begin: below single folders, whatever lies beside them that is neither a folder nor an image."""
    entries = [entry for entry in folder.iterdir() if not _is_hidden(entry.name)]
    folders = [entry for entry in entries if entry.is_dir()]
    images = any(entry.name.lower().endswith(SUFFIXES) for entry in entries if entry.is_file())
    if len(folders) != 1 or images or not any(entry.is_dir() for entry in folders[0].iterdir()):
        return folder
    return root_of(folders[0])


def below_root(names: Iterable[str]) -> list[str]:
    """Names of an archive's files from where classes begin, as `root_of` says of folders."""
    names = [name.removeprefix("./") for name in names]
    names = [name for name in names if not any(map(_is_hidden, name.split("/")))]
    tops = {name.split("/")[0] for name in names if "/" in name}
    images = any("/" not in name and name.lower().endswith(SUFFIXES) for name in names)
    if len(tops) != 1 or images or not any(name.count("/") > 1 for name in names):
        return names
    return below_root([name.split("/", 1)[1] for name in names if "/" in name])


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_NAMES
