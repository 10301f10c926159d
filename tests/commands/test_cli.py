import html
import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from PIL import Image
from typer.testing import CliRunner

from diva.commands import cli, plan
from diva.ingest import project
from diva.report import claims, run_metrics, summary
from diva.store import ledger, manifest, paths, tables
from diva.text import terminal
from stages.params.__main__ import faults
from tests.projects.finished_run import deliver, features, finish


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path) -> Path:
    """A project's folder as it is shipped: its parameters and its ledger."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(project / "params.yaml", tmp_path)
    (tmp_path / "data").mkdir()
    shutil.copy(project / "data" / "ledger.yaml", tmp_path / "data")
    return tmp_path


def run(*arguments: str, width: int = 80, code: int = 0) -> str:
    """Standard output of a command that must end with this exit code."""
    result = CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": str(width)})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code
    return result.stdout


def in_a_process(folder: Path, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it."""
    command = [sys.executable, "-m", "diva.commands.cli", *arguments]
    environment = {"PYTHONPATH": str(project), "COLUMNS": "80", "PATH": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


def photos(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 3, seed: int = 0) -> str:
    """A folder class/image."""
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = generator.integers(0, 255, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder.name


def vectors(path: Path, width: int = 5, seed: int = 0) -> str:
    """Ready features."""
    values = np.random.default_rng(seed).normal(size=(12, width))
    np.savez(path, features=values, labels=np.arange(12) % 3)
    return path.name


# summary


def test_the_summary_fits_80_columns_without_colour(clone: Path) -> None:
    finish()
    text = run("summary")
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    for said in ("24 samples of 3 classes", "data/release/", "data/report/index.html", "resnet18, untrained"):
        assert said in text


def test_a_wide_terminal_shows_more_columns(clone: Path) -> None:
    finish()
    assert " ridge\n" not in run("summary", width=80).replace("ridge head", "")
    assert "ridge" in run("summary", width=140)


def test_every_training_set_has_a_row_and_the_release_and_the_best_a_mark(clone: Path) -> None:
    finish()
    text = run("summary")
    shown = set(json.loads(paths.metrics("evaluate").read_text())["sets"])
    assert shown >= {"core", "release_weighted", "everything", "uniform"}
    for name in (title for key, title in claims.SETS.items() if key in shown):
        assert re.search(rf"^[ ▸★]+{re.escape(name)} +\d", text, re.MULTILINE), name
    assert re.search(r"^▸ +members, with weights", text, re.MULTILINE)
    assert re.search(r"^ ★ +everything, reweighted", text, re.MULTILINE)


def test_the_report_is_markdown_for_a_pull_request_and_text_from_data_stays_text(clone: Path) -> None:
    finish()
    file = paths.metrics("evaluate")
    content = json.loads(file.read_text())
    caveat = "![x](//host.example/x.png) <b>"
    file.write_text(json.dumps(content | {"test": {**content["test"], "caveat": caveat}}))
    written = run("report", "--format", "md")
    shown = MarkdownIt("commonmark").enable("table").render(written)
    assert "<h2>Curation</h2>" in shown
    assert "![x](//host.example/x.png) &lt;b&gt;" in shown
    assert shown.count("<table>") == len(
        [table for table in summary.summarise(run_metrics.read()).tables if table.rows]
    )
    assert "<strong>members, with weights</strong> ▸" in shown
    assert all(html.escape(sentence, quote=False) in shown for sentence in summary.sentences(run_metrics.read()))
    with pytest.raises(ValueError, match=r"index\.html must exist"):
        run("report")


def test_what_the_features_cannot_tell_and_what_belongs_together_is_said(clone: Path) -> None:
    finish()
    fit = json.loads(paths.metrics("fit").read_text())
    fit["relatives"] = {"message": "samples belong together, such as a.png and b.png"}
    paths.metrics("fit").write_text(json.dumps(fit))
    paths.metrics("scores/soft").parent.mkdir(parents=True, exist_ok=True)
    paths.metrics("scores/soft").write_text(json.dumps({"flagged": 0, "message": "no label is called wrong: chance"}))
    text = run("summary", width=140)
    assert "Samples belong together, such as a.png and b.png." in text
    assert "No label is called wrong: chance." in text


def test_what_relabelling_costs_and_which_set_was_chosen_is_said(clone: Path) -> None:
    finish()
    assert "replaced by suggestions" not in run("summary", width=140)
    metrics = paths.METRICS / "rounds" / "r001.json"
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"relabelled": 7}))
    chosen = {"set": {"name": "everything", "reason": "held-out gain 0.1"}}
    paths.SUMMARY.write_text(json.dumps(json.loads(paths.SUMMARY.read_text()) | chosen))
    text = run("summary", width=140)
    assert "7 given labels were replaced by suggestions" in text
    assert "everything: held-out gain 0.1" in text


