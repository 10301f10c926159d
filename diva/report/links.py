"""Which images the page may load from disk: those within the project's data or within a folder that was delivered."""

import os
from collections.abc import Iterable
from pathlib import Path

from diva.store import ledger, paths


def roots(book: ledger.Ledger) -> tuple[Path, ...]:
    """The project's data, and folders of the deliveries (of a list, the folder it lies in)."""
    sources = [Path(entry.source) for _, entry in ledger.deliveries(book) if entry.source != "none"]
    folders = [source if source.is_dir() else source.parent for source in sources if source.exists()]
    return tuple(dict.fromkeys(folder.resolve() for folder in (paths.DATA, *folders)))


def within(names: Iterable[str], folders: Iterable[Path]) -> list[bool]:
    """Whether each path, its ``..`` taken away, lies in one of the folders."""
    here, prefixes = Path.cwd(), [f"{folder}{os.sep}" for folder in folders]
    full = (os.path.normpath(here / name) for name in names)
    return [any(name.startswith(folder) for folder in prefixes) for name in full]


def folders_of(names: Iterable[str]) -> tuple[Path, ...]:
    """The folders in which images lie whose content was checked."""
    return tuple(dict.fromkeys(Path(os.path.normpath(Path.cwd() / name)).parent for name in names))
