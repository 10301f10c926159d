"""Deliveries to the core and the test set: said before it happens, then a new major version; the old ones stay."""

import pytest
from typer.testing import CliRunner

from diva.commands import cli
from diva.store import index, ledger, manifest, paths
from diva.versions import batches, published, rounds, verify
from flows import deliveries, work
from flows.options import Options
from tests.faults.case import REFUSED, UNHARMED, Case
from tests.projects import digits
from tests.projects.in_process import run_here

pytestmark = pytest.mark.xdist_group("flows")


def add(*arguments: str, said: str = "", code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, ["add", *arguments], input=said, env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


@Case("more of core and test set", "deliveries", "after published rounds: a new major version", UNHARMED).test
def test_core_and_test_set_grow_under_a_new_major_version_and_the_old_one_stays(published):
    digits.images(published.root / "more", range(400, 420))
    before = paths.LEDGER.read_bytes()
    said = add("--to", "core", "more", said="n\n", code=1)
    assert "a new chain of rounds begins under a new major version, v1" in said
    assert paths.LEDGER.read_bytes() == before
    assert "v1" in add("--to", "core", "more", said="y\n")
    folder = published.deliver("tests", 1740, 20, complete=False)
    (folder / ".test").touch()
    (folder / ".complete").touch()
    told = run_here()
    assert told.state.is_completed(), told.state
    assert published.tags() == ["curated@v0.1.0", "curated@v1.2.0"]
    assert len(index.read(paths.CORE)) == len(manifest.read(paths.manifest("core"))) == 80
    assert len(manifest.read(paths.manifest("test"))) == 60
    assert [len(entry.deliveries) for name, entry in ledger.read().batches.items()] == [2, 2, 1]
    assert [verdict.faults for verdict in verify.verify(versions())] == [(), ()]
    assert run_here().state.name == "NothingToDo"


def versions() -> list[published.Version]:
    return published.versions()


def test_a_batch_to_the_pool_leaves_published_rounds_alone(published):
    digits.images(published.root / "more", range(400, 420))
    said = add("--to", "pool", "more")
    assert "published rounds stay as they are" in said
    assert list(ledger.read().rounds) == ["r001"]
    assert work.reasons(Options()) == ["round r001 left candidates, or what it drew from has changed"]
    assert "that of b002" in str(failure("--to", "core", "more"))
    assert "'train' is not one of 'core', 'test', 'pool'" in add("--to", "train", "more", code=2)
    (published.root / "empty").mkdir()
    assert "must hold labelled samples" in str(failure("--to", "pool", "empty"))


def failure(*arguments: str) -> BaseException | None:
    return CliRunner().invoke(cli.app, ["add", *arguments]).exception


def test_before_anything_is_published_planned_rounds_stay(fresh):
    published_batch = fresh.deliver("d1", 200)
    book = batches.added(ledger.read(), "pool", ledger.Batch(source=str(published_batch), checksum="none", options={}))
    ledger.write(paths.LEDGER, rounds.plan(book, work.settings(Options()), {}))
    digits.images(fresh.root / "more", range(400, 420))
    assert "no round is published yet" in add("--to", "core", "more")
    assert list(ledger.read().rounds) == ["r001"]


def test_a_first_test_set_takes_the_place_of_none(fresh):
    content = ledger.read().model_dump()
    content["batches"]["test"] = {"source": "none", "checksum": "none", "options": {}}
    ledger.write(paths.LEDGER, ledger.validated(content))
    digits.images(fresh.root / "more", range(400, 420))
    add("--to", "test", "more")
    assert (ledger.read().batches["test"].source, ledger.read().batches["test"].additions) == ("more", [])


@Case("more of a compacted core", "deliveries", "published rounds rest on it", REFUSED).test
def test_a_compacted_history_keeps_its_core(published):
    compacted = ledger.compacted(ledger.read(), "curated@v0.1.0")
    with pytest.raises(ValueError, match=r"diva rollback curated@v0.1.0"):
        batches.added(compacted, "core", ledger.Batch(source="more", checksum="none", options={}))


def test_a_marker_beside_a_file_says_where_it_goes(tmp_path):
    for name in ("a.csv", "a.csv.core", "a.csv.complete", "b.csv", "b.csv.complete"):
        (tmp_path / name).write_text("path,label\n")
    arrivals = deliveries.Watched(str(tmp_path)).arrivals()
    assert [(arrival.name, arrival.to, arrival.waits) for arrival in arrivals] == [
        ("a.csv", "core", ""),
        ("b.csv", "pool", ""),
    ]


@Case("a folder named as a marker", "deliveries", "photos.test", UNHARMED).test
def test_a_folder_whose_name_ends_as_a_marker_is_a_delivery(tmp_path):
    for name in ("photos", "photos.test", "a.csv.core"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".complete").touch()
    for name in ("a.csv", "a.csv.complete"):
        (tmp_path / name).write_text("path,label\n")
    arrivals = deliveries.Watched(str(tmp_path)).arrivals()
    assert [(arrival.name, arrival.to) for arrival in arrivals] == [
        (name, "pool") for name in ("a.csv", "a.csv.core", "photos", "photos.test")
    ]


def test_an_entry_without_additions_reads_as_it_always_did():
    entry = ledger.Batch(source="digits", checksum="none", options={})
    assert entry.model_dump() == {"source": "digits", "checksum": "none", "options": {}}
