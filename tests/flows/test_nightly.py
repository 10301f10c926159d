"""The nightly flow: what a night does, what it refuses, what it leaves alone."""

import json
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest
import yaml

from diva.store import evaluation, ledger, paths
from diva.store.digests import sha256
from diva.store.features import FeatureFile
from diva.versions import processes, published, repository, rounds, sets, verify
from diva.versions.locks import exclusive
from diva.versions.pipeline import locked_stages, up_to_date
from diva.versions.processes import BusyError, CommandError, PermanentError
from diva.versions.published import versions
from diva.vision import revision
from flows import deliveries, extend, provenance, work
from flows.options import Options
from tests.projects.in_process import at, run_here

pytestmark = pytest.mark.xdist_group("flows")  # one worker, one server

TOLD = Options()


def test_a_round_whose_push_fails_stays_unpublished(night):
    assert night.failed.state.is_failed()
    assert "dvc push failed" in str(night.failed.state.message)
    assert night.tags == ["curated@v0.1.0"]
    assert night.commits == 1


def test_the_next_run_completes_a_round_whose_push_failed(night):
    assert night.finished.state.is_completed()
    assert night.project.tags() == ["curated@v0.1.0", "curated@v0.2.0"]
    assert night.finished.stages == set()  # all was reproduced, only the push was missing


def test_a_new_batch_extracts_its_images_and_reruns_no_earlier_round(night):
    always = {
        "code",
        "reweight",
        "release",
        "evaluate",
        "report",
    }  # code of rounds, and of what they rest on, was edited, which reruns none
    assert night.failed.stages == {"download@b002", "extract@b002", "pool@b002", "extend@r002", "curate@r002"} | always
    assert [line for line in night.failed.lines if "images, " in line] == ["60 of 60 images, 1 images/s, 0 s left."]


def test_versions_before_and_after_new_code_are_whole(night):
    with at(night.project):
        assert [verdict.faults for verdict in verify.verify(versions())] == [(), ()]
        assert [verdict.faults for verdict in verify.verify([published.find()])] == [()]
        assert (
            sha256(Path("diva/store/features.py"))
            != json.loads(paths.code("fit").read_text())["diva/store/features.py"]
        )


def test_every_learner_judges_the_last_version_of_a_night_alone(published):
    """Also where a night went back to one before it, and no round is to come."""
    published.set(lambda params: params["extend"].update(per_round=30))
    published.deliver("d2", 300)
    night = run_here()
    assert night.state.is_completed()
    assert night.lines.count("Running stage 'evaluate':") == 2, "a round that finds nothing more is judged once"
    tags = published.tags()
    judged = [json.loads(published.git("show", f"{tag}:data/metrics/evaluate.json")) for tag in tags]
    assert [metrics.get("interim", False) for metrics in judged] == [False, True, False]
    assert [verdict.faults for verdict in verify.verify(versions())] == [(), (), ()]
    assert [version.interim for version in versions()] == [False, True, False]
    published.diva("rollback", tags[1])
    assert up_to_date()
    assert evaluation.is_interim()
    options = {"budget": 90}  # what the version has
    assert work.reasons(Options(**options)) == ["the newest set was not judged by every learner yet"]
    assert run_here(**options).stages == {"evaluate", "report"}
    assert not evaluation.is_interim()
    assert work.reasons(Options(**options)) == []
    assert published.tags() == tags


def test_only_ledger_lock_file_and_metrics_are_committed(night):
    changed = night.project.git("diff", "--name-only", "HEAD~1", "HEAD").splitlines()
    ignored = [name for name in changed if name.endswith(".gitignore")]
    assert {"data/ledger.yaml", "dvc.lock", "data/metrics/rounds/r002.json"} <= set(changed)
    assert all(name.startswith("data/metrics/") for name in set(changed) - {"data/ledger.yaml", "dvc.lock", *ignored})


def test_a_night_without_work_imports_neither_prefect_nor_torch(published):
    code = (
        "import runpy, sys\n"
        "try:\n    runpy.run_module('flows.nightly', run_name='__main__')\n"
        "except SystemExit as end:\n    print(end.code, {'prefect', 'torch', 'dvc'} & set(sys.modules))"
    )
    told = published.run(sys.executable, "-c", code).stdout
    assert told.splitlines() == ["Nothing to do.", "0 set()"]


