"""Reads one section of params.yaml into its model, or says which key is wrong, what was expected and what was got."""

from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from diva.store import documents, paths


class Section(BaseModel):
    """A section: frozen, without unknown keys, without defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _of_its_kind(cls, value: Any, about: ValidationInfo) -> Any:
        """``yes`` is no 1, and one value no list of one."""
        allowed = cls.model_fields[about.field_name or ""].annotation
        if isinstance(value, bool) and bool not in (allowed, *get_args(allowed)):
            raise ValueError(f"must be no truth value (YAML reads yes, no, on and off so), got {str(value).lower()}.")
        if get_origin(allowed) in (list, tuple) and not isinstance(value, list | tuple):
            items = "" if value is None else f'"{value}"' if "{" in str(value) else str(value)
            raise ValueError(f"must be a list, got {documents.shown(value)}; write {about.field_name}: [{items}].")
        return value


S = TypeVar("S", bound=BaseModel)
Count = Annotated[int, Field(ge=1)]
PerRound = Count | Annotated[float, Field(gt=0, le=1)]  # samples a round adds at most: a number, or a share of all


def validate(section: Any, model: type[S], where: str) -> S:
    """``section`` as ``model``; ValueError with the explanation where it does not fit."""
    try:
        return model.model_validate(section)
    except ValidationError as error:
        mistakes = documents.explain(error, section, where, ".")
        raise ValueError("\n".join([*mistakes, f"Keys of {where}: {', '.join(model.model_fields)}."])) from None


def load(path: Path = paths.PARAMS) -> dict[str, Any]:
    """The whole of params.yaml; ValueError where it is missing or no mapping."""
    return documents.sections(documents.text_of(path), path)


def read(name: str, model: type[S]) -> S:
    """Section ``name`` of params.yaml."""
    params = load()
    if name not in params:
        raise ValueError(f"{paths.PARAMS} must have a section '{name}', got {', '.join(params)}.")
    return validate(params[name], model, f"{paths.PARAMS}:{name}")
