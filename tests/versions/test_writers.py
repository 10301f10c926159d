"""Out and in again: an export is a delivery of the same ids, labels and weights, also for its own library."""

import datetime
import hashlib
import json

import polars as pl
import pytest

from diva.ingest import project, sources
from diva.store import release
from diva.store.manifest import ID_LENGTH
from diva.versions.writers import card, coco, croissant, cvat, hugging_face, label_studio, pictures, webdataset
from tests.ingest import layouts


@pytest.fixture
def train(tmp_path) -> pl.DataFrame:
    """A release of twelve images with a licence and a day each."""
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


DESCRIBED = {"coco": coco.write, "labelstudio": label_studio.write, "cvat": cvat.write}


def write(form: str, train: pl.DataFrame, folder) -> None:
    folder.mkdir()
    if form in (*DESCRIBED, "croissant"):
        (folder / "images").mkdir()
        for name, content, _ in shown(train):
            (folder / "images" / name).write_bytes(content)
        placed = [pictures.PlacedImage(name, 14, 12, row) for name, _, row in shown(train)]
        if form == "croissant":
            croissant.write(placed, folder, train, "curated@v0.1.0", "photos")
        else:
            DESCRIBED[form](placed, folder)
    elif form == "hf":
        hugging_face.write(train, shown(train), folder)
    else:
        webdataset.write(shown(train), folder)


FORMS = [("hf", 5), ("hf", 10_000), ("webdataset", 5), ("webdataset", 10_000)]
FORMS += [(form, 10_000) for form in (*DESCRIBED, "croissant")]


@pytest.mark.parametrize(("form", "rows"), FORMS)
def test_what_goes_out_comes_in_again(train, tmp_path, monkeypatch, form, rows):
    monkeypatch.setattr(pictures, "ROWS", rows)
    write(form, train, tmp_path / "out")
    source = str(tmp_path / "out" / "train.csv" if form == "croissant" else tmp_path / "out")
    options = project.options_of(source, "core")
    (tmp_path / "raw").mkdir()
    delivery = sources.open_source(source, options).read(tmp_path / "raw")
    assert delivery.refused.is_empty()
    weight = pl.col("weight_").cast(pl.Float64)  # XML and CSV have text alone
    samples = delivery.samples.select("sample_id", "label", weight, "licence")
    expected = train.select("sample_id", "label", weight_="weight", licence="licence")
    assert samples.sort("sample_id").equals(expected.sort("sample_id"))
    if form not in ("hf", "webdataset"):
        assert not any((tmp_path / "raw").iterdir())  # the images are used where they lie


def test_the_croissant_names_each_file_and_column(train, tmp_path):
    """By the specification's keys, and by its own library where that is installed."""
    write("croissant", train, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "croissant.json").read_text())
    table, images = content["distribution"]
    assert table["sha256"] == hashlib.sha256((tmp_path / "out" / table["contentUrl"]).read_bytes()).hexdigest()
    assert {path.parent.name for path in (tmp_path / "out").glob(images["includes"])} == {"images"}
    columns = pl.read_csv(tmp_path / "out" / "train.csv").columns
    fields = {field["name"]: field for field in content["recordSet"][0]["field"]}
    assert list(fields) == ["content", *columns]
    assert {name: fields[name]["dataType"] for name in ("label", "flagged", "weight", "day")} == {
        "label": "sc:Text", "flagged": "sc:Boolean", "weight": "sc:Float", "day": "sc:Date",
    }  # fmt: skip
    assert content["license"] == ["CC0", "CC-BY|4.0 <b>"]
    library = pytest.importorskip("mlcroissant", reason="the package mlcroissant is not installed")
    records = list(library.Dataset(str(tmp_path / "out" / "croissant.json")).records("samples"))
    assert {row["samples/label"] for row in records} == {name.encode() for name in layouts.CLASSES}


def test_what_xml_cannot_hold_is_replaced_and_names_that_clash_are_others(train, tmp_path):
    odd = train.with_columns(label=pl.lit('a\x01"<b>'), id=pl.lit("mine"), bbox=pl.lit("none"))
    for form in DESCRIBED:
        write(form, odd, tmp_path / form)
        source = str(tmp_path / form)
        delivery = sources.open_source(source, project.options_of(source, "core")).read(tmp_path)
        assert len(delivery.samples) == 12
        assert set(delivery.samples["label"]) == {'a\ufffd"<b>' if form == "cvat" else 'a\x01"<b>'}
        assert set(delivery.samples["id_" if form == "coco" else "id"]) == {"mine"}


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
