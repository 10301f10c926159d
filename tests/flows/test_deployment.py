"""A real server, a real worker: `prefect deploy --all`, `prefect deployment run`, and what one sees afterwards."""

import json
import time

import pytest
import yaml

from tests.projects.checkout import ROOT

pytestmark = pytest.mark.xdist_group("flows")  # one worker, one server


@pytest.fixture(scope="module")
def artifacts(deployed) -> dict[str, dict]:
    """Artifacts of the deployment's run, the server's first, as JSON, by key."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter

    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter())
    newest_first = sorted(found, key=lambda artifact: artifact.created, reverse=True)
    return {artifact.key: artifact.model_dump(mode="json") for artifact in newest_first}


def test_a_run_of_the_deployment_publishes_what_was_delivered(deployed):
    assert deployed.tags() == ["curated@v0.1.0"]
    assert set(deployed.ledger()["batches"]) == {"core", "test", "b001"}
    assert deployed.dvc("status").strip().endswith("up to date.")
    assert deployed.dvc("status", "--cloud").strip().endswith("in sync.")


def test_the_table_counts_additions_by_class(deployed, artifacts):
    rows = json.loads(artifacts["r001-classes"]["data"])
    told = json.loads((deployed.root / "data/metrics/rounds/r001.json").read_text())
    assert sum(row["added"] for row in rows) == told["added"] > 0
    assert sum(row["members"] for row in rows) == 60 + told["added"]
    assert {row["class"] for row in rows} == set("0123456789")


def test_the_summary_has_the_test_errors_change(artifacts):
    page = artifacts["r001-summary"]["data"]
    assert "v0.1.0" in page
    assert "points; before" in page
    assert "b001: 60 extracted" in page


def test_the_report_is_linked(deployed, artifacts):
    assert (deployed.root / "data/report/index.html").as_uri() in artifacts["r001-report"]["data"]
    assert "dvc get . data/report --rev curated@v0.1.0" in artifacts["r001-report"]["description"]


def test_extraction_and_scoring_show_progress(artifacts):
    for key in ("extract-b001", "score-soft", "extend-r001"):
        assert float(artifacts[key]["data"]) == 100.0, key


def test_the_run_told_what_became_of_the_delivery(artifacts):
    assert "d1 is b001" in artifacts["deliveries"]["data"]


def test_the_deployment_runs_every_night_and_never_twice_at_once(deployed):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name("nightly-curation/nightly")
    assert found.global_concurrency_limit is None  # it would outlive a killed run; the lock of a run does not
    assert found.schedules[0].schedule.timezone
    assert found.pull_steps[0]["prefect.deployments.steps.set_working_directory"]["directory"] == str(deployed.root)


def test_parameters_of_prefect_yaml_are_the_flows_defaults():
    from flows.options import Options

    (deployment,) = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert deployment["parameters"] == Options().model_dump()


def test_parameters_are_validated(api):
    from prefect.exceptions import ParameterTypeError

    from flows.nightly import nightly

    with pytest.raises(ParameterTypeError, match="max_rounds"):
        nightly(max_rounds=0)


def test_every_task_has_a_name_people_understand():
    from prefect import Task

    from flows import extend, nightly

    tasks = [value for module in (extend, nightly) for value in vars(module).values() if isinstance(value, Task)]
    assert len(tasks) > 10
    assert all(" " in task.name and task.name[0].isupper() for task in tasks)


@pytest.fixture(scope="module")
def events(deployed) -> list[dict]:
    """Of published versions, and of assets; the worker sends them on its own time."""
    from prefect.client.orchestration import get_client

    asked = {"filter": {"event": {"name": ["diva.version.published", "prefect.asset.materialization.succeeded"]}}}
    end = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while True:
            seen = client.request("POST", "/events/filter", json=asked).json()["events"]
            if len({event["event"] for event in seen}) == 2:
                return seen
            assert time.monotonic() < end, seen
            time.sleep(0.2)


def test_an_event_says_what_was_published_and_how_to_fetch_it(deployed, events):
    (event,) = [event for event in events if event["payload"].get("folder") == str(deployed.root)]
    assert event["resource"]["prefect.resource.id"] == "diva.version.curated@v0.1.0"
    assert event["payload"]["deliveries"] == ["b001"]
    assert event["payload"]["fetch"].endswith("data/release/train.parquet --rev curated@v0.1.0")


def test_the_set_is_an_asset_that_rests_on_its_deliveries(deployed, events):
    prefix = f"diva://{deployed.root.name}/"
    (event,) = [
        event
        for event in events
        if event["resource"]["prefect.resource.id"] == f"{prefix}curated"
        and event["payload"]["version"] == "curated@v0.1.0"
    ]
    related = {entry["prefect.resource.id"] for entry in event["related"]}
    assert {f"{prefix}deliveries/core", f"{prefix}deliveries/b001"} <= related