def test_forty_rounds_without_work_end_in_time(published):
    content = ledger.read().model_dump()
    first = content["rounds"]["r001"]
    for number in range(2, 41):
        content["rounds"][f"r{number:03d}"] = {**first, "previous": f"r{number - 1:03d}"}
    ledger.write(paths.LEDGER, ledger.validated({**content, "latest": "r040"}))
    told = json.loads((paths.METRICS / "rounds/r001.json").read_text())
    (paths.METRICS / "rounds/r040.json").write_text(json.dumps(told))
    published.commit()
    for number in range(2, 41):
        published.git("tag", "-a", f"curated@v0.{number}.0", "-m", "a round")
    begun = time.monotonic()
    assert published.nightly().stdout == "Nothing to do.\n"
    assert time.monotonic() - begun < 15


def test_the_second_of_two_runs_ends_at_once_and_says_why(published):
    published.deliver("d2", 300)
    with exclusive():
        done = published.nightly(check=False)
    assert done.returncode == 75
    assert "is at work here" in done.stderr
    assert "d2" not in done.stdout


def test_a_deployment_that_finds_a_run_at_work_is_skipped(published):
    holder = "from diva.versions.locks import exclusive\nwith exclusive():\n    print('held', flush=True)\n    input()"
    process = published.start(sys.executable, "-c", holder, stdin=subprocess.PIPE)
    assert process.stdout.readline() == "held\n"
    state = run_here().state
    process.communicate("\n")
    assert (state.name, state.is_completed()) == ("Skipped", True)
    assert "is at work here" in state.message


@pytest.mark.parametrize("file", ["params.yaml", "stages/extend.py", "diva/added.py"])
def test_uncommitted_code_or_parameters_are_refused(published, file):
    with (published.root / file).open("a") as stream:
        stream.write("\n# changed\n")
    with pytest.raises(ValueError, match=rf"must be committed .*{file}"):
        work.reasons(TOLD)


def test_other_uncommitted_files_do_not_matter(published):
    (published.root / "notes.txt").write_text("mine")
    assert work.reasons(TOLD) == []


def test_a_misspelt_parameter_is_named(published):
    published.set(lambda params: params["extend"].update(per_rond=3))
    with pytest.raises(ValueError, match="per_rond"):
        work.reasons(TOLD)


def test_new_parameters_and_new_code_shape_the_next_round_alone(deployed, night):
    for path in (paths.curated("r001"), paths.changes("r001")):
        assert (night.project.root / path).read_bytes() == (deployed.root / path).read_bytes()
    assert not {"extend@r001", "curate@r001"} & night.failed.stages
    before, after = deployed.ledger()["rounds"], night.project.ledger()["rounds"]
    assert after["r001"] == before["r001"]
    assert after["r002"]["settings"]["extend"]["per_round"] == 61
    assert after["r002"]["commit"] == night.project.git("rev-parse", "HEAD~1") != before["r001"]["commit"]


def test_a_newest_tag_that_points_elsewhere_is_refused(published):
    content = ledger.read().model_dump()
    content["rounds"]["r002"] = {**content["rounds"]["r001"], "previous": "r001"}
    ledger.write(paths.LEDGER, ledger.validated({**content, "latest": "r002"}))
    published.git("tag", "-a", "curated@v0.2.0", "-m", "a round")
    with pytest.raises(ValueError, match=r"curated@v0.2.0 must point to the commit that published r002, got .* r001"):
        work.reasons(TOLD)


@pytest.mark.parametrize(
    ("key", "name", "change"), [("rounds", "r001", {"commit": "none"}), ("batches", "b001", {"source": "elsewhere"})]
)
def test_a_published_entry_changed_by_hand_is_refused_with_the_way_back(published, key, name, change):
    whole = paths.LEDGER.read_text()
    content = yaml.safe_load(whole)
    content[key][name] |= change
    ledger.write(paths.LEDGER, ledger.validated(content))
    with pytest.raises(ValueError, match=rf"data/ledger.yaml:{key}.{name} must be as curated@v0.1.0 published it"):
        work.reasons(TOLD)
    published.git("checkout", "--quiet", "curated@v0.1.0", "--", "data/ledger.yaml")
    assert paths.LEDGER.read_text() == whole
    assert work.reasons(TOLD) == []


