"""What must hold of rows: looked at once on the processor; on a card, where a look waits for all work, once a pass."""

from collections.abc import Callable

import torch
from torch import Tensor


class Conditions:
    """Of one pass; whoever makes it asks `settle` at its end."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Tensor, Callable[[], Exception]]] = []

    def require(self, good: Tensor, error: Callable[[], Exception]) -> None:
        """All of ``good`` (booleans), else ``error()`` is raised: here, or by `settle`."""
        if deferred(good):
            self._waiting.append((good.all(), error))
        elif not good.all():
            raise error()

    def settle(self) -> None:
        """Raise what the first broken condition says."""
        waiting, self._waiting = self._waiting, []
        if waiting and not torch.stack([good for good, _ in waiting]).all():
            raise next(error for good, error in waiting if not good)()


def deferred(rows: Tensor) -> bool:
    """Whether what is computed of ``rows`` is not to be asked for before the end of a pass."""
    return rows.device.type != "cpu"
