"""The ledger as write-ahead log: what is unfinished, what a version is called, when rounds end."""

import pytest

from diva.store import ledger, paths
from diva.versions import rounds
from diva.versions.published import VersionNumber
from flows import extend, work
from stages.params import __main__ as validation
from stages.params import section

SETTINGS = {
    "extend": {"loss": "calibrated", "validate_on": "members", "per_round": 5, "budget": None, "stop": True},
    "curate": {"score": "soft", "rule": "rate", "action": "weigh", "second_round": False},
}
STOPPED = {"stop": "no candidate is left", "added": 0}
NEXT = {"stop": "none", "added": 5}


def book(rounds: int = 0, pools: int = 1) -> ledger.Ledger:
    found = ledger.start(ledger.Batch(source="digits", checksum="none", options={}))
    for _ in range(pools):
        found = ledger.accept(found, None, "digits", {}, "none")
    for number in range(rounds):
        found = ledger.plan_round(found, SETTINGS, pool=f"b{min(number + 1, pools):03d}")
    return found


def known(*versions: tuple[int, int]) -> dict[int, VersionNumber]:
    return {minor: VersionNumber(major, minor) for major, minor in versions}


def test_rounds_without_a_tag_are_unfinished():
    assert rounds.unfinished(book(3), known((0, 1))) == ["r002", "r003"]
    assert rounds.done(book(3), known((0, 1))) == ["r001"]


def test_the_first_version_is_v0_1_0_and_the_next_counts_up():
    assert rounds.version(book(2), "r001", {}).tag == "curated@v0.1.0"
    assert rounds.version(book(2), "r002", known((0, 1))).tag == "curated@v0.2.0"


def test_a_chain_continues_its_major_version():
    assert rounds.version(book(3), "r003", known((0, 1), (1, 2))).tag == "curated@v1.3.0"


def test_after_a_roll_back_numbers_go_on_and_a_major_version_begins(fresh):
    planned = rounds.plan(book(1), SETTINGS, known((0, 1), (0, 2), (0, 3)))
    assert planned.latest == "r004"
    assert planned.rounds["r004"].previous == "r001"
    assert rounds.version(planned, "r004", known((0, 1), (0, 2), (0, 3))).tag == "curated@v1.4.0"


def test_a_round_records_the_commit_of_the_code(fresh):
    first = fresh.git("rev-parse", "HEAD")
    (fresh.root / "notes.txt").touch()
    fresh.commit("Say something")
    assert rounds.plan(book(), SETTINGS, {}).rounds["r001"].commit == first


def test_planned_rounds_are_published_one_by_one(fresh):
    whole = book(3, 2)
    ledger.write(paths.LEDGER, whole)
    for name in ("r001", "r002", "r003"):
        assert extend.unfinished_round() == name
        assert extend.unfinished_round() == name  # also after a kill
        assert ledger.read() == rounds.prefix(whole, name)
        fresh.git("tag", "-a", f"curated@v0.{name[-1]}.0", "-m", name)
    assert extend.unfinished_round() is None
    assert not rounds.PLANNED.exists()


def test_rounds_set_aside_by_another_chain_are_dropped(fresh):
    ledger.write(paths.LEDGER, book(3))
    extend.unfinished_round()
    ledger.write(paths.LEDGER, rounds.prefix(book(3, 3), None))
    assert extend.unfinished_round() in (None, "r001")


def test_rounds_that_are_not_published_obey_what_people_decided_since(fresh):
    ledger.write(paths.LEDGER, book(3))
    assert extend.unfinished_round() == "r001"
    fresh.git("tag", "-a", "curated@v0.1.0", "-m", "r001")
    assert extend.unfinished_round() == "r002"
    decided = ledger.plan_review(ledger.read(), "forget", "none")
    ledger.write(paths.LEDGER, decided)
    for name in ("r002", "r003"):
        assert extend.unfinished_round() == name
        found = ledger.read()
        assert {key: entry.review for key, entry in found.rounds.items()} == {
            "r001": "v000", **{key: "v001" for key in ("r002", "r003") if key <= name},
        }  # fmt: skip
        fresh.git("tag", "-a", f"curated@v0.{name[-1]}.0", "-m", name)
    assert extend.unfinished_round() is None