def test_rounds_say_what_was_added_and_how_many_were_planted_wrong(clone: Path) -> None:
    finish()
    text = run("summary")
    assert re.search(r"r001 +6 +4 +0 +24 +20\.00 \[15\.0, 25\.0\]", text)
    assert "r001: no candidate is left." in text


def test_rounds_planned_with_other_settings_than_those_of_params_are_named(clone: Path) -> None:
    finish()
    assert "a plain `dvc repro`" not in run("summary", width=240)
    for command in ("init -q", "add -A", "-c user.name=T -c user.email=t@example.org commit -qm Data"):
        subprocess.run(["git", *command.split()], check=True)
    said = run("summary", width=240)
    assert "! r001: not published yet, and params.yaml was edited since they were planned" in said
    assert "a plain `dvc repro` keeps the old settings" in said


def test_precision_and_recall_are_printed_where_the_truth_is_known(clone: Path) -> None:
    finish()
    assert re.search(r"core +6 +4 +4 +66\.7 +100\.0", run("summary"))
    finish(truth=False)
    assert "planted" not in run("summary")
    assert "recall" not in run("summary")


def test_a_missing_test_set_is_a_caveat(clone: Path) -> None:
    finish(pool=False)
    metrics = tables.read_json(paths.metrics("evaluate"))
    metrics["test"] = {"samples": 5, "kind": "held_out", "caveat": "No test set: a held-out fold."}
    paths.metrics("evaluate").write_text(str(metrics).replace("'", '"').replace("True", "true").replace("nan", "NaN"))
    text = run("summary")
    assert "! No test set: a held-out fold." in text
    assert "5 held-out samples of the core" in text
    assert "! No rounds: nothing was added to the core." in text


def test_without_features_the_backbone_is_unknown(clone: Path) -> None:
    finish()
    paths.features("core").unlink()
    assert "unknown: data/features/core.h5 is not here" in run("summary")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"backbone": "ready", "weights": "none"}, "the features were delivered ready"),
        ({"backbone": "resnet34", "weights": "w.pth"}, "resnet34 with weights w.pth"),
        ({"backbone": "resnet34", "weights": "none", "seed": 3}, "resnet34, untrained: random weights from seed 3"),
    ],
)
def test_the_backbone_is_said_plainly(network: dict[str, Any], said: str) -> None:
    assert said in summary.backbone(network)


def test_a_run_that_never_was_is_one_line_on_stderr(clone: Path, project: Path) -> None:
    result = in_a_process(clone, project, "summary")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "diva: data/metrics/evaluate.json must exist, got nothing; `diva run` makes it.\n"


def test_damaged_metrics_are_named(clone: Path) -> None:
    finish()
    paths.SUMMARY.write_text("{")
    with pytest.raises(ValueError, match=r"data/release/summary\.json must be readable JSON"):
        run_metrics.read()


def test_differences_whose_interval_excludes_zero_are_coloured(clone: Path) -> None:
    finish()
    rows = {row.cells[0]: row for row in summary.sets(run_metrics.read()).rows}
    assert rows["everything"].verdict == "better"
    assert rows["uniform, of equal size"].verdict == "worse"
    assert rows["core"].verdict == ""
    assert len(terminal.table(summary.sets(run_metrics.read()), 80).columns) == 5


# init


def test_an_option_that_takes_one_value_may_stand_once(clone: Path) -> None:
    result = CliRunner().invoke(cli.app, ["init", "--core", "a", "--core=b"])
    assert result.exit_code == 2
    assert "'--core': it may stand once" in result.output


def test_init_writes_a_valid_project_and_keeps_the_comments(clone: Path) -> None:
    before = paths.PARAMS.read_text()
    core, pool = photos(clone / "mine"), photos(clone / "more", seed=1)
    text = run("init", "--core", core, "--pool", pool, "--weights", "none", "--backbone", "resnet34")
    assert "mine: 6 images, 2 classes" in text
    after = paths.PARAMS.read_text()
    params = yaml.safe_load(after)
    assert params["extract"]["backbone"] == "resnet34"
    assert (params["extract"]["resize"], params["extract"]["crop"]) == (256, 224)
    assert params["extract"]["weights_sha256"] is None
    assert [line.split("#")[1:] for line in after.splitlines()] == [line.split("#")[1:] for line in before.splitlines()]
    assert faults(params) == faults(yaml.safe_load(before))
    assert ledger.read().batches["core"].source == "mine"


