"""What people decide, from review.csv to the next round's set, through git, DVC and the nightly flow."""

import re

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from diva.ingest import sources
from diva.store import curated, ledger, paths
from diva.versions import reviews, sets
from flows import work
from flows.options import Options
from tests.projects.checkout import Project
from tests.projects.in_process import run_here
from tests.soak.disturbances import away

pytestmark = pytest.mark.xdist_group("flows")


def test_a_review_makes_the_next_round_exactly_so_without_any_delivery(published: Project) -> None:
    """Three accepted, two rejected, one relabelled; nothing else changes, and the round after finds nothing to do."""
    before = curated.read("r001")
    core, pool = (before.filter(origin=origin)["sample_id"].to_list() for origin in ("core", "pool"))
    other = next(label for label in sorted(set(before["label"])) if label != before["label"][9])
    said = {core[0]: "accept", core[1]: "accept", pool[0]: "accept", core[2]: "reject", pool[1]: "reject"}
    rows = [f"{sample_id},{decision},,seen" for sample_id, decision in said.items()]
    text = "\n".join(["sample_id,decision,label,note", *rows, f"{core[9]},relabel,{other},"])
    (published.root / "review.csv").write_text(text)
    assert work.reasons(Options()) == []
    told = published.run("diva", "review", "--apply", "review.csv").stdout
    assert "v001, review review.csv: 6 decisions" in " ".join(told.split())
    assert published.git("log", "-1", "--format=%s") == "Review v001: review review.csv"
    assert published.git("status", "--porcelain", "--untracked-files=no") == ""
    assert work.reasons(Options()) == ["round r001 left candidates, or what it drew from has changed"]
    assert run_here().state.is_completed()
    book = ledger.read()
    assert (book.latest, book.rounds["r002"].review, book.rounds["r002"].pool) == ("r002", "v001", "b001")
    assert published.tags()[-1] == "curated@v0.2.0"
    assert published.git("log", "-1", "--format=%s") == "Round r002: 0 added, 2 removed (curated@v0.2.0)"
    judged = pl.col("sample_id")
    changed = {core[2], pool[1], core[9]}
    expected = before.with_columns(
        status=pl.when(judged.is_in([core[2], pool[1]])).then(pl.lit("removed")).otherwise("status"),
        label=pl.when(judged == core[9]).then(pl.lit(other)).otherwise("label"),
        changed_in=pl.when(judged.is_in(list(changed))).then(pl.lit("r002")).otherwise("changed_in"),
        reason=judged.replace_strict(
            {name: f"review: {decision} (seen)" for name, decision in said.items()} | {core[9]: "review: relabel"},
            default=pl.col("reason"),
        ),
    )
    assert_frame_equal(curated.read("r002"), expected)
    assert not {core[2], pool[1]} & set(pl.read_parquet(paths.TRAIN)["sample_id"])
    assert work.reasons(Options()) == [], "obeyed: nothing is left to do"
    again = published.run("diva", "review", "--apply", "review.csv").stdout
    assert "all of this was decided before" in again
    assert reviews.read(ledger.read()).height == 6


def test_what_is_taken_down_before_a_round_is_published_is_in_no_later_version(published: Project) -> None:
    """A round that DVC has made, but nobody could push: made again, without what was taken down meanwhile."""
    published.deliver("d2", 300)
    with away(published.root / ".remote"):
        assert run_here().state.is_failed()
    half = curated.read("r002")
    gone = [half.filter(pl.col("status") == "member", round=name)["sample_id"][0] for name in ("r001", "r002")]
    assert published.tags() == ["curated@v0.1.0"]
    published.run("diva", "forget", *gone)
    assert run_here().state.is_completed()
    book = ledger.read()
    assert [entry.review for entry in book.rounds.values()] == ["v000", "v001"]
    assert published.tags() == ["curated@v0.1.0", "curated@v0.2.0"]
    status = dict(sets.read("curated@v0.2.0").select("sample_id", "status").iter_rows())
    assert {status.get(name, "absent") for name in gone} <= {"removed", "absent"}
    assert not set(gone) & set(pl.read_parquet(paths.TRAIN)["sample_id"])
    assert "as published" in published.run("diva", "verify", "--all").stdout