def test_a_spent_budget_ends_the_rounds(published):
    published.deliver("d2", 300)
    assert not work.more_rounds(ledger.read(), Options(budget=60))
    assert work.more_rounds(ledger.read(), Options(budget=61))


def test_a_newer_review_asks_for_a_round_also_when_the_budget_is_spent(published):
    book = ledger.plan_review(ledger.read(), "forget", "sha256:" + 64 * "0")
    assert work.more_rounds(book, Options(budget=0))


def test_another_backbone_is_refused_with_the_difference_named(published):
    published.set(lambda params: params["extract"].update(backbone="resnet50", crop=16))
    with pytest.raises(ValueError, match=r"backbone is resnet50, was resnet18; crop is 16, was 32"):
        extend.prepare.fn("stop")


def raise_revision(project) -> None:
    path = project.root / "diva/vision/revision.py"
    path.write_text(path.read_text().replace("FEATURES = 1", "FEATURES = 2"))
    project.commit()


def test_code_that_makes_other_features_is_refused_with_the_remedy(published, monkeypatch):
    extend.prepare.fn("stop")
    monkeypatch.setattr(revision, "FEATURES", 2)
    with pytest.raises(ValueError, match=r"of the core's revision 1, got code of revision 2.*--rebase"):
        extend.prepare.fn("stop")
    raise_revision(published)
    assert "Running stage 'extract" not in published.dvc("repro")  # before a new chain, nothing is made anew


def test_features_of_two_revisions_do_not_stand_beside_each_other(published):
    path = paths.features("b001")
    path.chmod(0o644)
    with h5py.File(path, "a") as file:
        file.attrs["revision"] = 2
    with pytest.raises(ValueError, match=r"b001 must be made as the core's were: revision is 2, the core's 1"):
        provenance.require_same_features(ledger.read())


@pytest.mark.slow
def test_a_rebase_makes_features_of_the_new_revision(published):
    raise_revision(published)
    done = published.nightly("--rebase")
    assert {f"Running stage 'extract@{name}'" in done.stdout + done.stderr for name in ("core", "test", "b001")} == {
        True
    }
    assert published.tags() == ["curated@v0.1.0", "curated@v1.2.0"]
    assert json.loads(paths.code("extract").read_text()) == {"revision": 2}
    assert FeatureFile(paths.features("core")).attributes["revision"] == 2
    assert published.nightly().stdout == "Nothing to do.\n"
    assert [verdict.faults for verdict in verify.verify(versions())] == [(), ()]


def test_published_rounds_that_no_longer_follow_stop_the_run_and_can_be_kept(published):
    published.set(lambda params: params["fit"].update(ridges=[0.5, 1.0]))
    kept = paths.curated("r001").read_bytes()
    extend.prepare.fn("stop")
    with pytest.raises(ValueError, match=r"r001: data/fit.*--keep.*--rebase"):
        extend.check_history.fn("stop")
    extend.check_history.fn("keep")
    assert published_is_current()
    assert paths.curated("r001").read_bytes() == kept
    extend.check_history.fn("stop")


def published_is_current() -> bool:
    return published_stale() == {}


def published_stale() -> dict[str, list[str]]:
    return rounds.stale(locked_stages(), ["r001"])


def test_a_rebase_begins_a_new_major_version_and_keeps_the_old(published):
    extend.rebase.fn()
    name = extend.plan.fn(TOLD)
    book = ledger.read()
    assert (name, book.rounds[name].previous) == ("r002", "r000")
    assert published_version(book, name) == "curated@v1.2.0"
    assert published.tags() == ["curated@v0.1.0"]


def published_version(book, name) -> str:
    return rounds.version(book, name, published.by_round()).tag


@pytest.mark.slow
def test_a_rebase_is_published_and_the_old_version_stays_as_it_was(published):
    before = published.git("rev-parse", "curated@v0.1.0")
    assert run_here(stale="rebase").state.is_completed()
    assert published.tags() == ["curated@v0.1.0", "curated@v1.2.0"]
    assert published.git("rev-parse", "curated@v0.1.0") == before
    old, new = (set(sets.read(name)["sample_id"]) for name in published.tags())
    assert old == new
    assert [verdict.faults for verdict in verify.verify(versions())] == [(), ()]
    assert run_here().state.name == "NothingToDo"


