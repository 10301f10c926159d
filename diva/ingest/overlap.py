"""Sources that share files: a folder within another's, or the same files under two names."""

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from diva.ingest.inspection import SourceContents
from diva.store import ledger


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


def shared_files(contents: Mapping[str, SourceContents], option: Callable[[str], str]) -> dict[str, str]:
    """A note by batch on the files that one before it has, too.

    Args:
        contents: core, test, b001, b002, … in this order.
        option: what names a batch in messages.

    Raises:
        ValueError: a batch has no other files, or the test set has all of the core's.
    """
    owners: dict[str, str] = {}
    notes, folder = {}, functools.cache(os.path.realpath)
    for batch, other in contents.items():
        files = [folder(head) + os.sep + tail for head, tail in map(os.path.split, other.files)]
        shared = [path for path in files if path in owners] if other.kind == "images" else []
        if shared:
            owner = owners[shared[0]]
            first = contents[owner]
            said = f"{len(shared)} of {len(files)} files are those of {first.name}, too, such as {shared[0]}"
            if len(shared) in (len(files), len(first.files) if batch == "test" else 0):
                raise ValueError(
                    f"{option(batch)}: {other.name} must be a delivery of its own, got the content of {owner}: {said}; "
                    "give it files of its own."
                )
            notes[batch] = f"{other.name}: {said}: each counts once, in the test set before the core."
        owners |= dict.fromkeys(files, batch)
    return notes
