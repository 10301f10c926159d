"""params.yaml as commands read it; ``diva init`` alone writes it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read() -> tuple[str, dict[str, Any]]:
    """params.yaml as text and as values; the one that a new project begins with where there is no project yet."""
    from diva.store import documents, paths
    from diva.versions import scaffold

    text = documents.text_of(paths.PARAMS) if scaffold.is_project() else scaffold.example(paths.PARAMS)
    return text, documents.sections(text, paths.PARAMS)


def with_profile(text: str, profile: str) -> tuple[str, dict[str, Any]]:
    """params.yaml with the settings of a profile: one of profiles/, by its name, or a file of one's own.

    Raises:
        ValueError: there is none, or it names a section or a key that params.yaml has not.
    """
    from diva.ingest import project
    from diva.store import documents, paths
    from diva.versions import scaffold

    folder = Path("profiles") if scaffold.is_project() else scaffold.template() / "profiles"
    profiles = sorted(path.stem for path in folder.glob("*.yaml"))
    path = folder / f"{profile}.yaml" if profile in profiles else Path(profile)
    if not path.is_file():
        raise ValueError(f"--profile must be one of {', '.join(profiles) or 'profiles/'}, or a file, got {profile!r}.")
    values, changes = documents.sections(text, paths.PARAMS), documents.sections(documents.text_of(path), path)
    if not all(isinstance(keys, dict) for keys in changes.values()):
        raise ValueError(f"{path} must hold sections of params.yaml with keys in them.")
    for name, keys in changes.items():
        strange = [key for key in keys if key not in section(values, name)]
        if strange:
            raise ValueError(f"{path}:{name} must have keys of params.yaml only, got {', '.join(map(str, strange))}.")
        text = project.edited(text, name, keys)
    return text, documents.sections(text, paths.PARAMS)


def section(params: Mapping[str, Any], name: str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A section of params.yaml, with at least these keys."""
    content = params.get(name)
    if not isinstance(content, dict):
        raise ValueError(f"params.yaml must have a section '{name}', got {', '.join(map(str, params))}.")
    missing = [key for key in keys if key not in content]
    if missing:
        raise ValueError(f"params.yaml:{name} must have the keys {', '.join(keys)}; missing {', '.join(missing)}.")
    return content


def allow_own_modules() -> None:
    """A backbone may be package.module:function of the project's folder, as it is for the stages."""
    sys.path.insert(0, str(Path.cwd()))