def test_rounds_that_are_not_published_follow_settings_edited_since_also_those_that_wait(fresh):
    ledger.write(paths.LEDGER, book(3))
    assert extend.unfinished_round() == "r001"
    fresh.git("tag", "-a", "curated@v0.1.0", "-m", "r001")
    assert extend.unfinished_round() == "r002"
    other = {**SETTINGS, "curate": {**SETTINGS["curate"], "action": "drop"}}
    assert rounds.follow(known((0, 1)), other) == ["r002"]
    assert rounds.follow(known((0, 1)), other) == []
    fresh.git("tag", "-a", "curated@v0.2.0", "-m", "r002")
    assert extend.unfinished_round() == "r003"
    assert [entry.settings for entry in ledger.read().rounds.values()] == [SETTINGS, other, other]


def test_make_curate_says_which_rounds_follow_the_settings(fresh, capsys):
    ledger.write(paths.LEDGER, book(2))
    edited = {name: section.load()[name] for name in ("extend", "curate")}
    assert rounds.outdated(book(2), known((0, 1)), edited) == ["r002"]
    assert validation.main() == 0
    assert rounds.outdated(ledger.read(), {}, edited) == []
    assert "r001, r002: not published yet, so they follow params.yaml" in capsys.readouterr().out
    content = section.load()
    assert ledger.read().rounds["r002"].settings == {name: content[name] for name in ("extend", "curate")}
    assert validation.main() == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("metrics", "expected"), [(STOPPED, True), (NEXT, False), (None, False), ({"stop": "none", "added": 0}, True)]
)
def test_rounds_end_where_the_last_one_said_so(metrics, expected):
    assert work.settled(book(1), SETTINGS, metrics) is expected


def test_new_settings_a_new_batch_or_a_new_review_ask_for_a_round():
    other = {**SETTINGS, "extend": {**SETTINGS["extend"], "per_round": 6}}
    assert not work.settled(book(1), other, STOPPED)
    assert not work.settled(book(1, 2), SETTINGS, STOPPED)
    assert not work.settled(ledger.plan_review(book(1), "forget", "none"), SETTINGS, STOPPED)
    assert work.settled(book(0, 0), SETTINGS, None)


def test_rounds_are_stale_where_an_input_is_another():
    out = {"outs": [{"path": "data/fit", "md5": "a"}]}
    lock = {"fit": out, "extend@r001": {"deps": [{"path": "data/fit", "md5": "b"}, {"path": "x", "md5": "c"}]}}
    assert rounds.stale(lock, ["r001"]) == {"r001": ["data/fit"]}
    lock["fit"]["outs"][0]["md5"] = "b"
    assert rounds.stale(lock, ["r001"]) == {}


def test_files_of_no_round_are_taken_away(fresh):
    names = ("curated/r001", "curated/r009", "rounds/r009", "features/b001", "features/b007", "features/core")
    names += ("quarantine/pool-b001", "quarantine/pool-b007", "quarantine/fit-core", "raw/b001/x", "raw/b007/x")
    for name in names:
        path = paths.DATA / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (paths.DATA / "curated/.r002.parquet.17.tmp").touch()
    (paths.DATA / "features/.b001.h5.tmp").mkdir()
    rounds.tidy(book(1))
    left = {path.relative_to(paths.DATA).as_posix() for path in paths.DATA.glob("*/*")}
    expected = {"curated/r001.parquet", "features/b001.parquet", "features/core.parquet", "features/.b001.h5.tmp"}
    # folders that the report reads whole: what another state of the project left there would be in its digests
    expected |= {"quarantine/pool-b001.parquet", "quarantine/fit-core.parquet", "raw/b001"}
    expected |= {"reviews/test-decisions.csv"}
    assert left == expected
