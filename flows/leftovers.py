"""Runs that Prefect believes to go on though their process is gone: set to Crashed when ``make server`` starts."""

from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.states import Crashed

from diva.versions.locks import RunningError, exclusive

AT_WORK = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]


def settle() -> list[str]:
    """End runs of this project's deployments that ended with their process; what was done, a sentence each.

    Whoever is at work holds the lock of a run: while somebody does, nothing is settled. Limits of runs, which earlier
    deployments had, outlive who holds a slot of them, so they go; two runs exclude each other by the lock.
    """
    try:
        with exclusive(), get_client(sync_client=True) as client:
            deployments = [entry for entry in client.read_deployments() if _is_here(entry)]
            return [sentence for entry in deployments for sentence in (*_end(client, entry), *_free(client, entry))]
    except RunningError as error:
        return [f"Runs that were at work are left as they are: {error}"]


def _is_here(deployment: DeploymentResponse) -> bool:
    folders = [options.get("directory") for step in deployment.pull_steps or () for options in step.values()]
    return str(Path.cwd()) in folders


def _end(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[str]:
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [deployment.id]}}),
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": AT_WORK}}}),
    )
    for run in runs:
        client.set_flow_run_state(run.id, Crashed(message="Its process is gone."), force=True)
    return [f"Run {run.name} was {run.state_name}, but its process is gone: it is set to Crashed." for run in runs]


def _free(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[str]:
    if deployment.global_concurrency_limit is None:
        return []
    client.update_deployment(deployment.id, DeploymentUpdate(concurrency_limit=None))
    return [f"Deployment {deployment.name} has no limit of runs any more: the lock of a run is enough."]
