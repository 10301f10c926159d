"""A Dask cluster for the time of a run: one that is there, or one of this machine.

Stages run as processes of their own, which DVC starts; they find the cluster by an environment variable
(`diva.curation.cluster`), of which DVC knows nothing: where sums are computed changes no result.

Whoever reaches a scheduler runs code as its user, on loopback everybody with a login. So a cluster of this machine
talks TLS, with a key and a certificate made for the run: those who have them are its own processes, and stages.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from diva.text.words import installing
from diva.versions.processes import environment
from flows.options import Address, Runner

ADDRESS = "DIVA_DASK_ADDRESS"  # as in `diva.curation.cluster`, which imports torch
# where Dask's own configuration has the files that a client shows
TLS = {
    "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": "tls_ca_file",
    "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": "tls_client_cert",
    "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY": "tls_client_key",
}


@contextmanager
def workers(runner: Runner, address: Address = None) -> Iterator[None]:
    """Within the block stages find the cluster's workers; nothing happens for ``threads``.

    Raises:
        ValueError: Dask is not installed, or no cluster answers.
    """
    if runner == "threads":
        yield
        return
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise ValueError(f"runner dask needs prefect-dask, got none: {installing('dask')}.") from None
    logging.getLogger("distributed").setLevel(logging.WARNING)  # it tells of every connection
    with ExitStack() as stack:
        local, files = (
            (None, {}) if address else local_cluster(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        )
        cluster = stack.enter_context(DaskTaskRunner(address=address, cluster_kwargs=local))
        try:
            scheduler_address = cluster.client.scheduler.address
        except OSError as error:
            raise ValueError(f"address must be of a Dask scheduler, got {address}: {error}.") from None
        stack.enter_context(environment({ADDRESS: scheduler_address, **files}))
        yield


def local_cluster(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """How to start a cluster of this machine, and what to tell its clients: files in ``folder``, this user's alone."""
    from distributed import Security

    from diva.numerics.device import cards  # with torch

    security, files = Security.temporary(), {}  # type: ignore[no-untyped-call]
    for name, key in TLS.items():
        path = folder / f"{key}.pem"
        path.touch(0o600)
        path.write_text(getattr(security, key), encoding="utf-8")
        files[name] = str(path)
    # this machine's workers compute with one thread each, as many of them as there are cores, or cards
    made = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "security": security}
    return made | one_card_each(cards()), files


def one_card_each(names: list[str]) -> dict[str, Any]:
    """How to start workers of which each sees one of the cards, also when it is started anew; {} without cards."""
    from distributed import Nanny

    class CardKeeper(Nanny):
        def __init__(self, scheduler: str, name: int, env: dict[str, str] | None = None, **options: Any) -> None:
            env = (env or {}) | {"CUDA_VISIBLE_DEVICES": names[name]}
            super().__init__(scheduler, name=name, env=env, **options)

    return {"n_workers": len(names), "worker_class": CardKeeper} if names else {}
