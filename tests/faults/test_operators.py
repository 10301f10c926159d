"""Faults of a shared git remote: two operators, tags that are lost or lie, a remote that does not answer."""

from pathlib import Path

import polars as pl
import pytest

from diva.commands import project, versions
from diva.commands import reviews as commands
from diva.store import ledger, paths, test_decisions
from diva.versions import operations, processes, published, remote, repository, reviews, rounds, sync, takedowns
from flows import nightly, work
from flows.options import Options
from tests.faults.case import REFUSED, UNHARMED, Case
from tests.flows import operators
from tests.flows.operators import Clone, deliver, night
from tests.projects import digits

pytestmark = pytest.mark.xdist_group("operators")
Pair = tuple[Clone, Clone]


@pytest.fixture(autouse=True)
def _never_hangs() -> None:
    """Every command ends by itself."""


def at_remote(clone: Clone) -> dict[str, str]:
    return operators.tagged(clone.project.root.parent / "git")


@Case("a clone that is behind", "operators", "the other operator published a round", UNHARMED).test
def test_who_is_behind_catches_up_and_goes_on_from_there(pair: Pair) -> None:
    first, second = pair
    for clone, version in ((first, "curated@v0.2.0"), (second, "curated@v0.3.0")):
        deliver(clone)
        with clone.at_work():
            assert night() == f"Published: {version}."
    with first.at_work():
        assert night() == "Published: no new version."  # only what the other published
        assert night() == "Nothing to do."
        operators.assert_complete([("a", 1), ("a", 2), ("b", 1)])
    assert first.tags() == second.tags() == at_remote(first)


@Case(
    "two clones that have diverged",
    "operators",
    "a round that could not be pushed, and another one on the remote",
    REFUSED,
).test
def test_who_has_diverged_is_told_of_the_command_that_puts_both_together(pair: Pair) -> None:
    first, second = pair
    away, there = (first.project.root.parent / name for name in ("away", "git"))
    deliver(second)
    with second.at_work():
        planned = remote.catch_up

        def unplugged(target: str) -> bool:
            outcome = planned(target)
            there.rename(away)
            return outcome

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(remote, "catch_up", unplugged)
            with pytest.raises(processes.CommandError, match="git push"):
                night()
        away.rename(there)
    assert list(second.tags()) == ["curated@v0.1.0"]  # a name is claimed on the remote first
    deliver(first)
    with first.at_work():
        night()
        gone = pl.read_parquet(paths.TRAIN)["sample_id"][0]
        commands.forget([gone], why="asked")
        tested = reviews.tested()["sample_id"].sort()
        decide(tested[0], "accept")
        decide(tested[1], "reject")
    with second.at_work():
        decide(tested[1], "accept")
        decide(tested[2], "reject")
        with pytest.raises(remote.DivergedError, match="`diva sync`"):
            night()
        versions.sync(None)
        assert night() == "Published: curated@v0.3.0."
        assert takedowns.read()["sample_id"].to_list() == [gone]
        said = {tested[0]: "accept", tested[1]: "accept", tested[2]: "reject"}
        assert dict(test_decisions.read().select("sample_id", "decision").iter_rows()) == said, "of both, own on top"
        assert gone not in set(pl.read_parquet(paths.TRAIN)["sample_id"])
        operators.assert_complete([("a", 1), ("a", 2), ("b", 1)])
    assert second.tags() == at_remote(second)


def decide(sample_id: str, decision: str) -> None:
    Path("review.csv").write_text(f"sample_id,decision,label,note\n{sample_id},{decision},,\n")
    commands.review(apply=Path("review.csv"), serve=False, port=0, finish=False)


