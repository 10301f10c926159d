"""params.yaml as commands read it; ``diva init`` alone writes it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read() -> tuple[str, dict[str, Any]]:
    """params.yaml as text and as values."""
    import yaml

    from diva.store import paths

    try:
        text = paths.PARAMS.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except FileNotFoundError:
        raise ValueError(f"{paths.PARAMS} must exist; run in the project's folder (a clone of DIVA).") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{paths.PARAMS} must be readable YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{paths.PARAMS} must hold one section per stage, got {type(values).__name__}.")
    return text, values


def section(params: Mapping[str, Any], name: str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A section of params.yaml, with at least these keys."""
    found = params.get(name)
    if not isinstance(found, dict):
        raise ValueError(f"params.yaml must have a section '{name}', got {', '.join(map(str, params))}.")
    missing = [key for key in keys if key not in found]
    if missing:
        raise ValueError(f"params.yaml:{name} must have the keys {', '.join(keys)}; missing {', '.join(missing)}.")
    return found


def allow_own_modules() -> None:
    """A backbone may be package.module:function of the project's folder, as it is for the stages."""
    sys.path.insert(0, str(Path.cwd()))
