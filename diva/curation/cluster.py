"""Parts of the rows on the workers of a Dask cluster, where the environment names its scheduler.

    DIVA_DASK_ADDRESS=tcp://scheduler:8786 dvc repro

A part says where its rows lie: files and row numbers. Workers read them there, so they must see the project's folder at
the same path, and run the same code. A worker that dies costs the parts it had not handed on: Dask does these again. No
result depends on the cluster, so DVC knows nothing of it. Tasks travel pickled, as Dask sends them: only to a cluster
that is trusted, and from one.
"""

import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from diva.numerics import residence
from diva.numerics.device import cards
from diva.numerics.parallel import added, apply, tree
from diva.store import paths
from diva.store.streams import ahead
from diva.text.words import installing

ADDRESS = "DIVA_DASK_ADDRESS"
PART = 1 << 17  # rows of a part: enough to be worth a message, few enough to be lost
GROUP = 16  # parts; a power of two, so that pairs of groups go on where pairs of parts end
TRIES = 3  # of a part, beside those that die with their worker
PATIENCE = 30  # seconds for the scheduler to answer

logger = logging.getLogger(__name__)


class Cluster:
    """A mapper (`diva.numerics.parallel`) whose parts are worked on by a Dask client's workers.

    Args:
        client: of Dask.
        homes: whether each part goes to the same worker in every pass, where its rows stay.
    """

    def __init__(self, client: Any, *, homes: bool = False) -> None:
        self.client, self.homes = client, homes

    def __call__(
        self, function: Callable[..., Any], shared: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]
    ) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
        """Sums and rows of all parts, as `diva.numerics.parallel.in_turn` gives them, to the bit."""
        # a task rather than scattered data: what is lost with a worker can be had again
        everywhere = self._submit(dict, shared)
        workers = sorted(self.client.nthreads()) if self.homes else []
        homes = [workers[number % len(workers)] if workers else None for number in range(len(parts))]
        pairs = list(zip(parts, homes, strict=True))
        groups = [pairs[start : start + GROUP] for start in range(0, len(pairs), GROUP)]
        busy = 2 * sum(self.client.nthreads().values()) // GROUP + 1  # groups that keep every thread at work
        rows: list[tuple[Any, ...]] = []

        def sums() -> Iterator[tuple[Any, ...]]:
            for group in ahead(groups, lambda group: Group(self._submit, function, everywhere, group), busy):
                rows.extend(self.client.gather(group.rows))
                yield group.sums.result()

        return tree(sums(), added), rows

    def _submit(self, function: Callable[..., Any], *arguments: Any, home: str | None = None) -> Any:
        where = {"workers": [home], "allow_other_workers": True} if home else {}  # where it is gone, any other
        return self.client.submit(function, *arguments, pure=False, retries=TRIES, **where)


class Group:
    """Parts that are added up where they were worked on.

    Until their sum has arrived here the result of each part is kept, so that a worker which dies takes only its own
    results with it. Each of the parts may name the worker that it goes to.
    """

    def __init__(
        self,
        submit: Callable[..., Any],
        function: Callable[..., Any],
        shared: Any,
        parts: Sequence[tuple[Mapping[str, Any], str | None]],
    ) -> None:
        self.results = [submit(apply, function, shared, part, home=home) for part, home in parts]
        self.rows = [submit(attrgetter("rows"), result) for result in self.results]
        each = (submit(attrgetter("sums"), result) for result in self.results)
        self.sums = tree(each, lambda first, second: submit(added, first, second))


def mapper(*, homes: bool = False) -> Cluster | None:
    """That of the cluster which the environment names; None where it names none."""
    address = os.environ.get(ADDRESS)
    return Cluster(connected(address), homes=homes) if address else None


@cache
def connected(address: str) -> Any:
    """A client of the scheduler at ``address``, whose workers can do the work.

    Raises:
        ValueError: Dask is not installed, nobody answers, or the workers lack the project.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(f"{ADDRESS} needs Dask, got none installed: {installing('dask')}.") from None
    try:
        client = Client(address, timeout=PATIENCE)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ValueError(f"{ADDRESS} must be the address of a Dask scheduler, got {address}: {error}.") from None
    require_workers(client)
    client.run(residence.stay_anew)
    return client


def require_workers(client: Any) -> None:
    """ValueError unless there are workers, which all see the project's data and run this Python and torch."""
    try:
        seen = client.run(surroundings, str(paths.DATA.absolute()))
    except ImportError as error:
        raise ValueError(
            f"workers must be able to import the project, got {error}; start them in its folder."
        ) from None
    if not seen:
        raise ValueError(
            f"{ADDRESS} must be of a cluster with workers, got none: start `dask worker ADDRESS` somewhere."
        )
    expected = surroundings(str(paths.DATA.absolute()))
    for worker, got in seen.items():
        if got != expected:
            raise ValueError(
                f"workers must see the project's data and have its versions ({expected}), got {got} on {worker}: "
                "share the folder under the same path, and install the same environment."
            )
    for machine, names in crowded(client.run(cards_here).values()):
        logger.warning("Workers on %s share the cards %s; start each with CUDA_VISIBLE_DEVICES.", machine, names)


def cards_here() -> tuple[str, str]:
    """This machine, and the cards that this process sees."""
    return socket.gethostname(), ",".join(cards())


def crowded(workers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of what workers say of themselves (`cards_here`), what two of them say; without cards nothing."""
    return [here for here, count in Counter(workers).items() if here[1] and count > 1]


def surroundings(folder: str) -> dict[str, str]:
    """What must be the same everywhere."""
    import torch

    return {
        folder: "is there" if Path(folder).is_dir() else "is absent",
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "torch": torch.__version__,
        "CUDA": "is there" if torch.cuda.is_available() else "is absent",
    }
