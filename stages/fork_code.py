"""The project's own code in the fork server: imported once, and anew once a file has changed.

A fork has the modules that its stage imports, at once, as a process of its own has: what else the server has imported
for other stages is taken away from it (what a stage computed before is looked up by the code that is loaded).
"""

import builtins
import importlib
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGES = ("diva", "stages")
Stamp = tuple[int, int, int]

_stamps: dict[str, Stamp | None] = {}  # of the modules that are imported
_uses: defaultdict[str, set[str]] = defaultdict(set)  # which modules a module imports at once


def load(module: str) -> None:
    """Import a module of the project, after all that was imported if any file of that has changed."""
    if not _stamps or any(stamp(name) != before for name, before in _stamps.items()):
        unload()
    try:
        with observed():
            importlib.import_module(module)
        _stamps.update({name: stamp(name) for name in own() - _stamps.keys()})
    except (Exception, SystemExit):  # the fork says what is wrong
        unload()


def unload() -> None:
    """Forget every module of the project."""
    _stamps.clear()
    _uses.clear()
    for name in own():
        del sys.modules[name]


def keep(module: str) -> None:
    """Forget, in a fork, what a module does not import; and the module, which is to run."""
    wanted, todo = set[str](), [module]
    while todo:
        name = todo.pop()
        wanted.add(name)
        todo += (_uses[name] | {name.rpartition(".")[0]}) - wanted - {""}
    for name in own() - wanted | {module}:
        sys.modules.pop(name, None)


def own() -> set[str]:
    """Names of the project's modules that are imported."""
    return {name for name in sys.modules if name.partition(".")[0] in PACKAGES}


def stamp(name: str) -> Stamp | None:
    """What tells a module's file from an edited one; None where it is gone."""
    file = getattr(sys.modules.get(name), "__file__", None)
    try:
        about = Path(file or "").stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino


@contextmanager
def observed() -> Iterator[None]:
    """Note which modules of the project import which within the block."""
    imported = builtins.__import__

    def note(name: str, *details: Any, **named: Any) -> Any:  # statements give all by position
        module = imported(name, *details, **named)
        variables, parts = details[0] if details else None, details[2] if len(details) > 2 else None
        importer = str((variables or {}).get("__name__", ""))
        if importer.partition(".")[0] in PACKAGES:
            whole = module.__name__ if parts else name
            _uses[importer] |= {whole, *(f"{whole}.{part}" for part in parts or ())} & own()
        return module

    builtins.__import__ = note
    try:
        yield
    finally:
        builtins.__import__ = imported
