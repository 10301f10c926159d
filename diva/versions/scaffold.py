"""The files of a project that the library brings: written into a new folder, and brought to the installed version.

They travel within the package (``diva/template``); in a clone of the repository they are its own top level, which is a
project like any other.
"""

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diva.store import atomic, documents, paths, test_decisions
from diva.versions import library
from diva.versions.closure import has_published_rounds
from diva.versions.processes import git

FILES = (
    "dvc.yaml", "prefect.yaml", "prefect.toml", ".dvcignore", ".gitignore", ".dvc/.gitignore", ".dvc/config",
    ".dvc/plots/*", "profiles/*.yaml", "flows/**/*.py", "stages/**/*.py",
)  # fmt: skip
LISTS = (".gitignore", ".dvcignore")  # a folder may have them already: lines are added
HISTORY_SECTIONS = frozenset({"download", "extract", "duplicates", "fit", "score", "curate"})
Kind = Literal["new", "changed", "gone", "yours"]


@dataclass(frozen=True)
class Change:
    """What an upgrade does to a file of the project.

    Attributes:
        path: within the project.
        kind: ``yours``: changed in the project and by the library, so it stays.
        added: lines.
        removed: lines.
        difference: unified, from the project's file to the library's.
    """

    path: str
    kind: Kind
    added: int
    removed: int
    difference: str


def template() -> Path:
    """The folder of the files as the library brings them."""
    inside = library.INSTALLED / library.FILE / "template"
    return inside if inside.is_dir() else library.INSTALLED


def brought() -> dict[str, str]:
    """Text of each file that a new project starts with, the example's parameters and ledger aside."""
    folder = template()
    files = {path for pattern in FILES for path in folder.glob(pattern) if path.is_file()}
    texts = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in sorted(files)}
    return texts | {paths.TEST_DECISIONS.as_posix(): test_decisions.EMPTY}


def example(path: Path) -> str:
    """Text of params.yaml or of the ledger as the library brings them: those of the embedded example."""
    return documents.text_of(template() / path)


def is_project() -> bool:
    """Whether a project lies here."""
    return paths.PARAMS.exists() or paths.LEDGER.exists()


def require_folder() -> None:
    """Refuse a folder in which a project cannot begin.

    Raises:
        ValueError: it lies within another git repository, or holds files of the names that a project's have.
    """
    top = git("rev-parse", "--show-toplevel", check=False)
    if top and Path(top).resolve() != Path.cwd().resolve():
        raise ValueError(
            f"A project must be the top of its git repository, got a folder within {top}; begin outside it, "
            "or run `git init` here first."
        )
    others = [path for path, text in brought().items() if path not in LISTS and _other(Path(path), text)]
    if library.FILE.exists() and not library.is_installed():
        others.append(library.FILE.as_posix())
    if others:
        raise ValueError(
            f"A project must begin in a folder without files of its names, got {', '.join(others[:5])}; "
            "begin in a folder of its own."
        )


def begin() -> None:
    """Write the files of a new project, and make its folder a git repository where it is none; commits nothing."""
    require_folder()
    if not git("rev-parse", "--show-toplevel", check=False):
        git("init", "--quiet")
    _write(brought())


def _other(path: Path, text: str) -> bool:
    return path.exists() and not (path.is_file() and _text(path) == text)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _write(texts: dict[str, str], stay: Collection[str] = ()) -> None:
    """All files but those that ``stay`` as they are; the record of them last."""
    for path, text in texts.items():
        if path not in stay:
            atomic.write_text(Path(path), _with_lines_here(path, text))
    library.record({path: library.digest_of(text) for path, text in texts.items()})


def _with_lines_here(path: str, text: str) -> str:
    """The library's text; of a list that the folder has already, its lines and what it lacks of the library's."""
    present = _text(Path(path)).splitlines() if path in LISTS else []
    if not present:
        return text
    return "\n".join([*present, *(line for line in text.splitlines() if line not in present), ""])


def changes() -> list[Change]:
    """What an upgrade to the installed library would do, file by file."""
    before, now = library.recorded()["files"], brought()
    return [
        change for path in sorted(before.keys() | now) if (change := _change(path, before.get(path), now.get(path)))
    ]


def _change(path: str, before: str | None, now: str | None) -> Change | None:
    here = _text(Path(path))
    text = "" if now is None else _with_lines_here(path, now)
    if here == text or (now is not None and library.digest_of(now) == before):
        return None  # the library's file is as it was: whatever stands here was meant
    if here and library.digest_of(here) != before and path not in LISTS:
        kind: Kind = "yours"
    else:
        kind = "gone" if now is None else "changed" if here else "new"
    difference = list(difflib.unified_diff(here.splitlines(), text.splitlines(), path, path, lineterm=""))
    signs = [line[0] for line in difference[2:]]
    return Change(path, kind, signs.count("+"), signs.count("-"), "\n".join(difference))


def upgrade(listed: list[Change]) -> None:
    """Carry out ``changes``; what is the user's stays. Broken off, it is done by the next."""
    for change in listed:
        if change.kind == "gone":
            Path(change.path).unlink(missing_ok=True)
    unchanged = brought().keys() - {change.path for change in listed if change.kind in ("new", "changed")}
    _write(brought(), stay=unchanged)


def lacking_settings(values: dict[str, dict[str, object]], text: str = "") -> dict[str, dict[str, object]]:
    """Settings that the library's params.yaml, or another's text, has and these lack, by section.

    Where rounds are published, a key more in a section they rest on would make them anew: there defaults are used.
    """
    own = documents.sections(text or example(paths.PARAMS), paths.PARAMS)
    lacking = {
        name: {key: value for key, value in section.items() if key not in values.get(name, {})}
        for name, section in own.items()
    }
    final = HISTORY_SECTIONS & values.keys() if has_published_rounds() else ()
    return {name: section for name, section in lacking.items() if section and name not in final}
