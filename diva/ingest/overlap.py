"""Sources that share files: a folder within another's, or the same samples under two names."""

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from diva.ingest.inspection import SourceContents
from diva.ingest.probes import ROWS
from diva.ingest.readers import FeatureSource
from diva.ingest.ready import open_ready
from diva.store import ledger
from diva.store.features import contents as contents_of


def require_apart(option: str, source: SourceContents, others: Iterable[SourceContents | ledger.Batch]) -> None:
    """ValueError where a folder of classes lies within another one, or the other within it, links followed.

    Args:
        option: of the command.
        source: what it names.
        others: what is part of the project already.
    """
    here = _folder(source.name, source.options)
    for other in others:
        name = other.source if isinstance(other, ledger.Batch) else other.name
        there = _folder(name, other.options)
        if here and there and here != there and (here.is_relative_to(there) or there.is_relative_to(here)):
            raise ValueError(
                f"{option}: {source.name} must lie apart from {name}, got one folder within the other: its images would"
                " be in both, and its folders classes; move one out, or say by lists (.csv with path and label) what "
                "belongs to which."
            )


def _folder(name: str, options: Mapping[str, Any]) -> Path | None:
    """Where a folder of classes lies; None of anything else, and of data sets, which may hold several splits."""
    return Path(name).resolve() if not options.get("format") and Path(name).is_dir() else None


def shared_samples(contents: Mapping[str, SourceContents], option: Callable[[str], str]) -> dict[str, str]:
    """A note by batch on the files, or the first rows of ready features, that one before it has, too.

    Args:
        contents: core, test, b001, b002, … in this order.
        option: what names a batch in messages.

    Raises:
        ValueError: a batch has no others, or the test set has all of the core's.
    """
    owners: dict[str, str] = {}
    notes, sizes, folder = dict[str, str](), dict[str, int](), functools.cache(os.path.realpath)
    for batch, other in contents.items():
        keys = _rows(other) or [folder(head) + os.sep + tail for head, tail in map(os.path.split, other.files)]
        shared = [key for key in keys if key in owners]
        if shared:
            owner = owners[shared[0]]
            whole, covered = len(shared) == len(keys), len(set(shared)) == sizes[owner]
            said = f"{len(shared)} of {len(keys)} {'files' if other.kind == 'images' else 'rows'} are those of "
            said += f"{contents[owner].name}, too, such as {shared[0]}"
            if (covered and (whole or batch == "test")) or (whole and other.kind == "images"):
                raise ValueError(
                    f"{option(batch)}: {other.name} must be a delivery of its own, got the content of {owner}: {said}; "
                    "give it samples of its own."
                )
            notes[batch] = f"{other.name}: {said}: each counts once, in the test set before the core."
        sizes[batch] = len(set(keys))
        owners |= dict.fromkeys(keys, batch)
    return notes


def _rows(contents: SourceContents) -> list[str]:
    """What names the first rows of ready features: ids as given, or their content; nothing of images."""
    if not isinstance(contents.source, FeatureSource):
        return []
    ready = open_ready(contents.source.path, unlabelled=True)
    return list(contents_of(ready.features[:ROWS])) if ready.sample_id is None else ready.sample_id[:ROWS].tolist()