def test_a_clone_fetches_what_earlier_runs_stored(published, tmp_path, monkeypatch):
    clone = type(published)(tmp_path / "clone", published.api)
    published.git("clone", "--quiet", str(published.root), str(clone.root))
    monkeypatch.chdir(clone.root)
    clone.dvc("remote", "modify", "--local", "local", "url", str(published.root / ".remote"))
    assert work.reasons(TOLD) == []
    extend.fetch.fn()
    for path in (paths.curated("r001"), paths.TRAIN):
        assert (clone.root / path).read_bytes() == (published.root / path).read_bytes()
    assert clone.dvc("status").strip().endswith("up to date.")


def test_a_clone_without_tags_is_refused(published, tmp_path, monkeypatch):
    published.git("clone", "--quiet", "--no-tags", str(published.root), str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    with pytest.raises(ValueError, match="git fetch --tags origin"):
        work.reasons(TOLD)


def test_commits_and_tags_go_to_the_git_remote_where_one_is_asked_for(published, tmp_path):
    published.git("init", "--quiet", "--bare", str(tmp_path / "bare"))
    published.git("remote", "add", "origin", str(tmp_path / "bare"))
    assert work.reasons(TOLD) == []
    assert work.reasons(Options(git_remote="origin")) == ["versions wait to be pushed to origin"]
    repository.push("origin")
    assert work.reasons(Options(git_remote="origin")) == []
    assert "curated@v0.1.0" in published.git("ls-remote", "--tags", "origin")
    with pytest.raises(ValueError, match="git_remote must be one of"):
        repository.require_remote("elsewhere")


def test_a_delivery_under_another_name_adds_nothing(published):
    published.deliver("again", 200)
    (arrival,) = deliveries.new(ledger.read(), "deliveries")
    assert deliveries.judge(ledger.read(), arrival).outcome == "again was delivered before, as b001; nothing is added"
    assert work.reasons(TOLD) == []


def test_a_night_without_work_says_what_lies_in_the_watched_folder_and_brings_nothing(published):
    published.deliver("again", 200)
    published.deliver("half", 300, complete=False)
    (published.root / "deliveries/odd.csv").write_text("a,b\n1,2\n")
    (published.root / "deliveries/odd.csv.complete").touch()
    said = published.nightly().stdout.splitlines()
    assert said[:3] == [
        "Nothing to do.",
        "Delivery again was delivered before, as b001; nothing is added.",
        "Delivery half waits: .complete is not there yet.",
    ]
    assert said[3].startswith("Delivery odd.csv is refused: ")
    assert len(said) == 4


def test_the_report_of_a_version_is_that_of_its_round(grown):
    release = yaml.safe_load(grown.git("show", "curated@v0.2.0:data/metrics/release.json"))
    assert release["added"] == 120


def test_flows_import_no_torch(project):
    told = "import sys, flows.nightly; print({'torch', 'torchvision', 'dvc'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", told], cwd=project, capture_output=True, text=True).stdout == "set()\n"


def tries(api, errors, policy) -> int:
    """How often a task runs whose first runs end with these errors."""
    from prefect import flow, task

    left, count = list(errors), []

    @task(**(policy | {"retry_delay_seconds": 0}))
    def act() -> None:
        count.append(1)
        if left:
            raise left.pop(0)

    flow(lambda: act(), name="tries")(return_state=True)
    return len(count)


def test_retries_wait_for_dvcs_lock_and_for_disk_and_network_alone(api):
    busy, failed = BusyError("blocked"), CommandError("wrong")
    assert tries(api, [busy, busy, busy, busy, busy], extend.BUSY) == 6
    assert tries(api, [failed], extend.BUSY) == 1
    assert tries(api, [failed, OSError("gone")], extend.OUTSIDE) == 3
    assert tries(api, [ValueError("mistake")], extend.OUTSIDE) == 1
    assert tries(api, [PermanentError("non-fast-forward")], extend.OUTSIDE) == 1


def test_what_fails_the_same_way_again_is_told_from_what_may_pass(published, tmp_path):
    with pytest.raises(PermanentError, match="already exists"):
        repository.tag("curated@v0.1.0", "once more")
    with pytest.raises(PermanentError, match=r"nothing to commit|nothing added"):
        processes.git("commit", "--message", "nothing")
    published.git("config", "tag.gpgSign", "true")
    published.git("config", "gpg.program", str(tmp_path / "none"))
    with pytest.raises(PermanentError, match="sign"):
        repository.tag("curated@v0.9.0", "signed")
