"""Names of methods in params.yaml, checked against those there are."""

from typing import Annotated

from pydantic import AfterValidator

from diva.methods import names


def _registered(name: str) -> str:
    return names.get(name).name


def _suspects(name: str) -> str:
    method = names.get(name)
    if not method.suspects:
        raise ValueError(f"{name} does not call labels wrong; methods that do: {names.suspecting()}")
    return method.name


Name = Annotated[str, AfterValidator(_registered)]  # any method
Suspicion = Annotated[str, AfterValidator(_suspects)]  # one whose values call labels wrong