@Case("a version without its tag", "operators", "killed after its commit was pushed, before the tag", UNHARMED).test
@pytest.mark.parametrize("decides", [False, True])
@pytest.mark.parametrize("purges", [False, True])
def test_the_tag_of_what_another_clone_compacted_is_set_where_it_was_killed_before(
    pair: Pair, purges: bool, decides: bool
) -> None:
    """Also where decisions came on top before a night."""
    first, second = pair

    def stop(*_: object) -> None:
        raise operators.Killed

    with first.at_work():
        if purges:
            commands.forget(pl.read_parquet(paths.TRAIN)["sample_id"][:1].to_list(), why="asked")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(remote, "tag", stop)
            with pytest.raises(operators.Killed):
                commands.forget(purge=True) if purges else versions.compact()
    name = "curated@v1.1.0" if purges else "curated@v0.1.1"
    assert name not in at_remote(first)
    deliver(second)
    with second.at_work():
        if decides:
            decide(pl.read_parquet(paths.CORE)["sample_id"][-1], "accept")
            decide(reviews.tested()["sample_id"][0], "accept")
        assert night() == f"Published: curated@v{name[9]}.2.0."
    with first.at_work():
        night()
    assert first.tags() == second.tags() == at_remote(first)
    assert name in first.tags()


