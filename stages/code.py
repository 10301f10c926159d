"""Stage ``code``: what each stage runs on, as digests of the files of ours that its module imports.

A stage depends on its digests (data/code), so an edit runs again what imports the edited file and nothing else. DVC
then looks at one file where it would look at dozens, in every stage of every batch, each time, and ``dvc.lock``, which
it writes anew after each stage, stays a third as long.

What published rounds rest on is history: once a round of the ledger is published, the stages of ``HISTORY`` keep the
digests of the code that made them, so new code shapes what comes and nothing is made anew. Manifests and features
depend on a revision alone (``diva.vision.revision``), which whoever changes their content raises.
"""

import ast
import json
import logging
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from diva.store import ledger, paths, tables
from diva.versions import published
from diva.versions.cache import LOCK, cached, outputs
from diva.versions.processes import CommandError
from diva.vision import revision
from stages.command import run

logger = logging.getLogger(__name__)

PACKAGES = ("diva", "stages")
# rounds are left out: a published one is history, its code's commit stands in the ledger
STAGES = (
    "download", "extract", "fit", "pool", "score", "start", "base", "reweight", "release", "evaluate", "report",
    "augment", "multimodal",
)  # fmt: skip
REVISIONS = {"download": revision.MANIFEST, "extract": revision.FEATURES}
BY_NAME = {"score": ("diva/methods", "*.py"), "report": ("diva/report/web", "*")}  # what is taken without an import


def code() -> None:
    """data/code/<stage>.json: sha256 of each file, by its path, or a revision."""
    before, final = recorded(), has_published_rounds()
    made = [stage for stage in published.HISTORY if stage in before]
    unchanged = [stage for stage in made if final or _same_revision(stage, before[stage])]
    for stage in STAGES:
        tables.write_json(paths.code(stage), before[stage] if stage in unchanged else content(stage))
    logger.info("%d stages", len(STAGES))
    other = [stage for stage in unchanged if stage not in REVISIONS and before[stage] != content(stage)]
    if other:
        logger.info("Published rounds rest on %s: kept as earlier code made them.", ", ".join(other))


def content(stage: str) -> dict[str, Any]:
    """What a stage depends on: its revision where it has one, else digests of its files."""
    if stage in REVISIONS:
        return {"revision": REVISIONS[stage]}
    return {path: tables.sha256(Path(path)) for path in files_of(stage)}


def files_of(stage: str) -> list[str]:
    """Files of ours that a stage runs."""
    folder, pattern = BY_NAME.get(stage, ("stages", f"{stage}.py"))
    return closure([Path("stages", f"{stage}.py"), *Path(folder).glob(pattern)])


def _same_revision(stage: str, before: dict[str, Any]) -> bool:
    """Digests, which earlier versions of this stage wrote here, are of the first revision."""
    return stage in REVISIONS and before.get("revision", 1) == REVISIONS[stage]


def recorded() -> dict[str, dict[str, Any]]:
    """What this stage wrote the last time, by the lock and DVC's cache."""
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
    own_files = (Path(*name.split(".")).with_suffix(".py") for name in names if name.split(".")[0] in PACKAGES)
    return frozenset(path for path in own_files if path.is_file())


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
