"""Credentials of remotes and stores, from Prefect's Secret blocks: variables of the environment for the time of a run.

DVC, fsspec and the libraries of the clouds read them there; nothing is written to disk.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from diva.versions.processes import environment


@contextmanager
def provided(secrets: Mapping[str, str]) -> Iterator[None]:
    """Within the block, each variable has the value of its Secret block.

    Args:
        secrets: names of blocks, by variable, such as ``{"AWS_SECRET_ACCESS_KEY": "dvc-key"}``.

    Raises:
        ValueError: the server has no such block, or its value is no text.
    """
    with environment({variable: _value(variable, block) for variable, block in secrets.items()}):
        yield


def _value(variable: str, block: str) -> str:
    from prefect.blocks.system import Secret

    secrets: Any = Secret  # its `load` is typed as what may be awaited, too
    try:
        value = secrets.load(block, _sync=True).get()
    except ValueError:
        raise ValueError(
            f"secrets.{variable} must be a Secret block of Prefect's server, got {block}, which it has not; make it on "
            "its page, Blocks, Secret."
        ) from None
    if not isinstance(value, str):
        raise ValueError(f"secrets.{variable} must be a Secret block of one text, got {block}, which holds another.")
    return value