@Case("a takedown in another clone", "operators", "both take something down", UNHARMED).test
def test_a_takedown_is_pushed_and_the_other_clone_has_it_before_it_does_anything(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = pair
    with first.at_work():
        one, two = pl.read_parquet(paths.TRAIN)["sample_id"][:2]
        commands.forget([one], why="asked")
    assert "to origin" in capsys.readouterr().out
    with second.at_work():
        commands.forget([two], why="asked, too")
        assert set(takedowns.read()["sample_id"]) == {one, two}
        assert list(ledger.read().reviews) == ["v001", "v002"]


@Case("a takedown without the remote", "operators", "it does not answer; a compaction is refused then", UNHARMED).test
def test_a_takedown_stands_where_the_remote_does_not_answer(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    clone, _ = pair
    there = clone.project.root.parent / "git"
    with clone.at_work():
        one = pl.read_parquet(paths.TRAIN)["sample_id"][0]
        there.rename(there.with_name("away"))
        commands.forget([one], why="asked")
        assert "not yet: the next night" in capsys.readouterr().out
        assert list(takedowns.read()["sample_id"]) == [one]
        with pytest.raises(ValueError, match="origin must answer"):
            versions.compact()
        there.with_name("away").rename(there)
        night()
        assert repository.unpushed("origin") is False


def test_what_no_round_published_is_not_pushed_with_a_takedown_in_it(pair: Pair) -> None:
    clone, _ = pair
    with clone.at_work():
        takedowns.add(pl.read_parquet(paths.TRAIN).head(1).select("sample_id", note=pl.lit("forgotten")))
        before = processes.git("rev-parse", "HEAD")
        with pytest.raises(ValueError, match="must hold no sample that was taken down, got 1"):
            nightly.publish_rest()
        assert processes.git("rev-parse", "HEAD") == before


def compacted_and_killed(clone: Clone) -> None:
    """A compaction whose process is gone between its commit and its tag."""
    with clone.at_work(), pytest.MonkeyPatch.context() as patch:

        def killed(*_: object) -> None:
            raise operators.Killed

        patch.setattr(operations, "publish", killed)
        with pytest.raises(operators.Killed):
            versions.compact()
        assert operations.RECORD.is_file()


def test_a_compaction_that_the_remote_refuses_is_given_up_and_locks_nobody_out(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = pair
    compacted_and_killed(second)
    deliver(first)
    with first.at_work():
        night()
    with second.at_work():
        gone = pl.read_parquet(paths.TRAIN)["sample_id"][0]
        commands.forget([gone], why="asked")
        assert "curated@v0.1.1 is not published, as its remote has what is not here; `diva sync`" in caplog.text
        assert not operations.RECORD.exists()
        with pytest.raises(remote.DivergedError, match="`diva sync`"):
            night()
        versions.sync(None)
        assert night() == "Published: curated@v0.3.0."
        assert gone not in set(pl.read_parquet(paths.TRAIN)["sample_id"])
    assert second.tags() == at_remote(second)


def test_a_compaction_that_cannot_be_pushed_yet_hinders_no_takedown_and_is_published_later(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    clone, _ = pair
    there = clone.project.root.parent / "git"
    compacted_and_killed(clone)
    with clone.at_work():
        compacted = processes.git("rev-parse", "HEAD")
        gone = pl.read_parquet(paths.TRAIN)["sample_id"][0]
        there.rename(there.with_name("away"))
        commands.forget([gone], why="asked")
        assert "curated@v0.1.1 is not published yet; the next command tries again" in caplog.text
        assert reviews.forgotten(ledger.read())["sample_id"].to_list() == [gone]
        with pytest.raises(ValueError, match="origin must answer"):
            night()
        with pytest.raises(ValueError, match="a published entry is history"):
            nightly.nightly.fn()  # without the remote: nothing is published on top, either
        there.with_name("away").rename(there)
        assert night() == "Published: curated@v0.2.0."
        assert gone not in set(pl.read_parquet(paths.TRAIN)["sample_id"])
    assert clone.tags() == at_remote(clone)
    assert clone.tags()["curated@v0.1.1"] == compacted


@Case("a takedown that nobody pushes", "operators", "no night of the clone has a remote", REFUSED).test
def test_a_clone_that_shares_no_remote_is_told_how_to_bring_decisions_to_others(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    clone, _ = pair
    clone.project.git("config", "--unset", remote.SETTING)
    with clone.at_work():
        commands.forget([pl.read_parquet(paths.TRAIN)["sample_id"][0]], why="asked")
    said = " ".join(capsys.readouterr().out.split())
    assert "`dvc push` and `git push --follow-tags origin HEAD`" in said


def test_a_takedown_does_not_push_a_grown_core_that_only_this_clone_can_make(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    clone, _ = pair
    digits.images(clone.project.root / "more", range(400, 404))
    with clone.at_work():
        before = processes.git("ls-remote", "origin", "main")
        project.add("more", to="core", yes=True)
        commands.forget([pl.read_parquet(paths.TRAIN)["sample_id"][0]], why="asked")
        assert "not yet: the next night" in capsys.readouterr().out
        assert processes.git("ls-remote", "origin", "main") == before


def test_decisions_after_a_rollback_are_put_on_top_though_their_review_has_a_name_used_before(pair: Pair) -> None:
    first, second = pair

    def decide(clone: Clone, sample: str) -> None:
        (clone.project.root / "review.csv").write_text(f"sample_id,decision,label,note\n{sample},accept,,right\n")
        commands.review(apply=Path("review.csv"), serve=False, port=0, finish=False)

    one, two, three = pl.read_parquet(first.project.root / paths.TRAIN)["sample_id"][:3]
    with first.at_work():
        decide(first, one)
    with second.at_work():
        remote.catch_up("origin")
        remote.bring()
        second.project.git("config", "--unset", remote.SETTING)
        versions.rollback("v0.1.0")
        decide(second, two)
        assert list(ledger.read().reviews) == ["v001"]
    with first.at_work():
        decide(first, three)
    with second.at_work():
        versions.sync("origin")
        assert set(reviews.read(ledger.read())["sample_id"]) == {one, two, three}


def test_what_a_sync_merged_is_pushed_though_it_brings_nothing_that_the_remote_lacks(pair: Pair) -> None:
    first, second = pair
    with first.at_work():
        commands.forget([pl.read_parquet(paths.TRAIN)["sample_id"][0]], why="asked")
    with second.at_work():
        remote.catch_up("origin")
        remote.bring()
        operations.rollback(published.find("curated@v0.1.0"))  # killed before it was pushed
    with first.at_work():
        assert night() == "Published: curated@v0.2.0."
    with second.at_work():
        with pytest.raises(ValueError, match="each has what the other lacks; `diva sync`"):
            night()
        versions.sync(None)
        assert night() == "Published: no new version."
        assert night() == "Nothing to do."
    with first.at_work():
        assert night() == "Published: no new version."
    assert first.project.git("rev-parse", "HEAD") == second.project.git("rev-parse", "HEAD")


def test_a_second_compaction_leaves_nothing_of_the_first_one_to_be_committed_later(pair: Pair) -> None:
    clone, _ = pair
    with clone.at_work():
        versions.compact()
        deliver(clone)
        assert night() == "Published: curated@v0.2.0."
        versions.compact()
        stored = {path.name for path in (paths.METRICS / "rounds").glob("*.json")}
        rounds.tidy(ledger.read())
        assert not repository.uncommitted(*repository.CONTENT)
        assert stored == {"r002.json"}


def test_a_delivery_is_added_to_what_the_other_operator_published(pair: Pair) -> None:
    first, second = pair
    with first.at_work():
        commands.forget([pl.read_parquet(paths.TRAIN)["sample_id"][0]], why="asked")
    for name, numbers in (("more", range(400, 404)), ("again", range(404, 408))):
        digits.images(second.project.root / name, numbers)
    with second.at_work():
        project.add("more", to="core", yes=True)
        assert list(ledger.read().reviews) == ["v001"]
        (second.project.root.parent / "git").rename(second.project.root.parent / "away")
        with pytest.raises(ValueError, match="origin must answer"):
            project.add("again", to="pool")
        assert [entry.source for entry in ledger.read().batches["core"].additions] == ["more"]
        assert list(ledger.read().batches) == ["core", "test", "b001"]


@Case("one delivery, two operators", "operators", "both watch one folder, at once", UNHARMED).test
def test_a_delivery_that_both_took_in_makes_one_version(pair: Pair) -> None:
    def cut(_remote: str) -> None:
        raise operators.Killed

    first, second = pair
    for clone, day in zip(pair, ("2026-03-01", "2026-03-02"), strict=True):
        clone.project.deliver("shared", 1500, operators.SIZE)
        with clone.at_work(), pytest.MonkeyPatch.context() as patch:
            patch.setenv("GIT_COMMITTER_DATE", f"{day}T02:00:00+0000")
            if clone is first:
                patch.setattr("flows.extend.push_git", cut)
                with pytest.raises(operators.Killed):
                    night()
            else:
                assert night() == "Published: curated@v0.2.0."
    with first.at_work():
        with pytest.raises(processes.PermanentError, match="`diva sync`"):  # as of two nights at once
            repository.push("origin")
        with pytest.raises(remote.DivergedError, match="`diva sync`"):
            night()
        assert "0 batches, 0 rounds planned" in sync.sync("origin")[-1]
        night()
    assert first.tags() == second.tags()
    assert list(first.tags()) == ["curated@v0.1.0", "curated@v0.2.0"]


@Case(
    "broken files before a sync", "operators", "ledger edited, lock cut short, and a round on the remote", REFUSED
).test
def test_what_is_broken_is_not_committed_by_a_sync(pair: Pair) -> None:
    first, second = pair
    deliver(second)
    with second.at_work():
        night()
    with first.at_work():
        lock, book = (first.project.root / name for name in ("dvc.lock", "data/ledger.yaml"))
        whole = book.read_text()
        lock.write_text(lock.read_text()[:900])
        book.write_text(whole[:-9] + " [")
        with pytest.raises(remote.DivergedError, match="`diva sync`"):
            night()
        before = first.project.git("rev-parse", "HEAD")
        with pytest.raises(ValueError, match=r"ledger\.yaml"):
            sync.sync("origin")
        assert first.project.git("rev-parse", "HEAD") == before
        book.write_text(whole)
        assert sync.sync("origin")[-1] == "caught up with origin"
        assert night() == "Nothing to do."
    assert first.project.git("rev-parse", "HEAD") == second.project.git("rev-parse", "HEAD")


@Case("decisions of another clone", "operators", "missing here, or other bytes than git names", UNHARMED).test
def test_decisions_that_differ_from_what_git_says_are_fetched(pair: Pair) -> None:
    first, second = pair
    with first.at_work():
        commands.forget([pl.read_parquet(paths.TRAIN)["sample_id"][0]], why="asked")
    second.project.git("pull", "--quiet", "origin", "main")
    with second.at_work():
        review = paths.review("v001")
        for content in (None, b"of another night"):
            review.write_bytes(content) if content else None
            remote.bring()
            assert review.read_bytes() == (first.project.root / review).read_bytes()


@Case("a tag made twice", "operators", "two objects of one name, at the same commit", UNHARMED).test
def test_two_tags_of_one_commit_are_one_version(pair: Pair) -> None:
    first, second = pair
    again = ("tag", "--force", "--annotate", "--message", "again", "curated@v0.1.0")
    second.project.git(*again, "curated@v0.1.0^{commit}")
    with second.at_work():
        assert night() == "Nothing to do."
        assert [version.name for version in published.versions()] == ["curated@v0.1.0"]
    assert second.project.git("rev-parse", "curated@v0.1.0") == first.project.git("rev-parse", "curated@v0.1.0")


@Case("a tag that the remote has elsewhere", "operators", "at another commit than here", REFUSED).test
def test_a_tag_that_points_elsewhere_on_the_remote_gives_way(pair: Pair) -> None:
    first, second = pair
    second.project.git("tag", "--force", "--annotate", "--message", "elsewhere", "curated@v0.1.0", "HEAD~1")
    with second.at_work():
        with pytest.raises(ValueError, match=r"curated@v0\.1\.0 must point to one commit.*`diva sync`"):
            night()
        versions.sync(None)
        assert night() == "Nothing to do."
    assert second.tags() == first.tags()


def test_a_sync_that_is_refused_moves_no_tag_and_shares_nothing(pair: Pair) -> None:
    first, second = pair
    second.project.git("config", "--unset", remote.SETTING)
    second.project.git("tag", "--force", "--annotate", "--message", "elsewhere", "curated@v0.1.0", "HEAD~1")
    for clone, budget in ((first, 7), (second, 8)):
        clone.project.edit("params.yaml", lambda params, budget=budget: params["extend"].update(budget=budget))
        clone.project.commit("Settings")
    first.project.git("push", "--quiet", "origin", "HEAD:main")
    before = second.tags()
    with second.at_work():
        with pytest.raises(ValueError, match=r"params\.yaml must be put together by hand"):
            versions.sync("origin")
        assert second.tags() == before != at_remote(second)
        assert remote.shared() == ""


@Case("a shallow clone", "operators", "git clone --depth 1: old rounds without their tags", REFUSED).test
def test_a_shallow_clone_is_refused_with_the_remedy(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    clone, _ = pair
    shallow = clone.project.root.with_name("shallow")
    clone.project.git("clone", "--quiet", "--depth", "1", clone.project.root.as_uri(), str(shallow))
    monkeypatch.chdir(shallow)
    with pytest.raises(ValueError, match=r"got a shallow clone; run `git fetch --unshallow --tags`"):
        work.reasons(Options())


@Case("a remote that does not answer", "operators", "versions may lie there and nowhere here", REFUSED).test
def test_a_remote_that_does_not_answer_is_not_one_without_versions(pair: Pair) -> None:
    clone, _ = pair
    clone.project.git("tag", "--delete", "curated@v0.1.0")
    clone.project.git("remote", "set-url", "origin", "../nowhere")
    with clone.at_work(), pytest.raises(ValueError, match=r"origin must answer, .*`git remote remove origin`"):
        work.reasons(Options())


@Case("a lost tag", "operators", "of a version before the newest, in a project without a remote", UNHARMED).test
def test_a_lost_tag_comes_back_at_the_commit_that_published_it(pair: Pair) -> None:
    clone, _ = pair
    deliver(clone)
    with clone.at_work():
        night()
        before = clone.tags()
        clone.project.git("remote", "remove", "origin")
        clone.project.git("tag", "--delete", "curated@v0.1.0")
        assert work.reasons(Options()) == []
        assert clone.tags() == before == rounds.named()


@Case("a name that is used", "operators", "a commit names the version already, with other content", UNHARMED).test
def test_a_name_that_a_commit_has_is_given_to_no_other_content(pair: Pair) -> None:
    clone, _ = pair
    number = published.VersionNumber(0, 1)
    with clone.at_work():
        assert rounds.unclaimed(number) == number  # killed before its tag: the same content
        with paths.LEDGER.open("a") as file:
            file.write("# other\n")
        assert rounds.unclaimed(number) == published.VersionNumber(0, 1, 1)


@Case(
    "anything in any order",
    "operators",
    "nights, deliveries, decisions, rollbacks, compactions, kills, remotes away and back, drawn at random",
    UNHARMED,
).test
def test_a_few_runs_of_the_model(template: Path) -> None:
    assert operators.explore(template, runs=2, steps=6) == 2
