"""What DVC keeps, read from its own files: which md5 a lock names for a path, and where the cache has that content."""

import json
from collections.abc import Mapping
from configparser import ConfigParser
from functools import lru_cache
from pathlib import Path

import yaml

LOCK = Path("dvc.lock")


def outputs(lock: str) -> dict[str, str]:
    """md5 of every output by its path, from the text of a ``dvc.lock``."""
    # all scalars as text: an md5 such as 1e10… must never become a number
    stages = (yaml.load(lock, getattr(yaml, "CBaseLoader", yaml.BaseLoader)) or {}).get("stages", {})  # noqa: S506
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", ()) if "md5" in out}


def cached(md5: str) -> Path:
    """Where DVC's cache has, or would have, the content of this md5."""
    folder = Path(".dvc") / setting("cache", "dir", "cache")
    return folder / "files" / "md5" / md5[:2] / md5[2:]


def setting(section: str, name: str, otherwise: str = "") -> str:
    """A setting of DVC's in this project."""
    config = ConfigParser()
    config.read([".dvc/config", ".dvc/config.local"])
    return config.get(section, name, fallback=otherwise)


def owner(outs: Mapping[str, str], path: Path) -> tuple[Path, str]:
    """The output that is this path or a folder above it, and its md5; ValueError where there is none."""
    for out in [path, *path.parents]:
        if out.as_posix() in outs:
            return out, outs[out.as_posix()]
    raise ValueError(f"{path} must be something that DVC keeps, got none of {len(outs)} outputs.")


@lru_cache(maxsize=64)
def listing(folder: Path) -> dict[str, str]:
    """md5 by name of what a folder in the cache holds; empty where the cache lacks it."""
    if not folder.is_file():
        return {}
    return {entry["relpath"]: entry["md5"] for entry in json.loads(folder.read_text(encoding="utf-8"))}


def holds(md5: str) -> bool:
    """Whether DVC's cache has an output as a whole, whatever the bytes are."""
    location = cached(md5)
    if not md5.endswith(".dir") or not location.is_file():
        return location.is_file()
    try:
        return all(cached(digest).is_file() for digest in listing(location).values())
    except (ValueError, KeyError, TypeError):  # no listing: its md5 will tell
        return True
