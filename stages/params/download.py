"""Section ``download`` of params.yaml."""

import re
from typing import Literal

from pydantic import Field, field_validator

from diva.text.choices import Task
from stages.params.section import Section


class Download(Section):
    """How deliveries are read, and (in ``pool``) what of them may enter the pool.

    The latter stands here because dvc.yaml reads the ledger's chain ``pool`` beside these sections.
    """

    workers: int = Field(ge=1, le=256)  # threads that hash and open files
    max_pixels: int = Field(ge=1, le=89_478_485)  # larger images are set aside; the bound is Pillow's own
    group_by: str | None = None  # of images whose list names no group: parent, or a regular expression on their path
    # what labels are, and what separates several of a sample; as in `duplicates`, the defaults stand here
    task: Task = "classification"
    separator: str = Field(default="|", min_length=1)
    new_classes: Literal["quarantine", "accept"]  # samples of the pool of a class that the core lacks

    @field_validator("group_by")
    @classmethod
    def _is_regular(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"must be parent or a regular expression, got {value!r}: {error}.") from None
        if value and value.lower() in ("parent", "folder") and value != "parent":
            raise ValueError(f"must be parent or a regular expression, got {value!r}; write parent.")
        return value
