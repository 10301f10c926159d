"""Operations that are killed, or fail, at any step: undone or finished, and what was taken down stays so."""

import hashlib
import re
import shutil
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from diva.commands import reviews as commands
from diva.store import ledger, paths, test_decisions
from diva.versions import contents, operations, published, repository, reviews, rounds, takedowns
from tests.faults.case import REFUSED, UNHARMED, Case
from tests.projects.checkout import Project

pytestmark = pytest.mark.xdist_group("versions")
KILLED = """
import os, sys
from diva.store import ledger
from diva.versions import compact, operations, published, repository, reviews
step, occurrence, call = sys.argv[1:]
module, name = step.split(".")
module, count = globals()[module], []
real = getattr(module, name)
def stop(*arguments, **options):
    count.append(1)
    if len(count) < int(occurrence):
        return real(*arguments, **options)
    os._exit(9)
setattr(module, name, stop)
exec(call)
"""
ROLLBACK = "reviews.roll_back(published.find('v0.1.0'))"
# each step of a rollback, and which call of the function that is
STEPS = [
    ("operations.recorded", 1),
    ("operations.sweep", 1),
    ("operations.dvc", 1),
    ("operations.commit", 1),
    ("operations.settle", 1),
    ("reviews.publish", 1),
]


@pytest.fixture
def mine(two_versions: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two versions; the test runs in their folder."""
    shutil.copytree(two_versions.root, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    return Project(tmp_path / "project")


def kill(project: Project, step: str, occurrence: int, call: str) -> None:
    done = project.run(sys.executable, "-c", KILLED, step, str(occurrence), call, check=False)
    assert done.returncode == 9, done.stderr


def digests() -> dict[str, str]:
    """sha256 of all that lies here, but for the list of takedowns and what DVC keeps for itself."""
    files = [path for path in Path("data").rglob("*") if path.is_file() and path.name != ".gitignore"]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path != takedowns.FILE}


def taken_down() -> set[str]:
    return set(reviews.forgotten(ledger.read())["sample_id"])


@Case("a killed rollback", "takedowns", "at each of its steps, with takedowns since that version", UNHARMED).test
@pytest.mark.parametrize(("step", "occurrence"), STEPS, ids=[step for step, _ in STEPS])
def test_a_killed_rollback_is_undone_or_done_and_loses_no_takedown(mine: Project, step: str, occurrence: int) -> None:
    gone, before = taken_down(), digests()
    kill(mine, step, occurrence, ROLLBACK)
    operations.settle()
    reviews.enforce()
    assert taken_down() == gone != set()
    assert not operations.RECORD.exists()
    assert mine.git("status", "--porcelain") == ""
    if step in ("operations.settle", "reviews.publish"):
        assert ledger.read().latest == "r001"
        assert sorted(path.stem for path in Path("data/curated").glob("*.parquet")) == ["r000", "r001"]
    else:
        assert digests() == before


@Case("a rollback without its data", "operation", "they are neither in the cache nor on the remote", REFUSED).test
def test_a_rollback_whose_data_are_nowhere_changes_nothing(mine: Project) -> None:
    before, head = digests(), mine.git("rev-parse", "HEAD")
    lost = contents.local(published.find("v0.1.0"), paths.TRAIN)
    assert lost is not None
    lost.unlink()
    remote = Path(mine.run("python", "-m", "dvc", "config", "remote.local.url").stdout.strip())
    away = remote.rename(remote.with_suffix(".away"))
    try:
        with pytest.raises(ValueError, match=r"must be in DVC's cache or on its remote.*nothing was changed"):
            operations.rollback(published.find("v0.1.0"))
    finally:
        away.rename(remote)
    assert (digests(), mine.git("status", "--porcelain")) == (before, "")
    assert mine.git("rev-parse", "HEAD") == head


@Case("a rollback that fails", "operation", "on its way, with a full disk", REFUSED).test
def test_a_rollback_that_fails_on_its_way_is_undone(mine: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real = digests(), operations.dvc

    def full(*arguments: str) -> None:
        if arguments == ("checkout",):
            raise OSError("no space left")
        real(*arguments)

    monkeypatch.setattr(operations, "dvc", full)
    with pytest.raises(OSError, match="no space left"):
        operations.rollback(published.find("v0.1.0"))
    assert (digests(), mine.git("status", "--porcelain")) == (before, "")
    assert not operations.RECORD.exists()


@Case("a killed takedown", "takedowns", "at each of its steps", UNHARMED).test
@pytest.mark.parametrize("step", ["reviews.write", "reviews.dvc", "ledger.write", "repository.commit"])
def test_a_takedown_whose_command_is_killed_stands(mine: Project, step: str) -> None:
    sample = pl.read_parquet(paths.TRAIN)["sample_id"][0]
    kill(mine, step, 1, f"reviews.publish(reviews.forget(ledger.read(), ['{sample}']), 'forget')")
    operations.settle()
    reviews.enforce()
    assert sample in taken_down()
    assert not reviews.unmet(ledger.read())
    with pytest.raises(ValueError, match="must hold no sample that was taken down"):
        takedowns.require_absent("r002")
    repository.commit("What lies here")  # as a night does at its end
    assert mine.git("status", "--porcelain") == ""


def test_takedowns_of_projects_from_before_the_list_are_put_on_it(mine: Project) -> None:
    mine.git("rm", "--quiet", str(takedowns.FILE))
    mine.git("commit", "--quiet", "-m", "As it was before")
    assert reviews.enforce() == 0
    assert set(takedowns.read()["sample_id"]) == taken_down() != set()
    assert mine.git("status", "--porcelain") == ""


@Case("a compaction killed before its tag", "operation", "the next command sets it", UNHARMED).test
def test_a_compaction_killed_before_its_tag_gets_it(mine: Project) -> None:
    kill(mine, "operations.publish", 1, "compact.compact()")
    assert [version.name for version in published.versions()] == ["curated@v0.1.0", "curated@v0.2.0"]
    assert operations.settle() == "curated@v0.2.0, compacted is complete."
    assert [version.name for version in published.versions()][-1] == "curated@v0.2.1"


@Case("a compaction killed before its commit", "operation", "the next command undoes it", UNHARMED).test
@pytest.mark.parametrize("step", ["compact.sweep", "repository.commit"])
def test_a_compaction_killed_before_its_commit_is_undone(mine: Project, step: str) -> None:
    before = digests()
    kill(mine, step, 1, "compact.compact()")
    assert "is undone" in operations.settle()
    assert (digests(), mine.git("status", "--porcelain")) == (before, "")


def test_decisions_on_the_test_set_stand_apart_and_no_rollback_takes_them_back(
    mine: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file decides on both; what trains learns of its own half alone."""
    tested, core = reviews.tested()["sample_id"], pl.read_parquet(paths.CORE)["sample_id"]
    book, file = ledger.read(), mine.root.parent / "review.csv"
    file.write_text(f"sample_id,decision,label,note\n{tested[0]},relabel,3,a 3\n{tested[1]},accept,,\n")
    commands.review(apply=file, serve=False, finish=False)
    assert "2 decisions" in capsys.readouterr().out
    assert ledger.read() == book, "nothing of it trains"
    said = [(tested[0], "relabel", "3", "a 3"), (tested[1], "accept", None, None)]
    assert set(test_decisions.read().drop("reviewer").rows()) == set(said)
    commands.review(apply=file, serve=False, finish=False)
    assert "decided before" in capsys.readouterr().out
    file.write_text(f"sample_id,decision,label,note\n{tested[2]},reject,,=1+1\n{core[-1]},accept,,\n")
    commands.review(apply=file, serve=False, finish=False)
    assert set(reviews.read(ledger.read())["sample_id"]) & {*tested} == set()
    assert core[-1] in reviews.read(ledger.read())["sample_id"]
    assert not repository.uncommitted("data")
    reviews.roll_back(published.find("v0.1.0"))
    assert set(test_decisions.read()["sample_id"]) == set(tested[:3])
    assert test_decisions.read().filter(sample_id=tested[2])["note"].item() == "=1+1"
    capsys.readouterr()
    commands.review(apply=None, serve=False, finish=False, history=True)
    listed = " ".join(capsys.readouterr().out.split())
    assert re.search(rf"test set {tested[0][:9]}\w* relabel 3 ", listed)
    assert f"git log -p {paths.TEST_DECISIONS}" in listed
    commands.review(apply=None, serve=False, finish=False)
    assert "1 accept, 1 reject, 1 relabel" in capsys.readouterr().out
    file.write_text("sample_id,decision,label,note\nnobody,accept,,\n")
    with pytest.raises(ValueError, match="must be that of a sample of core, pool or test set"):
        commands.review(apply=file, serve=False, finish=False)
    test_decisions.FILE.write_text(test_decisions.FILE.read_text() + f"{tested[0]},accept,,,\n")
    with pytest.raises(ValueError, match="must have one decision a sample"):
        test_decisions.read()


def test_a_set_with_a_takedown_is_not_compacted(mine: Project) -> None:
    takedowns.add(pl.read_parquet(paths.TRAIN).head(1).select("sample_id", note=pl.lit("forgotten")))
    mine.git("commit", "--quiet", "-m", "A takedown")
    call = "from diva.versions import compact; compact.compact()"
    assert "must hold no sample that was taken down" in mine.run(sys.executable, "-c", call, check=False).stderr


def test_going_back_over_a_compaction_leaves_a_history_that_nights_accept(
    compacted_versions: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(compacted_versions.root, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    Project(tmp_path / "project").diva("rollback", "curated@v0.2.0")
    book = ledger.read()
    assert not book.base
    rounds.require_history(book, published.by_round())
    changed = book.model_dump()
    changed["rounds"]["r002"]["settings"]["extend"]["per_round"] = 77
    ledger.write(paths.LEDGER, ledger.validated(changed))
    with pytest.raises(ValueError, match=r"must be as curated@v0\.2\.1 published it"):
        rounds.require_history(ledger.read(), published.by_round())


def test_rounds_that_ran_before_a_version_was_published_and_are_no_part_of_it_keep_nobody_from_going_back(
    mine: Project,
) -> None:
    """A run makes all planned rounds, a night publishes one at a time: its lock names outputs of the others."""
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    entry = lock["stages"]["curate@r002"]
    out = {"path": "data/curated/r009.parquet", "hash": "md5", "md5": "0" * 32, "size": 1}
    lock["stages"]["curate@r009"] = entry | {"outs": [out]}
    Path("dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    repository.commit("Lock a round that never was")
    repository.tag("curated@v0.2.1", "v0.2.1")
    operations.require_data(published.find("v0.2.1"))
    del lock["stages"]["curate@r009"]
    lock["stages"]["curate@r002"]["outs"][0]["md5"] = "0" * 32
    Path("dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    repository.commit("Lock what is nowhere")
    repository.tag("curated@v0.2.2", "v0.2.2")
    with pytest.raises(ValueError, match="must be in DVC's cache or on its remote"):
        operations.require_data(published.find("v0.2.2"))
    with pytest.raises(ValueError, match=r"v0\.2\.2 is what lies here: there is nothing to roll back"):
        operations.rollback(published.find("v0.2.2"))
