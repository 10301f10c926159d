"""A Dask cluster for the time of a run: one that is there, or one of this machine.

Stages run as processes of their own, which DVC starts; they find the cluster by an environment variable
(`stages.cluster`), of which DVC knows nothing: where sums are computed changes no result.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from flows.options import Address, Runner

ADDRESS = "DIVA_DASK_ADDRESS"  # as in `stages.cluster`, which imports torch


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
        raise ValueError("runner dask needs prefect-dask, got none: pip install 'diva-curation[dask]'.") from None
    logging.getLogger("distributed").setLevel(logging.WARNING)  # it tells of every connection
    before = os.environ.get(ADDRESS)
    # this machine's workers compute with one thread each, as many of them as there are cores
    local = None if address else {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with DaskTaskRunner(address=address, cluster_kwargs=local) as cluster:
        try:
            os.environ[ADDRESS] = cluster.client.scheduler.address
        except OSError as error:
            raise ValueError(f"address must be of a Dask scheduler, got {address}: {error}.") from None
        try:
            yield
        finally:
            os.environ.pop(ADDRESS)
            if before is not None:
                os.environ[ADDRESS] = before