def test_each_pool_is_a_batch_and_later_rounds_draw_from_the_newest(clone: Path) -> None:
    core = vectors(clone / "core.npz")
    pools = [vectors(clone / f"pool{seed}.npz", seed=seed) for seed in (1, 2)]
    run("init", "--core", core, "--pool", pools[0], "--pool", pools[1], "--rounds", "3")
    book = ledger.read()
    assert [book.batches[name].source for name in ("b001", "b002")] == pools
    assert [book.rounds[name].pool for name in ledger.chain(book.rounds, "rounds")] == ["b001", "b002", "b002"]
    params = yaml.safe_load(paths.PARAMS.read_text())
    assert book.rounds["r001"].settings == {"extend": params["extend"], "curate": params["curate"]}


def test_without_a_pool_there_are_no_rounds(clone: Path) -> None:
    text = run("init", "--core", vectors(clone / "core.npz"))
    book = ledger.read()
    assert (book.pool, book.rounds, book.latest) == ({}, {}, "r000")
    assert (book.batches["test"].source, book.batches["test"].checksum) == ("none", "none")
    assert "no pool" in text


def test_ready_features_leave_the_network_alone(clone: Path) -> None:
    before = paths.PARAMS.read_text()
    run("init", "--core", vectors(clone / "core.npz"))
    assert paths.PARAMS.read_text() == before


def test_a_list_of_images_is_a_source(clone: Path) -> None:
    photos(clone / "mine")
    rows = [f"mine/{name}/{number}.png,{name}" for name in ("cat", "dog") for number in range(3)]
    (clone / "list.csv").write_text("\n".join(["path,label", *rows]))
    assert "list.csv: 6 images, 2 classes" in run("init", "--core", "list.csv", "--weights", "none")


def test_a_weights_file_is_checked_and_its_checksum_kept(clone: Path) -> None:
    import torch
    import torchvision

    torch.save(torchvision.models.squeezenet1_1().state_dict(), clone / "net.pth")
    core = photos(clone / "mine")
    run("init", "--core", core, "--backbone", "squeezenet1_1", "--weights", "net.pth")
    params = yaml.safe_load(paths.PARAMS.read_text())
    assert re.fullmatch("[0-9a-f]{64}", params["extract"]["weights_sha256"])
    with pytest.raises(ValueError, match="weights must be of the network resnet18"):
        run("init", "--core", core, "--backbone", "resnet18", "--weights", "net.pth")


def test_torchvision_test_sets_are_their_test_part() -> None:
    assert project.options_of("torchvision:CIFAR10", "test") == {"split": "test"}
    assert project.options_of("torchvision:CIFAR10", "b001") == {"split": "train"}
    assert project.options_of("photos", "test") == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--core", "nowhere"], "--core: source must be .*got 'nowhere', and nothing lies there"),
        (["--core", "none"], "--core: the core must hold labelled samples"),
        (["--core", "notes.txt"], "notes.txt must have the columns path and label, got no data"),
        (["--core", "empty"], "--core: empty must hold labelled samples, got none"),
        (["--core", "single"], "--core: single must hold at least two classes, got one"),
        (["--core", "mine", "--pool", "mine"], "--pool: mine must be a delivery of its own, got the content of core"),
        (["--core", "mine", "--pool", "a.npz"], "--pool: a.npz must hold images, as the core does, got features"),
        (["--core", "a.npz", "--test", "b.npz"], "--test: b.npz must have 5 features, as the core, got 6"),
        (["--core", "mine", "--backbone", "resnet35"], "resnet35; near: .*resnet34"),
        (["--core", "mine", "--weights", "no.pth"], "weights must be DEFAULT, none or an existing file, got no.pth"),
        (["--core", "torchvision:CIFAR11"], "--core: torchvision:CIFAR11 must name a data set of torchvision"),
    ],
)
def test_a_wrong_source_is_refused_and_nothing_written(clone: Path, arguments: list[str], message: str) -> None:
    photos(clone / "mine")
    photos(clone / "single", ("cat",))
    (clone / "empty").mkdir()
    (clone / "notes.txt").write_text("no data")
    vectors(clone / "a.npz")
    vectors(clone / "b.npz", width=6)
    before = [path.read_bytes() for path in (paths.PARAMS, paths.LEDGER)]
    quick = [] if "--weights" in arguments else ["--weights", "none"]
    with pytest.raises(ValueError, match=message):
        run("init", *arguments, *quick)
    assert [path.read_bytes() for path in (paths.PARAMS, paths.LEDGER)] == before


