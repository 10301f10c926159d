"""What a stage runs on: the files of the project that its module imports, directly or through others.

Read from the source, without running it; an import inside a function counts, too.
"""

import ast
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from diva.store import ledger, paths
from diva.versions import library, published
from diva.versions.cache import LOCK, cached, outputs
from diva.versions.processes import CommandError

PACKAGES = ("diva", "stages")


def imported_files(files: Iterable[Path]) -> list[str]:
    """``files`` and what they import of ``PACKAGES``, directly or through others, in order.

    Raises:
        ValueError: a file that is no Python.
    """
    seen: set[Path] = set()
    todo = list(files)
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo.extend(imports(file))
    return sorted(path.as_posix() for path in seen)


@cache
def imports(file: Path) -> frozenset[Path]:
    """Files of ``PACKAGES`` that ``file`` imports itself; packages' own files hold no code and do not count."""
    names = module_names(library.located(file)) if file.suffix == ".py" else []
    own_files = (Path(*name.split(".")).with_suffix(".py") for name in names if name.split(".")[0] in PACKAGES)
    return frozenset(path for path in own_files if library.located(path).is_file())


def module_names(file: Path) -> list[str]:
    """Modules that a file imports, wherever in it, and what it takes of them, which may be modules, too: dotted."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise ValueError(f"{file}:{error.lineno} must be Python, got: {error.msg}.") from None
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def recorded_code() -> dict[str, dict[str, Any]]:
    """What the stage ``code`` wrote the last time, by stage: from the lock and DVC's cache."""
    lock = LOCK.read_text(encoding="utf-8") if LOCK.is_file() else ""
    stored = {path: cached(md5) for path, md5 in outputs(lock).items() if Path(path).parent == paths.CODE}
    return {Path(path).stem: json.loads(file.read_bytes()) for path, file in stored.items() if file.is_file()}


def has_published_rounds() -> bool:
    """Whether the ledger's chain has a published round."""
    if not paths.LEDGER.is_file():
        return False
    book = ledger.read()
    try:
        return bool(book.base) or not published.by_round().keys().isdisjoint(map(ledger.number, book.rounds))
    except CommandError:  # no repository
        return False
