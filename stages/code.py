"""Stage ``code``: what each stage runs on, as digests of the files of ours that its module imports.

A stage depends on its digests (data/code), so an edit runs again what imports the edited file and nothing else. DVC
then looks at one file where it would look at dozens, in every stage of every batch, each time, and ``dvc.lock``, which
it writes anew after each stage, stays a third as long.
"""

import ast
import logging
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from diva.store import paths, tables
from stages.command import run

logger = logging.getLogger(__name__)

PACKAGES = ("diva", "stages")
# rounds are left out: a published one is history, its code's commit stands in the ledger
STAGES = (
    "download", "extract", "fit", "pool", "score", "start", "base", "reweight", "release", "evaluate", "report",
    "augment", "multimodal",
)  # fmt: skip
BY_NAME = {"score": ("diva/methods", "*.py"), "report": ("diva/report/web", "*")}  # what is taken without an import


def code() -> None:
    """data/code/<stage>.json: sha256 of each file, by its path."""
    known: set[str] = set()
    for stage in STAGES:
        folder, pattern = BY_NAME.get(stage, ("stages", f"{stage}.py"))
        files = closure([Path("stages", f"{stage}.py"), *Path(folder).glob(pattern)])
        tables.write_json(paths.code(stage), {path: tables.sha256(Path(path)) for path in files})
        known.update(files)
    logger.info("%d files, of which %d stages are made", len(known), len(STAGES))


def closure(files: Iterable[Path]) -> list[str]:
    """``files`` and what they import of ours, directly or through others, in order.

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
    """Files of ours that ``file`` imports itself; packages' own files hold no code and do not count."""
    names = named(file) if file.suffix == ".py" else []
    ours = (Path(*name.split(".")).with_suffix(".py") for name in names if name.split(".")[0] in PACKAGES)
    return frozenset(path for path in ours if path.is_file())


def named(file: Path) -> list[str]:
    """Modules that a file imports, wherever in it, and what it takes of them, which may be modules, too: dotted."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise ValueError(f"{file}:{error.lineno} must be Python, got: {error.msg}.") from None
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


if __name__ == "__main__":
    run(code)
