"""Deployments on other machines: what the site shows of prefect.yaml, on a real server."""

import asyncio
import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import credentials
from flows.options import Options
from tests.projects.checkout import ROOT, Project

pytestmark = pytest.mark.xdist_group("flows")


def shown() -> dict[str, Any]:
    """The YAML blocks of the page, by their one key."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/how-to/prefect.md").read_text("utf-8"), re.M | re.S)
    return {key: value for block in blocks for key, value in yaml.safe_load(block).items()}


def saved(**values: Any) -> None:
    from prefect.blocks.system import Secret

    for name, value in values.items():
        Secret(value=value).save(name.replace("_", "-"), overwrite=True)


def test_secret_blocks_are_variables_of_the_run_alone(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the site shows; a night with one that is missing ends before it begins."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "before")
    saved(dvc_key="the key", dvc_secret="=secret, ü", dvc_number=[1])  # noqa: S106
    secrets = Options.model_validate(shown()["parameters"]).secrets
    command = [sys.executable, "-c", "import os, sys; print([os.environ[name] for name in sys.argv[1:]])", *secrets]
    with credentials.provided(secrets):
        said = subprocess.run(
            command, capture_output=True, text=True, check=True, env=os.environ | {"LC_ALL": "C.UTF-8"}
        )
    assert said.stdout.strip() == "['the key', '=secret, ü']"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "before"
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ
    for block, message in (("none-such", "got none-such, which it has not"), ("dvc-number", "of one text")):
        with pytest.raises(ValueError, match=message), credentials.provided({"HF_TOKEN": block}):
            pass
    for name in ("PATH", "LD_PRELOAD", "aws_key", "PYTHONPATH"):
        with pytest.raises(ValueError, match="should match pattern"):
            Options(secrets={name: "dvc-key"})


def test_the_pull_steps_bring_all_that_was_published(deployed: Project, tmp_path: Path, monkeypatch) -> None:
    """Twice, as for two nights: the second in the clone of the first, behind what was committed meanwhile."""
    from prefect.deployments.steps.core import run_steps

    saved(git_token="token")  # noqa: S106
    there = deployed.copy(tmp_path / "there")
    steps = shown()["pull"]
    steps[0]["prefect.deployments.steps.git_clone"] |= {
        "repository": there.root.as_uri(),
        "branch": there.git("branch", "--show-current"),
    }
    monkeypatch.chdir(tmp_path)
    for number in (0, 1):
        if number:
            identity = ("-c", "user.name=R", "-c", "user.email=r@example.com")
            there.git(*identity, "commit", "--quiet", "--allow-empty", "--message", "Later")
        folder = Path(asyncio.run(run_steps(steps))["directory"])
        clone = Project(tmp_path / folder)
        assert clone.git("rev-parse", "--is-shallow-repository") == "false"
        assert clone.git("rev-parse", "HEAD") == there.git("rev-parse", "HEAD")
        assert clone.tags() == there.tags() == ["curated@v0.1.0"]


def test_the_docker_pool_takes_the_variables_that_the_site_shows() -> None:
    """As Prefect's own list of workers describes that type."""
    workers = json.loads(
        files("prefect.server.api.collections_data.views").joinpath("aggregate-worker-metadata.json").read_text()
    )
    known = workers["prefect-docker"]["docker"]["default_base_job_configuration"]["variables"]["properties"]
    variables = shown()["work_pool"]["job_variables"]
    assert variables.keys() <= known.keys()
    assert variables["image_pull_policy"] in known["image_pull_policy"]["enum"]
