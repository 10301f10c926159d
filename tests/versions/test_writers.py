"""Out and in again: an export is a delivery of the same ids, labels and weights, also for its own library."""

import datetime
import json

import polars as pl
import pytest

from diva.ingest import project, sources
from diva.store import release
from diva.store.manifest import ID_LENGTH
from diva.versions.writers import card, hugging_face, pictures, webdataset
from tests.ingest import layouts


@pytest.fixture
def train(tmp_path) -> pl.DataFrame:
    """A release of twelve images with a licence and a day each."""
    import hashlib

    files = layouts.files(tmp_path / "images")
    ids = [hashlib.sha256(path.read_bytes()).hexdigest()[:ID_LENGTH] for path in files]
    rows = {
        "sample_id": ids,
        "path": [path.as_posix() for path in files],
        "label": [layouts.label(seed) for seed in layouts.SEEDS],
        "given_label": ["cat"] * 12,
        "flagged": [seed == 3 for seed in layouts.SEEDS],
        "weight": [0.25 * seed for seed in layouts.SEEDS],
        "origin": ["core"] * 12,
        "licence": ["CC0", "CC-BY|4.0 <b>", None] * 4,
        "day": [datetime.date(2026, 3, 1 + seed) for seed in layouts.SEEDS],
        "image": [f"IMG {seed}" for seed in layouts.SEEDS],
        "took": [datetime.timedelta(seconds=seed) for seed in layouts.SEEDS],
    }
    return pl.DataFrame(rows)


def shown(train: pl.DataFrame) -> list[pictures.ExportedImage]:
    rows = enumerate(train.iter_rows(named=True))
    return [pictures.ExportedImage(f"{row['sample_id']}.png", layouts.png(seed), row) for seed, row in rows]


def write(form: str, train: pl.DataFrame, folder) -> None:
    folder.mkdir()
    if form == "hf":
        hugging_face.write(train, shown(train), folder)
    else:
        webdataset.write(shown(train), folder)


@pytest.mark.parametrize("form", ["hf", "webdataset"])
@pytest.mark.parametrize("rows", [5, 10_000])
def test_what_goes_out_comes_in_again(train, tmp_path, monkeypatch, form, rows):
    monkeypatch.setattr(pictures, "ROWS", rows)
    write(form, train, tmp_path / "out")
    options = project.options_of(str(tmp_path / "out"), "core")
    (tmp_path / "raw").mkdir()
    delivery = sources.open_source(str(tmp_path / "out"), options).read(tmp_path / "raw")
    assert delivery.refused.is_empty()
    samples = delivery.samples.select("sample_id", "label", "weight_", "licence")
    expected = train.select("sample_id", "label", weight_="weight", licence="licence")
    assert samples.sort("sample_id").equals(expected.sort("sample_id"))


def test_the_library_of_hugging_face_reads_what_is_written(train, tmp_path):
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    write("hf", train, tmp_path / "out")
    text = card.text("v", {}, train, train.clear(), [], hugging_face.front(train))
    (tmp_path / "out" / "README.md").write_text(text, encoding="utf-8")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"), split="train")
    assert loaded.features["label"].names == list(layouts.CLASSES)
    assert isinstance(loaded.features["image"], datasets.Image)
    assert [loaded.features["label"].int2str(code) for code in loaded["label"]] == train["label"].to_list()
    assert loaded["weight"][:] == train["weight"].to_list()
    assert loaded["day"][:] == train["day"].to_list()
    assert loaded["image_"][:] == train["image"].to_list()
    assert loaded["took"][3] == "PT3S"
    assert loaded[3]["image"].size == (14, 12)
    assert loaded.cast_column("image", datasets.Image(decode=False))[3]["image"]["bytes"] == layouts.png(3)


def test_the_library_of_webdataset_reads_what_is_written(train, tmp_path):
    library = pytest.importorskip("webdataset", reason="the package webdataset is not installed")
    write("webdataset", train, tmp_path / "out")
    (shard,) = sorted((tmp_path / "out").iterdir())
    rows = list(library.WebDataset(str(shard), shardshuffle=False))
    assert [row["png"] for row in rows] == [layouts.png(seed) for seed in layouts.SEEDS]
    about = [json.loads(row["json"]) for row in rows]
    assert [one["weight"] for one in about] == train["weight"].to_list()
    assert all("path" not in one for one in about)  # of this machine


def test_the_card_says_what_there_is_and_marks_nothing_up(train):
    whole = train.with_columns(label=pl.lit("a|b](http://x) <script>"))
    summary = {"core": 12, "added": 0, "left_out": 1, "weights": {"kept": True, "reason": "held-out error 0.1"}}
    facts = [("batch core", "photos; sha256:00"), ("settings of r001", "per_round 0.1")]
    text = card.text("curated@v0.1.0", summary, whole, pl.DataFrame(schema=dict(release.REMOVED)), facts)
    assert text.startswith("---\n")
    assert "The labels of 1 samples in it are called wrong" in text
    assert "sha256" in text
    assert "CC0" in text
    assert "| none given | 4 |" in text
    assert "<script>" not in text
    assert "](http" not in text
    assert "<b>" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") == 3 for line in rows)
    assert "No column names a licence" in card.text("v", summary, whole.drop("licence"), whole.clear(), facts)
