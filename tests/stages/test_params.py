"""The whole of params.yaml is validated: which section or key, what was expected, what was got."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from diva.numerics import cores
from diva.store import paths
from stages.command import grant_memory
from stages.params import __main__ as validation
from stages.params.curate import Curate
from stages.params.download import Download
from stages.params.release import ReleaseSettings
from tests.projects import stage_inputs as small
from tests.stages.test_download import command

MODELS = {"curate": Curate, "download": Download, "release": ReleaseSettings}


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "models", lambda: MODELS)


def test_every_module_of_parameters_has_the_model_of_its_name() -> None:
    found = validation.models()
    assert found.items() >= MODELS.items()
    assert "section" not in found
    assert all(model.model_config.get("extra") == "forbid" for model in found.values())


def test_right_parameters_have_no_faults(models: None) -> None:
    assert validation.faults(small.PARAMS) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"releese": {"weights": "auto"}}, "params.yaml:releese: no such section; is release meant?."),
        ({"release": None}, "params.yaml:release: must be a mapping of weights, set, flagged, got None."),
        ({"download": {"new_classes": "keep"}}, "input should be 'quarantine' or 'accept', got 'keep'"),
        ({"release": {"weight": "auto"}}, "params.yaml:release.weight: unknown key; is weights meant?."),
        ({"release": {"weight": "auto"}}, "params.yaml:release.weights: field required, got nothing."),
        ({"download": {"workers": 0, "max_pixels": 10}}, "input should be greater than or equal to 1, got 0"),
        ({"download": {"workers": "many", "max_pixels": 10}}, "download.workers: input should be a valid integer"),
    ],
)
def test_a_mistake_is_told(models: None, changes: dict[str, Any], expected: str) -> None:
    assert expected in "\n".join(validation.faults(small.PARAMS | changes))


def test_a_section_that_is_missing_is_told(models: None) -> None:
    content = {name: section for name, section in small.PARAMS.items() if name != "curate"}
    assert validation.faults(content) == ["params.yaml:curate: this section must be there, got nothing."]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [("auto", None), ("4 GiB", 4 << 30), ("512MB", 512_000_000), (0, 0), ("-3", ""), ("lots", ""), (True, "")],
)
def test_rows_may_take_the_memory_that_is_granted(workplace: Path, monkeypatch, rows: Any, expected: Any) -> None:
    monkeypatch.setattr(cores.os, "environ", {})
    paths.PARAMS.write_text(yaml.safe_dump({"memory": {"rows": rows}}), encoding="utf-8")
    if expected == "":
        with pytest.raises(ValueError, match=r"params\.yaml:memory\.rows: must be .*, got"):
            grant_memory()
        return
    for text in (
        paths.PARAMS.read_text(),
        "{}",
    ):  # a project from before the section goes by what there is, as auto does
        paths.PARAMS.write_text(text, encoding="utf-8")
        grant_memory()
        assert cores.granted() == expected
    assert "memory" not in "".join(validation.faults({"memory": {"rows": rows}}))
    assert "memory" not in "".join(validation.faults({}))


@pytest.mark.parametrize("text", [None, "a: [", "- list", yaml.safe_dump({"downlod": {}})])
def test_the_command_says_it_on_stderr_without_a_traceback(workplace: Path, project: Path, text: str | None) -> None:
    paths.PARAMS.unlink() if text is None else paths.PARAMS.write_text(text, encoding="utf-8")
    ended = command(project, "stages.params")
    assert ended.returncode == 1
    assert "params.yaml" in ended.stderr
    assert "Traceback" not in ended.stderr
