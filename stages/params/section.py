"""Reads one section of params.yaml into its model, or says which key is wrong, what was expected and what was got."""

import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from diva.store import paths


class Section(BaseModel):
    """A section: frozen, without unknown keys, without defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


S = TypeVar("S", bound=BaseModel)
Count = Annotated[int, Field(ge=1)]
PerRound = Count | Annotated[float, Field(gt=0, le=1)]  # samples a round adds at most: a number, or a share of all


def shown(value: Any) -> str:
    """A value in few words, however deep it is nested."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 200, 200
    return short.repr(value)


def explain(error: ValidationError, section: Any, where: str) -> str:
    """One line per mistake: where, what was expected (any one of several), what was got."""
    expected: dict[str, list[str]] = {}
    got = {}
    for fault in error.errors():
        key = ".".join([where, *_keys(fault, section)])
        expected.setdefault(key, []).append(fault["msg"].lower())
        got[key] = "nothing" if fault["type"] == "missing" else shown(fault["input"])
    return "\n".join(f"{key}: {' or '.join(messages)}, got {got[key]}." for key, messages in expected.items())


def _keys(fault: ErrorDetails, section: Any) -> Iterator[str]:
    """The fault's place as keys of the section, without pydantic's names for the alternatives of a union."""
    for part in fault["loc"]:
        if isinstance(section, dict) and (part in section or fault["type"] == "missing"):
            section = section.get(part)
        elif isinstance(section, list) and isinstance(part, int):
            section = section[part]
        else:
            continue
        yield str(part)


def validate(section: Any, model: type[S], where: str) -> S:
    """``section`` as ``model``; ValueError with the explanation where it does not fit."""
    try:
        return model.model_validate(section)
    except ValidationError as error:
        raise ValueError(
            f"{explain(error, section, where)}\nKeys of {where}: {', '.join(model.model_fields)}."
        ) from None


def load(path: Path = paths.PARAMS) -> dict[str, Any]:
    """The whole of params.yaml; ValueError where it is missing or no mapping."""
    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} must exist; run in the project's folder, or make one with `diva init`.") from None
    except OSError as error:
        raise ValueError(f"{path} must be a readable file: {error.strerror}.") from None
    except Exception as error:  # beside its own, PyYAML lets those of every constructor through
        raise ValueError(f"{path} must be readable YAML: {str(error) or type(error).__name__}") from None
    if not isinstance(params, dict):
        raise ValueError(f"{path} must hold one section per stage, got {type(params).__name__}.")
    return params


def read(name: str, model: type[S]) -> S:
    """Section ``name`` of params.yaml."""
    params = load()
    if name not in params:
        raise ValueError(f"{paths.PARAMS} must have a section '{name}', got {', '.join(params)}.")
    return validate(params[name], model, f"{paths.PARAMS}:{name}")
