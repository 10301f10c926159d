"""Names of methods in params.yaml, checked against the registry."""

from typing import Annotated

from pydantic import AfterValidator

from diva.methods import registry


def _registered(name: str) -> str:
    return registry.get(name).name


def _suspects(name: str) -> str:
    method = registry.get(name)
    if not method.suspects:
        usable = ", ".join(method.name for method in registry.METHODS if method.suspects)
        raise ValueError(f"{name} does not call labels wrong; methods that do: {usable}")
    return method.name


Name = Annotated[str, AfterValidator(_registered)]  # any method
Suspicion = Annotated[str, AfterValidator(_suspects)]  # one whose values call labels wrong
