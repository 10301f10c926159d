"""Results that are looked up instead of computed again: arrays, by the digest of all that they depend on.

They lie beside DVC's own temporary files, on this machine alone; whoever deletes them loses time and nothing else.
"""

import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import polars as pl

from diva.store import atomic, digests

Arrays = dict[str, npt.NDArray[Any]]


class Results:
    """Arrays in a folder.

    Args:
        folder: where they lie.
        basis: what every result depends on, beside the project's code that is loaded and the versions of libraries.
    """

    def __init__(self, folder: Path, *basis: object) -> None:
        self.folder, self.basis, self.used = folder, digest(loaded(), basis), set[str]()

    def get(self, compute: Callable[[], Mapping[str, Any]], *key: object) -> Arrays:
        """What ``compute`` returns, or what it returned for the same basis and key."""
        path = self.folder / f"{digest(self.basis, key)}.npz"
        self.used.add(path.name)
        try:
            with np.load(path, allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError, EOFError, BadZipFile):  # none, or none that can be read
            arrays = {name: np.asarray(value) for name, value in compute().items()}
        with atomic.replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        return arrays

    def prune(self) -> None:
        """Take away what nobody asked for."""
        for path in self.folder.glob("*.npz"):
            if path.name not in self.used:
                path.unlink(missing_ok=True)


def digest(*values: object) -> str:
    """SHA-256 of frames, arrays, files (by size, time and inode) and what is written out in full, in their order."""
    total = hashlib.sha256()
    for value in values:
        total.update(f"\0{type(value).__name__}\0".encode() + _content(value))
    return total.hexdigest()


def _content(value: object) -> bytes:
    if isinstance(value, pl.DataFrame):
        return value.write_csv().encode()
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} ".encode() + value.tobytes()
    if isinstance(value, Path):
        about = value.stat()
        return f"{value} {about.st_size} {about.st_mtime_ns} {about.st_ino}".encode()
    return digest(*value).encode() if isinstance(value, tuple | list) else repr(value).encode()


def loaded() -> list[tuple[str, str]]:
    """Digests of this package's modules and versions of numeric libraries, by name, as far as they are loaded."""
    modules = dict(sorted(sys.modules.items()))
    files = {name: getattr(module, "__file__", None) for name, module in modules.items() if name.startswith("diva.")}
    code = [(name, digests.sha256(Path(file))) for name, file in files.items() if file]
    libraries = ("numpy", "scipy", "sklearn", "torch")
    return code + [(name, str(modules[name].__version__)) for name in libraries if name in modules]
