"""What a source holds, before anything runs: counts, classes, how it is laid out, and a few of its files opened."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from diva.ingest import archives, embedded, folders, images, listings, readers, sources
from diva.ingest.annotations import RecordSource
from diva.ingest.formats.boxes import Boxes
from diva.ingest.formats.registry import FormatSource, files_of
from diva.ingest.images import Listed
from diva.ingest.listings import TEXTS, headers_in, lists_in, option_of
from diva.ingest.named import TorchvisionSource
from diva.ingest.probes import contrary, probe, probe_rows
from diva.ingest.readers import Source
from diva.ingest.ready import open_ready
from diva.ingest.ready_columns import names_beside
from diva.store import ledger, parts, remote
from diva.text.choices import Task
from diva.text.labels import Spelling, absent_by_name, case_notes
from diva.text.targets import BAR, class_counts, is_number
from diva.text.votes import words_of
from diva.text.words import few_of
from diva.vision.formats import SUFFIXES


@dataclass(frozen=True)
class SourceContents:
    """What a source holds, before anything is decoded.

    Attributes:
        name: as given.
        options: of the source.
        source: opened.
        kind: "images", "features" or "none".
        samples: usable ones, with a label or waiting for it; None where only ``download`` will tell.
        classes: among them.
        unusable: files without label, out of place, or otherwise refused already.
        files: paths of the images, or of the ready features, where they lie on this disk.
        width: p of ready features.
        labels: usable samples by class, where that is known.
        notes: what people should know of it before anything runs.
        unlabelled: samples that wait for their labels.
        task: what the labels are.
    """

    name: str
    options: Mapping[str, Any]
    source: Source
    kind: str
    samples: int | None = 0
    classes: int | None = 0
    unusable: int = 0
    files: tuple[str, ...] = ()
    width: int | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unlabelled: int = 0
    task: Task = "classification"

    def of(self, task: Task, separator: str | None) -> "SourceContents":
        """The same where labels are several of a sample, which are counted one by one, or numbers, which are not."""
        if task == "classification":
            return self
        notes = (*self.notes, *_no_numbers(self)) if task == "regression" else self.notes
        labels = class_counts(self.labels, task, separator or BAR)
        return replace(self, task=task, labels=labels, classes=len(labels) or None, notes=notes)


def _no_numbers(contents: SourceContents) -> tuple[str, ...]:
    """A note on labels that are no numbers; ValueError where none is one."""
    wrong = [text for text in contents.labels if not is_number(text)]
    if not wrong:
        return ()
    count = sum(contents.labels[text] for text in wrong)
    said = (
        f"labels of {contents.name} must be numbers, got {wrong[0]!r} ({_first_with(contents.source, wrong[0])}; "
        f"{count} of {sum(contents.labels.values())}); write decimals with a point, and no units, or leave them empty"
    )
    if len(wrong) == len(contents.labels):
        raise ValueError(f"{said}.")
    return (f"{said}: they will be set aside.",)


def _first_with(source: Source, label: str) -> str:
    """Where a label first stands: a row, or a file."""
    if isinstance(source, readers.FeatureSource):
        return f"row {open_ready(source.path, source.unlabelled).labels.tolist().index(label)}"
    listed = source.listed() if isinstance(source, FormatSource) else getattr(source, "listed", [])
    return next((entry.name for entry in listed if entry.label == label), "")


def inspect_source(name: str, options: Mapping[str, Any], option: str, unlabelled: bool = False) -> SourceContents:
    """What a source holds; ValueError that names the command's ``option`` where it holds nothing usable.

    ``unlabelled``: its samples may wait for their labels.
    """
    try:
        contents = _inspect_source(name, options, sources.open_source(name, options, unlabelled=unlabelled))
    except (ValueError, OSError) as error:
        raise ValueError(f"{option}: {error}") from None
    if contents.kind != "none" and contents.samples == 0:
        unit = "rows" if contents.kind == "features" else "files"
        raise ValueError(
            f"{option}: {name} must hold labelled samples, got none ({contents.unusable} {unit} set aside"
            f"{_first_fault(contents.source)}){_nothing(contents.source)}."
            f"{''.join(f' {note}' for note in contents.notes)}"
        )
    absent = absent_by_name(sorted(contents.labels))
    way = "counts as a class; where nobody knows, leave the label empty, or give such samples as a pool"
    notes = (f"{name}: {few_of(absent)} {way}.",) if absent and len(contents.labels) - len(absent) > 1 else ()
    words = words_of(contents.source.further) if isinstance(contents.source, readers.ImageSource) else set()
    spelt = case_notes(name, contents.labels.keys() | words)
    return replace(contents, notes=(*contents.notes, *notes, *spelt))


def _left_out(name: str, source: readers.ImageSource) -> tuple[str, ...]:
    """Which columns of a table are not kept with its samples, or under another name."""
    if source.table is None or source.further is None or not source.table.name.lower().endswith(".parquet"):
        return ()
    types = pl.read_parquet_schema(remote.local(source.table))
    nested = [column for column, dtype in types.items() if dtype.is_nested() or dtype == pl.Binary]
    renamed = [f"{column} as {column}_" for column in types if f"{column}_" in source.further.columns]
    said = [(nested, "are left out (lists, records or bytes)"), (renamed, "are kept so: the name is the project's own")]
    return tuple(f"{name}: columns {', '.join(columns)} {what}." for columns, what in said if columns)


def inspect_batch(entry: ledger.Batch, option: str, unlabelled: bool = False) -> SourceContents:
    """What all deliveries of a batch hold together."""
    first, *more = [inspect_source(part.source, part.options, option, unlabelled) for part in entry.deliveries]
    for other in more:
        labels = Counter(first.labels) + Counter(other.labels)
        first = replace(
            first,
            samples=None if None in (first.samples, other.samples) else (first.samples or 0) + (other.samples or 0),
            classes=len(labels) or first.classes,
            unusable=first.unusable + other.unusable,
            files=(*first.files, *other.files) if first.files and other.files else (),
            labels=labels,
            notes=(*first.notes, *other.notes),
        )
    return first


def require_shared_classes(
    option: str, name: str, labels: Mapping[str, int], classes: Iterable[str], notes: Sequence[str] = ()
) -> None:
    """ValueError with the probable reason where no sample of a source has a class of the core.

    Args:
        option: of the command, or what the source is.
        name: of the source.
        labels: its samples by class; empty where that is not known.
        classes: of the core; none where these are not known.
        notes: what was noticed of the source.
    """
    spelling = Spelling(classes)
    if not labels or not spelling.classes or any(spelling(label) in spelling.classes for label in labels):
        return
    hints, classes_of_core = "".join(f" {note}" for note in notes), few_of(sorted(spelling.classes))
    raise ValueError(
        f"{option}: {name} must hold samples of the core's classes, {classes_of_core}, got only others: "
        f"{few_of(sorted(labels))}. Are labels and folders those that the core has?{hints}"
    )


def labels_of(source: Source) -> Counter[str]:
    """Usable samples by class; nothing where only ``download`` will tell."""
    if isinstance(source, readers.ImageSource | FormatSource):
        listed = source.listed() if isinstance(source, FormatSource) else source.listed
        return Counter(str(entry.label) for entry in listed if entry.label and not entry.fault)
    if isinstance(source, readers.FeatureSource):
        return Counter(filter(None, open_ready(source.path, source.unlabelled).labels.tolist()))
    return Counter()


def _nothing(source: Source) -> str:
    """What to do about an image source that names nothing at all."""
    if not isinstance(source, readers.ImageSource) or source.listed:
        return ""
    return "; it is a header alone: write a row for each image" if source.table else "; put images there: class/image"


def _first_fault(source: Source) -> str:
    if isinstance(source, readers.FeatureSource):
        faults = [f"{row['reason']}. {row['remedy']}" for row in source.contents.refused.head(1).to_dicts()]
    else:
        listed = source.listed if isinstance(source, readers.ImageSource) else []
        listed = source.listed() if isinstance(source, FormatSource) else listed
        named = [entry for entry in listed if not _is_system(entry) and (entry.fault or not entry.label)]
        faults = [f"{entry.name}: {'. '.join(entry.fault or images.UNNAMED)}" for entry in named]
    return f"; the first: {faults[0]}".rstrip(".") if faults else ""


def _inspect_source(name: str, options: Mapping[str, Any], source: Source) -> SourceContents:
    for kind, inspect in INSPECTIONS.items():
        if isinstance(source, kind):
            return inspect(name, options, source)
    if isinstance(source, TorchvisionSource):
        _require_torchvision(name)
    return SourceContents(name, options, source, "images", None, None)


def _inspect_images(name: str, options: Mapping[str, Any], source: readers.ImageSource) -> SourceContents:
    usable = [listed for listed in source.listed if (listed.label or source.unlabelled) and not listed.fault]
    files = tuple(parts.named(listed.path) for listed in usable)
    labels = labels_of(source)
    counts = (len(usable), len(labels), len(source.listed) - len(usable) - sum(map(_is_system, source.listed)))
    names = [entry.name for entry in source.listed if not entry.fault] if source.table is None else []
    notes = (
        *folders.layout_notes(name, names),
        *listings.part_notes(name, source.further),
        *probe(name, usable, source.table is not None),
        *_left_out(name, source),
        *(_unusable(name, source) if usable else ()),
        *(contrary(name, usable) if source.table else ()),
    )
    for table, columns in lists_in(Path(name)).items() if source.table is None else ():
        said = "A list lies there" + ("" if folders.are_no_classes(labels) else "; the labels are those of the folders")
        notes += (f"{said}: name it instead, {table.as_posix()}{option_of(columns)}.",)
    wait = len(usable) - labels.total()
    return SourceContents(name, options, source, "images", *counts, files, labels=labels, notes=notes, unlabelled=wait)


def _inspect_features(name: str, options: Mapping[str, Any], source: readers.FeatureSource) -> SourceContents:
    ready, files = open_ready(source.path, source.unlabelled), (source.path.as_posix(),)
    named = ready.labels if ready.sample_id is None else source.contents.samples["label"]
    labels = Counter(str(label) for label in named if label)
    wait = len(named) - labels.total() if source.unlabelled else 0
    unusable, width = len(ready.labels) - labels.total() - wait, int(ready.features.shape[1])
    counts, fault = (labels.total() + wait, len(labels), unusable), _first_fault(source) if unusable else ""
    notes = (f"{name}: {unusable} of {len(ready.labels)} rows cannot be used{fault}.",) * bool(unusable)
    notes += probe_rows(name, ready.features)
    if there := names_beside(source.path):
        notes += (f"{name}: its labels are numbers, and stay so; save {there}[labels] as labels to have names.",)
    return SourceContents(name, options, source, "features", *counts, files, width, labels, notes, wait)


def _inspect_records(name: str, options: Mapping[str, Any], source: RecordSource) -> SourceContents:
    rows = source.read(Path()).samples
    kind, labels = "features" if rows["row"].count() else "images", Counter(rows["label"].to_list())
    files = tuple(rows["path"].unique(maintain_order=True))
    return SourceContents(name, options, source, kind, len(rows), len(labels), files=files, labels=labels)


def _inspect_archive(name: str, options: Mapping[str, Any], source: readers.ArchiveSource) -> SourceContents:
    names = folders.below_root(source.glance())
    packed = [entry for entry in names if entry.lower().endswith(folders.PACKED)]
    if not names and not source.sha256:
        raise ValueError(f"{name} must hold images, got an archive of nothing; pack the folder of classes anew.")
    if packed and len(packed) == len(names):
        raise ValueError(
            f"{name} must hold images, got archives, the first {packed[0]}; unpack it, and name what it holds."
        )
    if _may_be_listed(names):
        return _inspect_listed(name, options, source)
    notes = (*folders.layout_notes(name, names, packed=True), *_doubtful_names(name, source))
    return SourceContents(name, options, source, "images", None, None, notes=notes)


def _doubtful_names(name: str, source: readers.ArchiveSource) -> tuple[str, ...]:
    names = [] if source.sha256 else archives.names_in_doubt(remote.local(source.source))
    way = "unpack it as its makers do (unzip -O SHIFT-JIS, -O CP1252, …), and name the folder"
    said = f"{name} does not say how its names are encoded; read as DOS wrote them, as {few_of(names)}. If these are"
    return (f"{said} garbled: {way}.",) if names else ()


def _unusable(name: str, source: readers.ImageSource) -> tuple[str, ...]:
    """A note on images, as far as their names tell, that will be set aside."""
    bad = [entry for entry in source.listed if entry.fault or not (entry.label or source.unlabelled)]
    ends = (*SUFFIXES, ".lnk")
    bad = [entry for entry in bad if source.table or (entry.name.lower().endswith(ends) and not _is_system(entry))]
    first = "".join(f"{entry.name}: {'. '.join(entry.fault or images.UNNAMED)}" for entry in bad[:1])
    return (f"{name}: {len(bad)} of {len(source.listed)} files cannot be used; the first: {first}",) if bad else ()


def _is_system(entry: Listed) -> bool:
    return entry.fault in (folders.SYSTEM, folders.BESIDE)


def _may_be_listed(names: Sequence[str]) -> bool:
    """Whether an archive of these files may have its labels in a list."""
    lists = any("/" not in name and name.lower().endswith((*TEXTS, ".parquet")) for name in names)
    return lists and folders.are_no_classes(name.split("/")[0] for name in names if "/" in name)


def _inspect_listed(name: str, options: Mapping[str, Any], source: readers.ArchiveSource) -> SourceContents:
    """What an archive holds whose folders are no classes, but that has a list beside them: it is unpacked for this."""
    with tempfile.TemporaryDirectory(prefix="diva-") as folder:
        try:
            images = source.unpacked(remote.local(source.source), Path(folder))
            lists = headers_in(folders.root_of(Path(folder)))
            chosen = lists_in(folders.root_of(Path(folder)), source.columns)
            contents = _inspect_source(name, options, images)
        except ValueError as error:
            raise ValueError(str(error).replace(folder, name)) from None
    notes = tuple(said.replace(folder, name) for said in contents.notes)
    note = f"{name}: the labels are those of {', '.join(table.name for table in chosen)}, which lies in it."
    if len(chosen) != 1:
        said = "; ".join(f"{table.name} with the columns {', '.join(header)}" for table, header in lists.items())
        way = "--columns path=NAME,label=NAME says which name images and classes"
        note = f"{name} holds {said}: {'unpack it, and name the list that fits' if chosen else way}."
    return replace(contents, source=source, files=(), notes=(*notes, note, *_doubtful_names(name, source)))


def _inspect_format(name: str, options: Mapping[str, Any], source: FormatSource) -> SourceContents:
    listed = source.listed()
    usable = [entry for entry in listed if (entry.label or source.unlabelled) and not entry.fault]
    labels = Counter(str(entry.label) for entry in usable if entry.label)
    counts = (len(usable), len(labels), len(listed) - len(usable))
    faults = [f"{entry.name}: {'. '.join(entry.fault)}" for entry in listed if entry.fault]
    split = f", split {options['split']}" if options.get("split") else ""
    notes = [f"{name} is read as {source.layout.title}{split}; --format plain reads it as a folder or a list."]
    notes += (
        [f"{name}: {len(faults)} of {len(listed)} samples cannot be used; the first: {faults[0]}"] if faults else []
    )
    if isinstance(source.layout, Boxes) or getattr(source.layout, "metadata", None):  # whose images lie in files
        notes += probe(name, usable, is_list=False)
    wait = len(usable) - labels.total()
    files = files_of(usable)
    return SourceContents(
        name, options, source, "images", *counts, files, labels=labels, notes=tuple(notes), unlabelled=wait
    )


def _require_torchvision(name: str) -> None:
    import torchvision.datasets  # seconds; only for a data set of torchvision

    wanted = name.removeprefix("torchvision:")
    if wanted not in torchvision.datasets.__all__:
        raise ValueError(f"{name} must name a data set of torchvision, such as torchvision:CIFAR10.")


INSPECTIONS: dict[type, Callable[..., SourceContents]] = {
    readers.ImageSource: _inspect_images,
    FormatSource: _inspect_format,
    readers.FeatureSource: _inspect_features,
    embedded.Slice: lambda name, options, source: SourceContents(
        name, options, source, "images", len(source.true), len(source.classes)
    ),
    readers.EmptySource: lambda name, options, source: SourceContents(name, options, source, "none"),
    RecordSource: _inspect_records,
    readers.ArchiveSource: _inspect_archive,
}
