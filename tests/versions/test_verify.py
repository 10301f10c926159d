"""Versions verified: an untouched one has no fault, and whatever is tampered with is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from diva.versions import published, verify
from diva.versions.stored_files import folder_md5
from tests.projects import forged
from tests.projects.checkout import Project

pytestmark = pytest.mark.xdist_group("versions")
NEWEST = "curated@v0.2.0"


@pytest.fixture
def mine(two_versions: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two versions to tamper with; the test runs in their folder."""
    return taken(two_versions, tmp_path, monkeypatch)


@pytest.fixture
def compacted(compacted_versions: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two versions and a compacted one, likewise."""
    return taken(compacted_versions, tmp_path, monkeypatch)


def taken(project: Project, to: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(project.copy(to / "project").root)
    return Project(to / "project")


def faults(name: str = NEWEST) -> dict[str, tuple[str, str]]:
    (verdict,) = verify.verify([published.find(name)])
    return {fault.path: (fault.expected, fault.got) for fault in verdict.faults}


def without_the_first(frame: pl.DataFrame) -> pl.DataFrame:
    return frame[1:]


def heavier(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(weight=pl.col("weight") + 1)


def under_other_labels(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(label=pl.lit("7"))


def test_untouched_versions_have_no_fault_and_the_work_tree_stays_as_it_was(mine: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path("data").rglob("*")}
    first, second = verify.verify(published.versions())
    assert (first.faults, second.faults) == ((), ())
    assert (first.rounds, second.rounds) == (1, 2)
    assert (
        second.files == sum(1 for _ in Path("data").rglob("*.*") if _.is_file() and "metrics" not in _.parts) - hidden()
    )
    assert {path: path.stat().st_mtime_ns for path in Path("data").rglob("*")} == before
    assert mine.run("git", "status", "--porcelain").stdout == ""


def hidden() -> int:
    """Files of data/ that are git's: .gitignore, .dvc, the ledger, takedowns, decisions on the test set."""
    own = (".gitignore", "takedowns.csv", "test-decisions.csv")
    return sum(1 for path in Path("data").rglob("*.*") if path.name in own or path.suffix in (".dvc", ".yaml"))


def test_an_old_version_is_read_through_its_tag_whatever_lies_here(mine: Project) -> None:
    shutil.rmtree("data")
    assert faults("curated@v0.1.0") == {}


@pytest.mark.parametrize("whole", [True, False])
def test_what_the_cache_lacks_is_brought_from_the_remote(mine: Project, whole: bool) -> None:
    if whole:
        shutil.rmtree(".dvc/cache")
    else:
        forged.cached(mine, forged.md5_in(mine, "data/rounds/r001.parquet")).unlink()
    assert faults() == {}
    assert not list(Path(".dvc/tmp").glob("verify-*"))


def test_what_neither_cache_nor_remote_has_is_named(mine: Project) -> None:
    md5 = forged.md5_in(mine, "data/rounds/r001.parquet")
    forged.cached(mine, md5).unlink()
    remote = Path(mine.run("python", "-m", "dvc", "config", "remote.local.url").stdout.strip())
    lost = remote / "files/md5" / md5[:2] / md5[2:]
    away = lost.rename(lost.with_suffix(".away"))
    try:
        assert faults() == {
            "data/rounds/r001.parquet": (f"md5 {md5}", "nothing: neither DVC's cache nor its remote has it")
        }
    finally:
        away.rename(lost)


@pytest.mark.parametrize(
    "path",
    ["data/curated/r001.parquet", "data/features/core.h5", "data/raw/core/00003.png", "data/weights/history.json"],
)
def test_other_bytes_in_the_cache_are_named_with_both_checksums(mine: Project, path: str) -> None:
    md5 = forged.md5_in(mine, path)
    forged.overwrite(mine, path, b"rotten")
    found = faults()
    assert list(found) == [path]
    assert found[path][0] == f"md5 {md5}"
    assert forged.md5_of(b"rotten") in found[path][1]


@pytest.mark.parametrize(
    ("path", "edit", "told"),
    [
        ("data/curated/r001.parquet", under_other_labels, "label "),
        ("data/curated/r002.parquet", without_the_first, " rows"),
        ("data/rounds/r002.parquet", without_the_first, ""),
        ("data/manifests/b001.parquet", without_the_first, ""),
        ("data/pool/b001.parquet", without_the_first, "all of 50 samples, or why not"),
        ("data/fit/core.parquet", under_other_labels, "label "),
        ("data/release/train.parquet", heavier, "weight "),
        ("data/release/train.parquet", without_the_first, " rows"),
        ("data/release/train.parquet", lambda frame: frame.with_columns(group=pl.lit("forged")), "group None"),
        ("data/release/removed.parquet", without_the_first, " rows"),
        ("data/quarantine/pool-b001.parquet", without_the_first, "all of 50 samples, or why not"),
    ],
)
def test_a_forged_table_is_found_though_lock_cache_and_tag_agree_with_it(
    mine: Project, path: str, edit: Callable[[pl.DataFrame], pl.DataFrame], told: str
) -> None:
    forged.change(mine, path, edit)
    forged.retag(mine, NEWEST)
    found = faults()
    made_of_it = {
        "data/rounds/r002.parquet": "data/curated/r002.parquet",
        "data/manifests/b001.parquet": "data/features/b001.h5",
    }
    made_of_it["data/quarantine/pool-b001.parquet"] = "data/pool/b001.parquet"
    assert told in found[made_of_it.get(path, path)][0]


def test_an_image_of_the_test_set_in_training_is_named(mine: Project) -> None:
    tested = pl.read_parquet("data/manifests/test.parquet")["sample_id"][0]
    forged.change(mine, "data/release/train.parquet", lambda frame: frame.with_columns(sample_id=pl.lit(tested)))
    forged.retag(mine, NEWEST)
    (verdict,) = verify.verify([published.find(NEWEST)])
    assert ("data/release/train.parquet", "no sample of the test set") in {fault[:2] for fault in verdict.faults}


def test_an_entry_of_the_ledger_changed_by_hand_is_named(mine: Project) -> None:
    mine.edit("data/ledger.yaml", lambda book: book["rounds"]["r001"]["settings"]["extend"].update(per_round=11))
    forged.retag(mine, NEWEST)
    found = faults()
    assert list(found) == ["data/ledger.yaml", "dvc.lock"]
    assert "made with rounds" in found["dvc.lock"][0]
    assert "'per_round': 11" in found["dvc.lock"][0]
    assert "'per_round': 10" in found["dvc.lock"][1]


def test_code_that_is_not_what_stages_ran_is_named(mine: Project) -> None:
    with (mine.root / "diva/numerics/ridge.py").open("a") as file:
        file.write("# later\n")
    mine.run("git", "add", "diva")
    forged.retag(mine, NEWEST)
    found = faults()
    assert list(found) == ["diva/numerics/ridge.py"]
    assert "which stages ran" in found["diva/numerics/ridge.py"][0]


def test_a_lock_that_no_longer_tells_of_the_code_is_named(mine: Project) -> None:
    mine.edit("dvc.lock", lambda lock: lock["stages"].pop("code"))
    forged.retag(mine, NEWEST)
    assert faults()["dvc.lock"] == ("a stage code, as the ledger asks", "none")


@pytest.mark.parametrize("content", [b"[1]", b'{"diva/numerics/ridge.py": {}}', b"no JSON"])
def test_digests_that_are_none_are_a_fault_and_the_rest_is_verified(mine: Project, content: bytes) -> None:
    forged.forge(mine, "data/code/release.json", content)
    forged.retag(mine, NEWEST)
    assert list(faults()) == ["code"]


def test_decisions_of_people_changed_by_hand_are_named(mine: Project) -> None:
    rows = pl.read_parquet("data/reviews/v002.parquet")[1:]
    Path("data/reviews/v002.parquet").unlink()
    rows.write_parquet("data/reviews/v002.parquet")
    mine.run("python", "-m", "dvc", "add", "--quiet", "data/reviews/v002.parquet")
    forged.retag(mine, NEWEST)
    assert "as the ledger says" in faults()["data/reviews/v002.parquet"][0]


def test_a_stage_missing_in_the_lock_is_named(mine: Project) -> None:
    def cut(lock: dict) -> None:
        del lock["stages"]["curate@r001"]

    mine.edit("dvc.lock", cut)
    forged.retag(mine, NEWEST)
    assert faults()["dvc.lock"] == ("a stage curate@r001, as the ledger asks", "none")


def test_a_lock_that_is_no_lock_is_one_fault(mine: Project) -> None:
    Path("dvc.lock").write_text("stages:\n  fit:\n    cmd: [")
    forged.retag(mine, NEWEST)
    assert list(faults()) == [NEWEST]


def test_metrics_changed_in_git_are_named(mine: Project) -> None:
    told = json.loads(Path("data/metrics/reweight.json").read_text())
    Path("data/metrics/reweight.json").write_text(json.dumps(told | {"samples": 1}))
    forged.retag(mine, NEWEST)
    assert "in the commit" in faults()["data/metrics/reweight.json"][1]


def test_a_tag_that_points_elsewhere_is_named(mine: Project) -> None:
    mine.run("git", "tag", "--force", "--annotate", "-m", "x", NEWEST, "curated@v0.1.0^{commit}")
    assert faults() == {NEWEST: ("round r002 as the newest of its ledger", "r001")}


def test_a_compacted_version_and_those_before_it_have_no_fault(compacted: Project) -> None:
    known = published.versions()
    assert [version.name for version in known] == ["curated@v0.1.0", NEWEST, "curated@v0.2.1"]
    assert [verdict.faults for verdict in verify.verify(known)] == [(), (), ()]
    shutil.rmtree(".dvc/cache")
    assert [verdict.faults for verdict in verify.verify(known, everything=True)] == [(), (), ()]


def test_features_of_a_compacted_pool_are_those_that_it_names(compacted: Project) -> None:
    forged.change(compacted, "data/pool/b001.parquet", lambda frame: frame.with_columns(row=pl.col("row").reverse()))
    forged.retag(compacted, "curated@v0.2.1")
    assert "data/base/features/b001.h5" in faults("curated@v0.2.1")


def test_a_folder_has_the_checksum_that_dvc_gives_it(two_versions: Project) -> None:
    md5 = forged.locked(two_versions)["data/raw/core"]
    assert folder_md5(forged.inside(two_versions, md5)) == md5