def test_a_ledger_of_other_data_is_replaced_only_by_force(clone: Path) -> None:
    core, other = vectors(clone / "core.npz"), vectors(clone / "other.npz", seed=1)
    run("init", "--core", core)
    run("init", "--core", core, "--rounds", "2")  # the same data
    before = paths.LEDGER.read_bytes()
    with pytest.raises(ValueError, match=r"core \(core\.npz\).*--force"):
        run("init", "--core", other)
    assert paths.LEDGER.read_bytes() == before
    run("init", "--core", other, "--force")
    assert ledger.read().batches["core"].source == other


def test_a_mistake_is_one_line_and_never_a_traceback(clone: Path, project: Path) -> None:
    result = in_a_process(clone, project, "init", "--core", "nowhere")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("diva: --core: source must be")
    assert result.stderr.count("\n") == 1


def test_a_wrong_command_line_is_exit_code_2(clone: Path, project: Path) -> None:
    result = in_a_process(clone, project, "init")
    assert result.returncode == 2
    assert "--core" in result.stderr
    assert in_a_process(clone, project, "unknown").returncode == 2


def test_without_params_the_remedy_is_named(clone: Path) -> None:
    paths.PARAMS.unlink()
    with pytest.raises(ValueError, match=r"params\.yaml must exist; run in the project's folder"):
        run("init", "--core", vectors(clone / "core.npz"))


