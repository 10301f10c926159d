"""Faults of params.yaml: named with section and key before anything runs; put right, the run is the undisturbed one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from diva.store import paths
from flows import work
from flows.options import Options
from stages.params import __main__ as validation
from tests.faults.case import REFUSED, UNHARMED, Case
from tests.faults.conftest import Undisturbed
from tests.projects import real_stages as project


def changed(section: str, **values: Any) -> Callable[[], None]:
    def plant() -> None:
        project.write_params(**{section: values})

    return plant


def without(section: str) -> Callable[[], None]:
    def plant() -> None:
        content = project.params()
        del content[section]
        paths.PARAMS.write_text(yaml.safe_dump(content), encoding="utf-8")

    return plant


def added(text: str) -> Callable[[], None]:
    def plant() -> None:
        paths.PARAMS.write_text(paths.PARAMS.read_text(encoding="utf-8") + text, encoding="utf-8")

    return plant


def content(text: bytes) -> Callable[[], None]:
    return lambda: paths.PARAMS.write_bytes(text) and None


def bad(name: str, what: str, plant: Callable[[], Any], said: str) -> object:
    return Case(name, "params", what, REFUSED).param(plant, said)


BOMB = "\n".join(["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]", *(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)), "fit: *i"])  # fmt: skip
PLANTED = [
    bad("unknown key", "a key that no stage knows", changed("fit", rigdes=[1.0]), "params.yaml:fit.rigdes: unknown key; is ridges meant?"),
    bad("unknown section", "a section that no stage has", added("fitt: {}\n"), "params.yaml:fitt: no such section; is fit meant?"),
    bad("missing section", "a section that is not there", without("extend"), "params.yaml:extend: this section must be there"),
    bad("wrong type", "words where a number is expected", changed("fit", chunk_size="many"), "params.yaml:fit.chunk_size: input should be a valid integer"),
    bad("negative ridge", "a ridge below 0", changed("fit", ridges=[0.1, -1.0]), "params.yaml:fit.ridges.1: input should be greater than 0, got -1.0"),
    bad("infinite ridge", "a ridge without end", changed("fit", ridges=[float("inf")]), "params.yaml:fit.ridges.0: input should be a finite number"),
    bad("NaN", "a share that is no number", changed("evaluate", held_out=float("nan")), "params.yaml:evaluate.held_out: input should be"),
    bad("unreadable YAML", "a bracket that is never closed", content(b"fit: [1,\n"), "params.yaml must be readable YAML"),
    bad("not text", "bytes that are no UTF-8", content(b"fit: \xff\xfe\n"), "params.yaml must be readable YAML"),
    bad("no file", "params.yaml is gone", lambda: paths.PARAMS.unlink(), "params.yaml must exist"),
    bad("a number that is none", "0x_, which YAML takes for a number", content(b"fit: 0x_\n"), "params.yaml must be readable YAML"),
    bad("nested too deep", "100,000 brackets", content(b"[" * 100_000), "params.yaml must be readable YAML"),
    bad("a bomb of aliases", "900 bytes that spell out to 10^9 numbers", content(BOMB.encode()), "params.yaml:fit: must be a mapping"),
    bad("code", "a tag that would call a function", content(b"fit: !!python/object/apply:os.mkdir [struck]\n"), "params.yaml must be readable YAML"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "plant", "said"), PLANTED)
def test_a_mistake_is_named_before_anything_runs(
    pack: Undisturbed, fault: Case, plant: Callable[[], object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project.accept("good.npz")
    right, before = paths.PARAMS.read_bytes(), project.files()
    plant()
    assert validation.main() == 1
    told = capsys.readouterr().err
    assert said in told
    assert len(told) < 5000
    with pytest.raises(ValueError, match=r"params\.yaml"):
        work.settings(Options())  # the nightly run, before it plans a round
    assert project.files() == before
    assert not Path("struck").exists()
    paths.PARAMS.write_bytes(right)
    project.run_round()
    project.night("more.npz")
    assert project.same(project.released(), pack.released)


@Case("budget above the pool", "params", "a budget of a million, and as many a round", UNHARMED).test
def test_a_budget_above_the_pool_adds_what_there_is(pack: Undisturbed) -> None:
    project.write_params(extend={"budget": 1_000_000, "per_round": 1_000_000, "stop": False})
    project.half_night("good.npz")
    project.night("more.npz")
    assert len(project.released()) == 18 + 9 + 6


@Case("no budget at all", "params", "a budget of nothing", UNHARMED).test
def test_a_budget_of_nothing_adds_nothing(pack: Undisturbed) -> None:
    project.write_params(extend={"budget": 0, "stop": False})
    project.night("good.npz")
    assert set(project.released()["origin"]) == {"core"}
