"""What a nightly run is told: the flow's parameters, from a deployment or from the command line."""

import argparse
import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from diva.text.redaction import holds_secret, redacted

LOGIN = "give the login to fsspec, in ~/.config/fsspec/conf.json or its variables"
Stale = Literal["stop", "keep", "rebase"]
Rounds = Annotated[int, Field(ge=1)] | None
Budget = Annotated[int, Field(ge=0)] | None
Watch = Annotated[str, Field(min_length=1)]
Runner = Literal["threads", "dask"]
Variable = Annotated[str, Field(pattern=r"^(AWS|AZURE|FSSPEC|GOOGLE|HF|OSS)_[A-Z0-9_]+$")]  # of clouds' libraries
Secrets = dict[Variable, str]
Address = Annotated[str, Field(min_length=1)] | None


class Options(BaseModel):
    """Parameters of the flow ``nightly-curation``; their descriptions are the help of the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    watch: Watch = Field(default="deliveries", description="folder or fsspec URL in which deliveries arrive")
    max_rounds: Rounds = Field(default=None, description="rounds to publish at most; else until no candidate is left")
    budget: Budget = Field(
        default=None, description="samples added in all rounds together; else extend.budget of params.yaml"
    )
    git_remote: str | None = Field(
        default=None, description="git remote to push commits and tags to; else they stay here"
    )
    stale: Stale = "stop"  # what to do where a published round no longer follows from its inputs
    runner: Runner = Field(default="threads", description="where sums over rows are computed: threads or dask")
    address: Address = Field(
        default=None, description="of a Dask scheduler; else a cluster of this machine, for the run"
    )

    secrets: Secrets = {}  # variables of the environment, each with the Secret block that holds its value

    @model_validator(mode="after")
    def _address_is_of_a_cluster(self) -> "Options":
        if self.address and self.runner != "dask":
            raise ValueError("an address needs the runner dask")
        return self

    @field_validator("watch")
    @classmethod
    def _without_secret(cls, watch: str) -> str:
        if holds_secret(watch):
            raise ValueError(f"must carry no password, token or signature; {LOGIN}")
        return watch


def parse(program: str, about: str, arguments: list[str] | None = None) -> Options:
    """Options of a command line; a mistake ends the process with a message."""
    parser = argparse.ArgumentParser(prog=os.environ.get("DIVA_PROGRAM", f"python -m {program}"), description=about)
    for name, field in Options.model_fields.items():
        if field.description:
            default = f" [default: {field.default}]" if field.default else ""
            parser.add_argument(f"--{name.replace('_', '-')}", help=field.description + default)
    choice = parser.add_mutually_exclusive_group()
    for name, what in (("keep", "keep them as they are stored"), ("rebase", "begin a new chain, a new major version")):
        choice.add_argument(f"--{name}", dest="stale", action="store_const", const=name, help=f"stale rounds: {what}")
    given: dict[str, Any] = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value}
    try:
        return Options.model_validate(given)
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0]) if fault["loc"] else "address"
        parser.error(f"--{name.replace('_', '-')}: {fault['msg'].lower()}, got {redacted(str(fault['input']))}.")