COMMANDS = (
    "add x.npz --to pool", "plan", "summary", "versions", "show", "diff a", "verify", "rollback a",
    "export a --to b", "review", "review --serve", "review --finish", "review --apply a.csv", "forget a",
    "relabel a.csv", "compact", "sync", "sync origin", "run", "night", "upgrade", "why a", "label a.csv",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_outside_a_project_every_command_says_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^/\S+ must be a project's folder, got none of params\.yaml and [^\n]+$"):
        run(*command.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["versions", "show", "verify", "export a --to b", "sync origin"])
def test_outside_git_what_concerns_versions_says_one_sentence(clone: Path, command: str) -> None:
    with pytest.raises(ValueError, match=r"^The project must be a git repository with a commit, got none; [^\n]+$"):
        run(*command.split())


def test_long_paths_are_not_broken(clone: Path) -> None:
    folder = clone / ("a folder " + 90 * "x")
    text = run("init", "--core", photos(folder).replace(folder.name, str(folder)))
    assert str(folder.name.split()[-1]) in text


@pytest.mark.parametrize("text", ["extract: [", "just text", "extract: {}\n"])
def test_params_that_cannot_be_used_are_refused(clone: Path, text: str) -> None:
    paths.PARAMS.write_text(text)
    with pytest.raises(ValueError, match=r"^params\.yaml"):
        run("init", "--core", vectors(clone / "core.npz"))
    assert paths.PARAMS.read_text() == text


# plan


def test_ready_features_need_no_extraction(clone: Path) -> None:
    run("init", "--core", vectors(clone / "core.npz"), "--pool", vectors(clone / "pool.npz", seed=1))
    text = run("plan")
    assert "0 to extract" in text
    assert "n = 24 (core and pool), p = 5, k = 3" in text
    assert re.search(r"disk +about [\d.]+ MB beside the deliveries", text)
    assert re.search(r"time +about \d+ seconds? for all stages: fit and scores \d+\s+seconds?, rounds", text)
    assert re.search(r"memory +about [\d.]+ [MG]B at the peak", text)


def test_images_are_measured_with_the_network_itself(clone: Path) -> None:
    run("init", "--core", photos(clone / "mine"), "--weights", "none", "--backbone", "squeezenet1_1")
    text = run("plan")
    assert "6 to extract with squeezenet1_1" in text
    assert re.search(r"\d+ images/s, measured on \d+ images", text)
    assert "p = 512, k = 2" in text
    assert re.search(r"time +about \d+ seconds? for all stages: images \d+\s+seconds?", text)


def extract_section() -> dict[str, Any]:
    section: dict[str, Any] = yaml.safe_load(paths.PARAMS.read_text())["extract"]
    return section | {"backbone": "resnet18", "weights": "none", "seed": 0}


def transform(section: dict[str, Any]) -> str:
    return str({name: section[name] for name in plan.TRANSFORM}).replace("'", '"')


def test_features_that_are_there_are_not_extracted_again(clone: Path) -> None:
    photos(clone / "mine")
    rows = [
        manifest.Sample(f"{number:032x}", path.as_posix(), path.parent.name)
        for number, path in enumerate(sorted(Path("mine").rglob("*.png")))
    ]
    manifest.write(paths.manifest("core"), manifest.samples(rows))
    run("init", "--core", "mine", "--weights", "none")
    section = extract_section()
    features("core", transform=transform(section))
    assert plan.loads(ledger.read(), section)[0].remaining == 0
    for change in ({"backbone": "resnet34"}, {"seed": 1}, {"crop": 128}, {"weights": "DEFAULT"}):
        assert plan.loads(ledger.read(), section | change)[0].remaining == 6


def test_a_manifest_of_other_data_counts_for_nothing(clone: Path) -> None:
    deliver("core", 24, truth=False, images=True)  # what an earlier ledger's download left
    run("init", "--core", photos(clone / "mine"), "--weights", "none")
    section = extract_section()
    features("core", transform=transform(section))
    load = plan.loads(ledger.read(), section)[0]
    assert (load.samples, load.remaining) == (6, 6)


@pytest.mark.parametrize(("seconds", "said"), [(3.2, "3 seconds"), (600, "10 minutes"), (9000, "2.5 hours")])
def test_durations_read_well(seconds: float, said: str) -> None:
    assert plan.duration(seconds) == said


# the command itself


def test_the_command_imports_nothing_heavy(project: Path) -> None:
    heavy = ("torch", "torchvision", "polars", "sklearn", "prefect", "dvc")
    code = f"import diva.commands.cli, sys; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=project, check=False).returncode == 0


def test_the_version_is_that_of_the_distribution() -> None:
    assert run("--version").strip() == f"diva {metadata.version('diva-curation')}"


def test_a_shell_can_complete_the_commands(clone: Path, project: Path) -> None:
    told = "import os, sys; sys.argv = ['diva']; from diva.commands.cli import main; main()"
    environment = {"PYTHONPATH": str(project), "PATH": "", "_DIVA_COMPLETE": "complete_bash"}
    environment |= {"COMP_WORDS": "diva ver", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["versions", "verify"]


def test_every_command_is_documented(clone: Path) -> None:
    for command in cli.app.registered_commands:
        assert command.callback is not None
        assert f"diva {command.callback.__name__}" in (cli.__doc__ or "")
    assert "Usage" in run("--help")


# profiles


def test_the_papers_profile_is_applied_and_what_the_command_says_goes_over_it(clone: Path, project: Path) -> None:
    shutil.copytree(project / "profiles", clone / "profiles")
    photos(clone / "core")
    photos(clone / "pool", seed=1)
    run("init", "--core", "core", "--pool", "pool", "--profile", "paper")
    params = yaml.safe_load(paths.PARAMS.read_text())
    assert faults(params) == []
    assert (params["extract"]["backbone"], params["extract"]["weights"]) == ("resnet34", "DEFAULT")
    assert (params["reweight"]["loss"], params["curate"]["score"]) == ("hard_margin", "derivative")
    settings = ledger.read().rounds["r001"].settings
    assert settings["extend"]["loss"] == "hard_margin"
    assert settings["curate"]["rule"] == "derivative"
    assert "# ImageNet" not in paths.PARAMS.read_text()  # comments stay those of params.yaml
    assert "# the largest change of a weight in a step" in paths.PARAMS.read_text()
    run("init", "--core", "core", "--profile", "paper", "--backbone", "resnet18", "--weights", "none", "--force")
    params = yaml.safe_load(paths.PARAMS.read_text())
    assert (params["extract"]["backbone"], params["reweight"]["loss"]) == ("resnet18", "hard_margin")


def test_a_profile_of_ones_own_must_know_the_parameters(clone: Path) -> None:
    photos(clone / "core")
    for text, said in (
        ("reweight: {lost: all}", "must have keys of params.yaml only, got lost"),
        ("reweigh: {loss: all}", "must have a section 'reweigh'"),
        ("- reweight", "must hold one section per stage, got list"),
        ("a: [", "must be readable YAML"),
    ):
        (clone / "mine.yaml").write_text(text)
        with pytest.raises(ValueError, match=said):
            run("init", "--core", "core", "--profile", "mine.yaml")
    with pytest.raises(ValueError, match="--profile must be"):
        run("init", "--core", "core", "--profile", "absent")


def test_init_takes_a_data_set_of_the_paper_from_where_it_lies(clone: Path) -> None:
    from tests.ingest.test_catalog import pets

    pets(clone / "mine")
    said = run(
        "init",
        "--core",
        "dataset:pets@mine",
        "--test",
        "dataset:pets@mine",
        "--backbone",
        "resnet18",
        "--weights",
        "none",
    )
    assert "counted once it is downloaded" in said
    book = ledger.read()
    assert book.batches["core"].options == {"split": "train"}
    assert book.batches["test"].options == {"split": "test"}