@pytest.mark.slow  # the same, for rounds that no run has begun yet
@pytest.mark.usefixtures("api")
def test_planned_rounds_obey_a_takedown_from_the_first_version_on(fresh: Project) -> None:
    """As in a fresh clone: rounds planned and made by DVC alone, a takedown, the first night."""
    fresh.deliver("d1", 200)
    book = sources.accept(ledger.read(), None, "deliveries/d1", {})
    settings = work.settings(Options())
    for _ in range(2):
        book = ledger.plan_round(book, {**settings, "extend": {**settings["extend"], "per_round": 30}})
    ledger.write(paths.LEDGER, book)
    fresh.dvc("repro")
    fresh.commit("Rounds")
    (gone,) = curated.read("r001").filter(round="r001")["sample_id"].head(1)
    fresh.run("diva", "forget", gone)
    assert run_here(max_rounds=2).state.is_completed()
    assert fresh.tags() == ["curated@v0.1.0", "curated@v0.2.0"]
    for version in fresh.tags():
        assert gone not in sets.read(version).filter(status="member")["sample_id"], version


def test_decisions_that_wait_are_published_and_wait_no_more(published: Project) -> None:
    first, second = curated.read("r001")["sample_id"].head(2)
    assert "must have decisions to publish" in published.run("diva", "review", "--finish", check=False).stderr
    paths.PENDING.write_text(f"sample_id,decision,label,note\n{first},reject,,\n")
    assert "data" not in published.git("status", "--porcelain"), "git does not see it"
    assert "1 decision" in published.run("diva", "review").stdout
    with paths.PENDING.open("a") as file:
        file.write(f"{second},accept,,\n")
    published.run("diva", "forget", second)
    assert "2 decisions" in published.run("diva", "review").stdout
    told = " ".join(published.run("diva", "review", "--finish").stdout.split())
    assert f"set aside 1 decision on samples taken down since: {second}" in told
    said = reviews.read(ledger.read()).select("sample_id", "decision", "note")
    assert set(said.rows()) == {(first, "reject", None), (second, "reject", "forgotten")}
    assert not paths.PENDING.exists()
    told = " ".join(published.run("diva", "review").stdout.split())
    assert "published v002: 2 reject" in told
    assert "r001 obeys v000; the next round obeys them" in told
    (published.root / "review.csv").write_text(f"sample_id,decision,label,note\n{first},accept,,\n")
    published.run("diva", "review", "--apply", "review.csv", "--as", "Zoe")
    told = published.run("diva", "review").stdout
    assert re.search(r"Zoe +1 +0 +0 +1\n", told), "accepted, relabelled, rejected, samples"
    assert re.search(r", Zoe +1 +0 +0\.0 \[", told), "whoever is git's user rejected it"
    assert "undecided" in told
    history = published.run("diva", "review", "--history").stdout.splitlines()
    assert [line.split()[0] for line in history[2:] if line.startswith("v0")] == ["v003", "v002", "v001"]


def test_a_review_with_a_bad_row_changes_nothing(published: Project) -> None:
    first, commit = curated.read("r001")["sample_id"][0], published.git("rev-parse", "HEAD")
    (published.root / "review.csv").write_text(f"sample_id,decision,label,note\n{first},reject,,\nzz,accept,,\n")
    done = published.run("diva", "review", "--apply", "review.csv", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "line 3: sample_id must be that of a sample of core, pool or test set, got 'zz'" in done.stderr
    assert published.git("rev-parse", "HEAD") == commit
    assert not paths.review("v001").exists()
