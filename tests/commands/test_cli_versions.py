"""The commands on versions, through the real pipeline, git and DVC: what they say, what they leave and refuse."""

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from diva.ingest import project, sources
from diva.versions import export
from tests.projects import checkout, forged, versioned
from tests.projects.checkout import Project

pytestmark = pytest.mark.xdist_group("versions")


@pytest.fixture
def published(two_versions: Project) -> Project:
    """For tests that only look."""
    return two_versions


@pytest.fixture
def mine(published: Project, tmp_path: Path) -> Project:
    """The same, to change at will."""
    return published.copy(tmp_path / "project")


def digests(project: Project, *folders: str) -> dict[str, str]:
    files = [file for folder in folders for file in sorted((project.root / "data" / folder).rglob("*.*"))]
    known = [file for file in files if file.is_file() and file.name != ".gitignore"]
    return {str(file.relative_to(project.root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in known}


def status(project: Project) -> str:
    return project.run("python", "-m", "dvc", "status").stdout.strip()


def due(project: Project) -> set[str]:
    return set(json.loads(project.run("python", "-m", "dvc", "status", "--json").stdout))


def read(project: Project, path: str) -> pl.DataFrame:
    return pl.read_parquet(project.root / "data" / path)


def review(project: Project) -> dict[str, tuple[str, str | None]]:
    rows = read(project, "reviews/v002.parquet").select("sample_id", "decision", "label").iter_rows()
    return {sample_id: (decision, label) for sample_id, decision, label in rows}


def refused(project: Project, batch: str) -> dict[str, int]:
    reasons = read(project, f"quarantine/pool-{batch}.parquet")["reason"].str.replace(", as .*", "")  # another label
    return dict(reasons.value_counts().iter_rows())


UP_TO_DATE = "Data and pipelines are up to date."


def test_versions_are_listed_newest_first_with_their_figures(published: Project) -> None:
    told = published.diva("versions").stdout
    rows = [line.split() for line in told.splitlines() if "curated@v" in line]
    release = json.loads((published.root / "data/metrics/release.json").read_text())
    evaluate = json.loads((published.root / "data/metrics/evaluate.json").read_text())
    used = "release_weighted" if release["weighted"] else "release_unweighted"
    assert [name for row in rows for name in row if name.startswith("r0")] == ["r002", "r001"]
    assert rows[0][:2] == ["▸", "curated@v0.2.0"], "what lies here is marked"
    assert {str(release[name]) for name in ("samples", "added", "removed")} <= set(rows[0])
    assert f"{100 * evaluate['sets'][used]['error']:.2f}" in rows[0]


def test_show_draws_the_balance_and_tells_where_a_version_came_from(
    published: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    told = published.diva("show", "v0.1.0").stdout
    words = " ".join(told.split())
    book = published.run("git", "show", "curated@v0.1.0:data/ledger.yaml").stdout
    assert "█" in told
    assert "tiny:network" in told
    assert "per_round 10" in words
    checksums = re.findall(r"sha256:[0-9a-f]{64}", book)
    assert len(checksums) == 3
    assert all(checksum in words for checksum in checksums)
    commit = published.run("git", "rev-list", "-n1", "curated@v0.1.0").stdout
    assert commit[:12] in told
    balance = {line.split()[0]: int(line.split()[1]) for line in told.splitlines() if "█" in line}
    assert sum(balance.values()) == 70


def test_diff_counts_what_the_parquet_files_differ_in(published: Project) -> None:
    told = json.loads(published.diva("diff", "v0.1.0", "v0.2.0", "--json").stdout)
    back = json.loads(published.diva("diff", "v0.2.0", "v0.1.0", "--json").stdout)
    after = read(published, "curated/r002.parquet").filter(pl.col("status") == "member")
    before = read(published, "curated/r001.parquet").filter(pl.col("status") == "member")
    new, old = set(after["sample_id"]) - set(before["sample_id"]), set(before["sample_id"]) - set(after["sample_id"])
    assert (told["added"], told["removed"], told["relabelled"]) == (len(new), len(old), 1)
    assert (back["added"], back["removed"]) == (told["removed"], told["added"])
    assert {row["sample_id"] for row in told["samples"] if row["change"] == "added"} == new
    assert sum(row["added"] for row in told["by_class"].values()) == told["added"]
    assert "added" in published.diva("diff", "v0.1.0").stdout


def test_a_version_is_verified_by_name_or_all_are(mine: Project) -> None:
    lines = mine.diva("verify", "--all").stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [[f"curated@v0.{n}.0", "as", "published:"] for n in (1, 2)]
    forged.overwrite(mine, "data/rounds/r002.parquet", b"rotten")
    done = mine.diva("verify", check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "data/rounds/r002.parquet must be md5" in done.stdout
    assert mine.diva("verify", "v0.1.0").stdout.startswith("curated@v0.1.0  as published: ")


def test_what_was_taken_down_is_gone_and_listed_and_corrections_are_obeyed(published: Project) -> None:
    decided = review(published)
    gone = {name for name, (decision, _) in decided.items() if decision == "reject"}
    corrected = {name: label for name, (decision, label) in decided.items() if decision == "relabel"}
    train, removed = read(published, "release/train.parquet"), read(published, "release/removed.parquet")
    assert len(gone) == 3
    assert not gone & set(train["sample_id"])
    assert len(gone & set(removed["sample_id"])) == 2, "the third waited in the pool and never came in"
    assert all("forgotten: asked by its owner" in reason for reason in removed["reason"])
    assert dict(train.filter(pl.col("sample_id").is_in(list(corrected)))["sample_id", "label"].rows()) == corrected
    listed = published.diva("forget", "--list").stdout
    assert all(name in listed for name in gone)


def test_images_of_core_and_test_set_are_counted_and_never_come_in_again(published: Project) -> None:
    assert refused(published, "b001") == {"already delivered: in core": 10, "already delivered: in test": 5}
    counts = json.loads((published.root / "data/metrics/pool/b001.json").read_text())
    assert (counts["admitted"], counts["reasons"]) == (35, {"already delivered": 15})
    state, test = read(published, "curated/r002.parquet"), read(published, "manifests/test.parquet")
    assert state["sample_id"].is_unique().all()
    assert not set(state["sample_id"]) & set(test["sample_id"])


def test_no_class_gets_more_than_its_share_of_a_round(published: Project) -> None:
    added = read(published, "curated/r002.parquet").filter(pl.col("round") == "r002")
    assert 0 < added.group_by("given_label").len()["len"].max() <= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "v9.9.9"], r"VERSION must be one of curated@v0.1.0, curated@v0.2.0"),
        (["show", "--upload-pack=x"], "No such option"),
        (["verify", "v9.9.9"], r"VERSION must be one of curated@v0.1.0, curated@v0.2.0"),
        (["diff", "v0.1.0", "nonsense"], "VERSION must be one of"),
        (["rollback", "HEAD"], "VERSION must be one of"),
        (["export", "v0.1.0", "--to", "data"], "--to must be a new or an empty folder, got data"),
        (["export", "v0.1.0", "--to", "new", "--format", "tfrecord"], "--format must be one of imagefolder, fiftyone"),
        (["forget", "0" * 32], "sample_id must be that of a sample of core or pool"),
        (["relabel", "absent.csv"], "absent.csv must be a readable"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_on_stderr(published: Project, arguments: list[str], message: str) -> None:
    done = published.diva(*arguments, check=False)
    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert published.run("git", "status", "--porcelain").stdout == ""


def test_going_back_and_forth_restores_every_byte(mine: Project) -> None:
    folders = ("release", "curated", "pool", "rounds", "weights", "metrics")
    newest = digests(mine, *folders)
    took = set(mine.diva("forget", "--list").stdout.split()) & set(read(mine, "pool/b001.parquet")["sample_id"])
    assert took
    mine.diva("rollback", "v0.1.0")
    assert due(mine) == {"report"}, "it tells the takedowns since then"
    assert sorted(path.stem for path in (mine.root / "data/curated").glob("*.parquet")) == ["r000", "r001"]
    assert len(read(mine, "release/train.parquet")) == 70
    assert took <= set(mine.diva("forget", "--list").stdout.split()), "a takedown outlives going back"
    assert mine.run("git", "status", "--porcelain").stdout == ""
    mine.diva("rollback", "v0.2.0")
    assert digests(mine, *folders) == newest
    assert status(mine) == UP_TO_DATE
    assert [line for line in mine.diva("versions").stdout.splitlines() if "▸   curated@v0.2.0" in line]
    assert mine.run("git", "tag").stdout.split() == ["curated@v0.1.0", "curated@v0.2.0"], "no version is lost or moved"


def test_changes_that_are_not_committed_are_not_overwritten(mine: Project) -> None:
    mine.edit("params.yaml", lambda params: params["extend"].update(per_round=3))
    for arguments in (["rollback", "v0.1.0"], ["compact"]):
        done = mine.diva(*arguments, check=False)
        assert done.returncode == 1
        assert "uncommitted changes" in done.stderr
        assert "params.yaml" in done.stderr
    assert "per_round: 3" in (mine.root / "params.yaml").read_text()


def test_a_clone_has_all_versions_from_the_remote(published: Project, tmp_path: Path) -> None:
    other = published.clone(tmp_path / "clone")
    assert "curated@v0.1.0" in other.diva("versions").stdout
    size = "from diva.versions import sets; print(len(sets.read('curated@v0.1.0')))"
    assert other.run("python", "-c", size).stdout.split() == ["70"]
    other.diva("export", "v0.1.0", "--to", str(tmp_path / "out"), "--copy")
    assert len(list((tmp_path / "out").rglob("*.png"))) == 70
    other.run("python", "-m", "dvc", "pull", "--quiet")
    assert status(other) == UP_TO_DATE
    assert digests(other, "release", "curated", "features") == digests(published, "release", "curated", "features")
    got = ("get", "--quiet", "--rev", "curated@v0.2.0", "--out", str(tmp_path / "got"), str(published.root))
    other.run("python", "-m", "dvc", *got, "data/release")
    assert (tmp_path / "got/train.parquet").read_bytes() == (published.root / "data/release/train.parquet").read_bytes()


def test_an_export_links_images_by_class_and_keeps_the_weights(published: Project, tmp_path: Path) -> None:
    published.diva("export", "v0.2.0", "--to", str(tmp_path / "images"))
    train = read(published, "release/train.parquet")
    with (tmp_path / "images/index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["sample_id"] for row in rows] == train["sample_id"].to_list()
    assert [float(row["weight"]) for row in rows] == train["weight"].to_list()
    for row in rows:
        image = tmp_path / "images" / row["file"]
        assert image.is_symlink()
        assert image.parent.name == row["label"]
        assert hashlib.sha256(image.read_bytes()).hexdigest().startswith(row["sample_id"])
    published.diva("export", "v0.2.0", "--to", str(tmp_path / "table"), "--format", "parquet")
    table = pl.read_parquet(tmp_path / "table/train.parquet")
    assert table.drop("path").equals(train.drop("path"))
    assert all(Path(path).is_file() for path in table["path"])


def test_an_export_for_fiftyone_is_the_layout_that_it_documents(published: Project, tmp_path: Path) -> None:
    """data/<uuid>.<ext> and labels.json: {"classes": […], "labels": {uuid: {"label", "attributes"}}}."""
    published.diva("export", "v0.2.0", "--to", str(tmp_path / "out"), "--format", "fiftyone")
    train = read(published, "release/train.parquet")
    told = json.loads((tmp_path / "out/labels.json").read_text())
    assert told.keys() == {"classes", "labels"}
    assert told["classes"] == sorted(set(train["label"]))
    images = {path.stem: path for path in (tmp_path / "out/data").iterdir()}
    assert images.keys() == told["labels"].keys() == set(train["sample_id"])
    for row in train.iter_rows(named=True):
        label = told["labels"][row["sample_id"]]
        assert hashlib.sha256(images[row["sample_id"]].read_bytes()).hexdigest().startswith(row["sample_id"])
        assert label["label"] == row["label"]
        known = label["attributes"]
        assert {"weight", "flagged", "given_label", "origin", "round"} <= known.keys()
        assert all(known[name] == row[name] for name in known)
        assert all(row[name] is None for name in export.FIELDS if name not in known)


@pytest.mark.parametrize("form", ["hf", "webdataset", "coco"])
def test_an_export_with_the_images_within_is_a_delivery_of_the_same_samples(
    published: Project, tmp_path: Path, form: str
) -> None:
    published.diva("export", "v0.2.0", "--to", str(tmp_path / "out"), "--format", form, "--copy")
    train = read(published, "release/train.parquet")
    options = project.options_of(str(tmp_path / "out"), "core")
    (tmp_path / "raw").mkdir()
    samples = sources.open_source(str(tmp_path / "out"), options).read(tmp_path / "raw").samples
    same = samples.select("sample_id", "label", weight="weight_").sort("sample_id")
    assert same.equals(train.select("sample_id", "label", "weight").sort("sample_id"))
    text = (tmp_path / "out" / "README.md").read_text()
    assert f"| samples | {len(train)} |" in text
    assert "batch core" in text


@pytest.mark.slow  # the soak in the suite goes on after a compaction, too
def test_a_compacted_history_goes_on_in_a_fresh_clone(
    published: Project, compacted_versions: Project, tmp_path: Path
) -> None:
    before = read(published, "release/train.parquet")
    took = set(published.diva("forget", "--list").stdout.split())
    shutil.copytree(compacted_versions.root, tmp_path / "compacted", symlinks=True)
    mine = Project(tmp_path / "compacted")
    assert mine.run("git", "status", "--porcelain").stdout == ""
    assert read(mine, "release/train.parquet").drop("path").equals(before.drop("path"))
    assert "pool@b001" not in (mine.root / "dvc.lock").read_text()
    other = mine.clone(tmp_path / "clone")
    other.run("python", "-m", "dvc", "pull", "--quiet")
    assert status(other) == UP_TO_DATE
    assert digests(other, "base", "curated", "pool", "truth") == digests(mine, "base", "curated", "pool", "truth")
    versioned.plan(other, (80, 100))
    assert {"download@b002", "extract@b002", "pool@b002", "extend@r003", "curate@r003"} <= due(other)
    assert not {name for name in due(other) if name.startswith(("base", "fit", "start")) or name.endswith("core")}
    versioned.run(other, "download@b002", "extract@b002", "pool@b002", "extend@r003", "curate@r003", *versioned.NEWEST)
    assert status(other) == UP_TO_DATE
    known = "what the compacted batch brought is known"
    assert refused(other, "b002") == {"already delivered: in b001": 15, "already delivered: in test": 40}, known
    state = read(other, "curated/r003.parquet")
    assert (state["round"] == "r003").sum() > 0
    assert not took & set(state.filter(pl.col("status") == "member")["sample_id"])
    assert "uncommitted" in other.diva("rollback", "v0.1.0", check=False).stderr
    mine.diva("rollback", "v0.1.0")
    assert due(mine) == {"report"}, "it tells the takedowns since then"
    assert not (mine.root / "data/base").exists()
    mine.diva("rollback", "v0.2.1")
    assert digests(mine, "base") == digests(other, "base")


def test_without_a_version_the_commands_say_so(project: Path, tmp_path: Path) -> None:
    fresh = checkout.embedded(tmp_path / "project")
    assert fresh.diva("versions").returncode == 0
    done = fresh.diva("show", check=False)
    assert done.returncode == 1
    assert "a version must be published first" in done.stderr
    shutil.rmtree(fresh.root / ".git")
    done = fresh.diva("versions", check=False)
    assert done.returncode == 1
    assert "must be a git repository with a commit" in done.stderr
    assert "Traceback" not in done.stderr
