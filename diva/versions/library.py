"""The library a project runs on: a folder ``diva`` beside its stages, or what is installed, named by a file ``diva``.

The file is a dependency of the stage ``code``, as the folder is, so a project's dvc.yaml is the same either way. It
holds the version, digests of the library's files, and digests of the project's own files as the library brought them.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from diva.store import atomic, digests, documents
from diva.versions.processes import git_bytes

FILE = Path("diva")
INSTALLED = Path(__file__).resolve().parents[2]  # the folder that holds the package
ABOUT = "The installed library that this project runs on, and what it brought; written by diva init and diva upgrade."


def is_installed() -> bool:
    """Whether the project names its library by a file, and does not hold it."""
    return FILE.is_file()


def located(path: Path) -> Path:
    """Where a file of the project or of its library lies."""
    return INSTALLED / path if path.parts[:1] == FILE.parts and not FILE.is_dir() else path


def version() -> str:
    """Of the library that runs."""
    from importlib import metadata

    return metadata.version("diva-curation")


@cache
def installed_digests() -> dict[str, str]:
    """sha256 of the files of the library that runs, by path; what travels with it for projects is none of them."""
    package = INSTALLED / FILE
    files = sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    named = {path.relative_to(INSTALLED): path for path in files}
    return {name.as_posix(): digests.sha256(path) for name, path in named.items() if name.parts[1] != "template"}


def recorded() -> dict[str, Any]:
    """What the project's file says; ValueError where it is cut short or another's."""
    return _read(FILE.read_bytes(), str(FILE))


def recorded_at(commit: str) -> dict[str, str]:
    """Digests of the library's files that a commit names; empty where it holds the library itself."""
    if git_bytes("cat-file", "-t", f"{commit}:./{FILE}", check=False).strip() != b"blob":
        return {}
    library: dict[str, str] = _read(git_bytes("show", f"{commit}:./{FILE}"), f"{FILE} of {commit}")["library"]
    return library


def _read(content: bytes, where: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(content)
        if all(isinstance(values[key], dict) for key in ("library", "files")) and isinstance(values["version"], str):
            return values
    except (ValueError, KeyError, TypeError):
        pass
    shown = documents.shown(content[:40].decode("utf-8", "replace"))
    raise ValueError(f"{where} must be what diva init wrote, got {shown}; `git checkout {FILE}` brings it back.")


def record(files: dict[str, str]) -> None:
    """Write the project's file.

    Args:
        files: sha256 of the project's own files as the library brings them, by path.
    """
    content = {"about": ABOUT, "version": version(), "library": installed_digests(), "files": files}
    atomic.write_text(FILE, json.dumps(content, indent=1) + "\n")


def require_recorded() -> None:
    """Refuse to run another library than the one that the project names.

    Raises:
        ValueError: with both versions and the remedy.
    """
    if not is_installed():
        return
    named = recorded()
    if named["library"] != installed_digests():
        difference = ", with other files" if named["version"] == version() else ""
        raise ValueError(
            f"The installed diva must be {named['version']}, which this project runs on, got {version()}{difference}; "
            "`diva upgrade` brings the project to it."
        )


def digest_of(text: str) -> str:
    """Hexadecimal sha256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
