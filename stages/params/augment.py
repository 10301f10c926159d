"""Section ``augment`` of params.yaml."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from diva.text.choices import LossName, ValidatingVariants
from stages.params.section import Section


def _free(name: str) -> str:
    if name == "identity":
        raise ValueError("identity is the images as they are; name the transform otherwise")
    return name


Name = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]*$"), AfterValidator(_free)]  # also of a file


class Transformed(Section):
    """A transform of torchvision.transforms.v2 by the name of its class."""

    name: str
    arguments: dict[str, Any]


class Augment(Section):
    """Which transformations of the images help."""

    of: list[str]  # batches; empty: on no request
    transforms: dict[Name, Transformed] = Field(min_length=1)
    validate_on: ValidatingVariants
    ridge: Annotated[float, Field(gt=0)] | None  # null: chosen from fit.ridges
    loss: LossName
    steps: int = Field(ge=1)
    step_size: float = Field(gt=0)  # the largest change of a weight in a step
    draws: int = Field(ge=0)  # of the bootstrap
    seed: int = Field(ge=0)  # of the bootstrap and of random transforms
