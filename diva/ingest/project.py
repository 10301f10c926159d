"""A project for one's own data: what its sources hold, the ledger that names them, the parameters that suit them.

Nothing here writes: ``ledger_of`` returns a ledger, ``edited`` the text of params.yaml with its comments kept.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from diva.ingest import archives, listings
from diva.ingest.formats import registry
from diva.ingest.inspection import (
    SourceContents,
    inspect_batch,
    inspect_source,
    require_shared_classes,
)
from diva.ingest.overlap import require_apart, shared_samples
from diva.ingest.ready import open_ready
from diva.ingest.sources import is_elsewhere, located, waits
from diva.store import ledger, paths
from diva.text.choices import Task
from diva.text.labels import case_notes
from diva.text.targets import BAR, joined_labels, recognised
from diva.text.words import amount, few_of

CROP = 224
SAME = 16  # rows of one id that are compared
IMAGENET = {"resize": 256, "crop": CROP, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
INCEPTION = IMAGENET | {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}  # what the bundled network was trained on
PLAIN = "plain"  # a folder, list, archive or ready features, whatever else lies there
DEFAULTS = {"task": "classification", "separator": BAR}
LISTS = (*listings.TEXTS, ".parquet", *archives.SUFFIXES)  # what may hold columns
FRESH = ("textures", "digits", "none")  # sources of the ledgers that are shipped


def options_of(
    name: str,
    batch: str,
    columns: Mapping[str, str] | None = None,
    layout: str | None = None,
    split: str | None = None,
) -> dict[str, Any]:
    """Options that a source takes when it becomes this batch.

    Args:
        name: of the source.
        batch: of the ledger: of a data set with several splits, the test set is ``test``, all others ``train``.
        columns: what its columns path and label are called.
        layout: its format; None to recognise it, ``plain`` for none of `diva.ingest.formats`.
        split: which one; None for the batch's.
    """
    own = "test" if batch == "test" else "train"
    if name.startswith(("dataset:", "torchvision:")):
        return {"split": split or own}
    given = {"format": layout, "columns": dict(columns or {}), "split": split}
    elsewhere = is_elsewhere(name, {"format": layout} if layout or "{" in name else {})
    if layout != PLAIN and name not in FRESH and (elsewhere or "://" not in name):
        options = registry.options_of(located(name) if elsewhere else name, own, given)
        if options:
            return options
    return {"columns": dict(columns)} if columns and name.lower().endswith(LISTS) else {}


def gather(
    core: str,
    pool: Sequence[str],
    test: str,
    columns: Mapping[str, str] | None = None,
    new_classes: bool = False,
    layout: str | None = None,
    split: str | None = None,
    task: Task | None = None,
    separator: str | None = None,
) -> dict[str, SourceContents]:
    """What the sources of core, test and pool hold, by batch; ValueError where they cannot make one project.

    Args:
        core: a source.
        pool: sources.
        test: a source, or ``none``.
        columns: what lists call their columns path and label.
        new_classes: whether the pool may bring classes that the core lacks.
        layout: the format of all sources; None to recognise it.
        split: of all sources; None for ``test`` of the test set, ``train`` of others.
        task: what labels are; None to recognise it.
        separator: of several labels of a sample.
    """
    names = {"core": core, "test": test, **{f"b{number:03d}": name for number, name in enumerate(pool, 1)}}
    contents = {
        batch: inspect_source(name, options_of(name, batch, columns, layout, split), _option(batch), waits(batch))
        for batch, name in names.items()
    }
    for number, (batch, other) in enumerate(contents.items()):
        require_apart(_option(batch), other, list(contents.values())[:number])
    if split and not any(other.options.get("split") for other in contents.values()):
        raise ValueError(
            f"--split must name a split of a data set, got {split!r}; of a list write a file for each part."
        )
    start = contents["core"]
    if start.kind == "none":
        raise ValueError("--core: the core must hold labelled samples, got none.")
    try:
        task = task or recognised(start.labels, separator)
    except ValueError as error:
        raise ValueError(f"--core: {core}: {error}") from None
    if task == "regression" and len(start.labels) == 1:
        raise ValueError(f"--core: targets of {core} must differ, got {next(iter(start.labels))} in every sample.")
    contents = {batch: other.of(task, separator) for batch, other in contents.items()}
    start = contents["core"]
    _require_classes(start)
    contents["core"] = replace(start, notes=(*start.notes, *_notes_on_classes(start)))
    for batch, other in contents.items():
        _check(other, start, _option(batch))
        contents[batch] = _compared(other, start, batch, new_classes, _option(batch))
    _require_own_ids(contents)
    for batch, note in shared_samples(contents, _option).items():
        contents[batch] = replace(contents[batch], notes=(*contents[batch].notes, note))
    return contents


def _require_classes(core: SourceContents) -> None:
    if core.classes is not None and core.classes < 2:
        notes = "".join(f" {note}" for note in core.notes)
        raise ValueError(
            f"--core: {core.name} must hold at least two classes, got one, {few_of(list(core.labels))}.{notes}"
        )
    if core.task == "classification" and core.labels and sorted(core.labels.values())[-2] < 2:
        raise ValueError(
            f"--core: {core.name} must hold at least two samples in each of two classes, got {len(core.labels)} classes"
            f" in {sum(core.labels.values())} samples, such as {few_of(list(core.labels))}; add samples; or is "
            "another column meant (--columns label=NAME), or a number (--task regression)?"
        )


def _notes_on_classes(core: SourceContents) -> tuple[str, ...]:
    """What is odd about the classes of a core: such of one sample, and such that may be several labels."""
    if core.task != "classification":
        return ()
    single, joined = [name for name, count in core.labels.items() if count == 1], joined_labels(core.labels)
    rare = f"{core.name}: {amount(len(single), 'class')} of one sample will be set aside (the core needs two): "
    mark = next((mark for mark in ";,/&+" if mark in "".join(joined[:1])), " ")
    way = "write them as cat|dog" if "[" in "".join(joined[:1]) else f"if they are, say --separator '{mark}'"
    several = f"{core.name}: classes such as {few_of(joined[:1])} look like several labels of a sample; {way}."
    return (*((f"{rare}{few_of(single)}.",) if single else ()), *((several,) if joined else ()))


def require_groups(core: SourceContents, pattern: str) -> None:
    """ValueError where a regular expression on paths names no group at all."""
    if pattern != "parent" and core.files and not any(re.search(pattern, path) for path in core.files):
        raise ValueError(f"--group-by must be parent or match paths such as {core.files[0]}, got {pattern!r}.")


def _require_own_ids(contents: Mapping[str, SourceContents]) -> None:
    """Refuse rows of ready features that one sample_id names, and that are not the same: all but one would be lost."""
    first: dict[str, tuple[str, int]] = {}
    opened = {
        batch: open_ready(Path(other.name), unlabelled=True)
        for batch, other in contents.items()
        if other.kind == "features" and Path(other.name).is_file()
    }
    for batch, ready in opened.items():
        ids = [] if ready.sample_id is None else ready.sample_id.tolist()
        shared = [(row, first[name]) for row, name in enumerate(ids) if name in first]
        for row, (other, position) in shared[:SAME]:
            if not np.array_equal(ready.features[row], opened[other].features[position], equal_nan=True):
                raise ValueError(
                    f"{_option(batch)}: {contents[batch].name} must name rows of its own by sample_id, got "
                    f"{few_of([ids[row] for row, _ in shared])} ({len(shared)} of {len(ids)}), which name other rows "
                    f"of {contents[other].name}; make them unique over all sources, or leave sample_id out."
                )
        first |= {name: (batch, row) for row, name in enumerate(ids) if name not in first}


def fitting(
    book: ledger.Ledger,
    source: str,
    to: str,
    columns: Mapping[str, str] | None = None,
    new_classes: bool = False,
    layout: str | None = None,
    split: str | None = None,
    task: Task = "classification",
    separator: str | None = None,
) -> SourceContents:
    """What a further delivery holds; ValueError where it cannot stand beside the core; arguments as of `gather`."""
    contents = inspect_source(source, options_of(source, to, columns, layout, split), "SOURCE", waits(to))
    require_apart("SOURCE", contents, [entry for _, entry in ledger.deliveries(book)])
    if contents.kind == "none":
        raise ValueError("SOURCE must hold samples, got none.")
    core = inspect_batch(book.batches["core"], "batches.core")
    _check(contents, core, "SOURCE")
    contents, core = (each.of(task, separator) for each in (contents, core))
    return contents if to == "core" else _compared(contents, core, to, new_classes, "SOURCE")


def _compared(
    contents: SourceContents, core: SourceContents, batch: str, new_classes: bool, option: str
) -> SourceContents:
    """The same with a note on classes that the core lacks; ValueError where it has no class of the core."""
    foreign = {name: count for name, count in contents.labels.items() if name not in core.labels}
    if not foreign or not core.labels or (new_classes and batch != "test"):
        return contents
    amount, named = sum(foreign.values()), few_of(sorted(foreign))
    require_shared_classes(option, contents.name, contents.labels, core.labels, contents.notes)
    way = "cannot be judged" if batch == "test" else "will be set aside (download.new_classes: accept takes them)"
    note = f"{contents.name}: {amount} of {contents.samples} samples have classes the core lacks, {named}: they {way}."
    alike = case_notes(contents.name, [*core.labels, *foreign])
    return replace(contents, notes=(*contents.notes, note, *(said for said in alike if said not in contents.notes)))


def _option(batch: str) -> str:
    return {"core": "--core", "test": "--test"}.get(batch, "--pool")


def _check(contents: SourceContents, core: SourceContents, option: str) -> None:
    if contents.kind not in (core.kind, "none"):
        raise ValueError(f"{option}: {contents.name} must hold {core.kind}, as the core does, got {contents.kind}.")
    if contents.kind == "features" and contents.width != core.width:
        raise ValueError(
            f"{option}: {contents.name} must have {core.width} features, as the core, got {contents.width}."
        )


def ledger_of(
    contents: Mapping[str, SourceContents], rounds: int, settings: Mapping[str, Mapping[str, Any]]
) -> ledger.Ledger:
    """A fresh ledger; checksums are taken here.

    Args:
        contents: core, test, b001, b002, … in this order.
        rounds: planned rounds: round i draws from the pool after its i-th batch, later ones from the newest; without a
            pool, or where all of it waits for labels, there are none.
        settings: of every round: {"extend": {…}, "curate": {…}}.
    """
    core = contents["core"]
    book = ledger.start(ledger.Batch(source=core.name, checksum=core.source.checksum(), options=dict(core.options)))
    for batch, other in list(contents.items())[1:]:
        checksum = other.source.checksum()
        same = ledger.delivered(book, checksum)
        if same:
            raise ValueError(
                f"{_option(batch)}: {other.name} must be a delivery of its own, got the content of {same}."
            )
        book = ledger.accept(book, batch, other.name, other.options, checksum)
    links = ledger.chain(book.pool, "pool")
    labelled = any(
        other.samples is None or other.samples > other.unlabelled for other in (contents[name] for name in links)
    )
    for turn in range(rounds if labelled else 0):
        book = ledger.plan_round(book, settings, pool=links[min(turn, len(links) - 1)])
    return book


def replaceable(old: ledger.Ledger, names: Sequence[str]) -> bool:
    """Whether a ledger holds no data but the shipped default and the sources of these ``names``."""
    return all(entry.source in (*FRESH, *names) for _, entry in ledger.deliveries(old))


def settings_of_task(task: Task, separator: str | None, before: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Keys of params.yaml that a task asks for, by section; none where section ``download`` is so ``before``."""
    said = {"task": task} | ({"separator": separator} if separator else {})
    if all(before.get(key, DEFAULTS[key]) == value for key, value in said.items()):
        return {}
    learners = {"multilabel": ["ridge", "logistic", "knn"], "regression": ["ridge", "boosting"]}.get(task)
    return {
        "download": said,
        **({"evaluate": {"learners": learners}} if learners else {}),
        **({"fit": {"normalize": "standardize"}} if task == "regression" else {}),
    }


def settings_of(backbone: str, weights: str, checksum: str | None) -> dict[str, Any]:
    """Section ``extract`` for photographs: the network, and the transform that it expects."""
    transform = INCEPTION if backbone.startswith("bundled:") else IMAGENET
    return {"backbone": backbone, "weights": weights, "weights_sha256": checksum, **transform}


class _Representer(RoundTripRepresenter):
    """Writes null where there is nothing, not an empty value."""


_Representer.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def edited(text: str, section: str, changes: Mapping[str, Any]) -> str:
    """The text of params.yaml with some keys of a section changed; everything else, comments too, stays as it is."""
    yaml: Any = YAML()
    yaml.Representer, yaml.width, yaml.preserve_quotes = _Representer, 4096, True
    try:
        content = yaml.load(text)
        content[section].update({key: _plain(value) for key, value in changes.items()})
    except (YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{paths.PARAMS} must be YAML with a section '{section}': {error}") from None
    stream = io.StringIO()
    yaml.dump(content, stream)
    return stream.getvalue()


def _plain(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    items = CommentedSeq(value)
    items.fa.set_flow_style()  # [0.485, 0.456, 0.406] on one line
    return items
