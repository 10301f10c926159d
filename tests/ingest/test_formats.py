"""The data people have: each format gives the samples that a plain folder of the same images gives."""

import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from diva.ingest import project, sources
from diva.ingest.formats import registry
from diva.ingest.inspection import inspect_source
from diva.store import ledger, manifest, parts, paths
from diva.store.features import FeatureFile, FeatureWriter
from diva.vision.datasets import ImageFiles
from diva.vision.transforms import ResizeCrop
from tests.ingest import layouts
from tests.projects import ledgers, real_stages

WHOLE = ["sample_id", "label", "width", "height", "pixels"]

PARTS = {"core": range(100, 118), "test": range(200, 212)}  # seeds of plain images


def opened(source: Path | str, **given: object):
    """A source as `diva init` takes it, and its options."""
    options = project.options_of(str(source), "core", **given)
    return sources.open_source(str(source), options), options


def read(source: Path | str, folder: Path, **given: object) -> manifest.Delivery:
    folder.mkdir(parents=True, exist_ok=True)
    return opened(source, **given)[0].read(folder)


def pixels(delivery: manifest.Delivery) -> dict[str, np.ndarray]:
    """What a network sees of each sample, by its id."""
    samples = delivery.samples
    images = ImageFiles(samples["path"].to_list(), ResizeCrop(12, 12), samples["sample_id"].to_list())
    return {name: images[row].numpy() for row, name in enumerate(samples["sample_id"])}


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_the_same_images_are_the_same_samples_in_every_format(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build, kind = layouts.LAYOUTS[name]
    source = build(tmp_path / "in")
    assert registry.recognised(str(source)) == kind
    delivery, expected = read(source, tmp_path / "raw"), read(layouts.plain(tmp_path / "in"), tmp_path / "none")
    assert delivery.refused.is_empty()
    assert delivery.samples.select(WHOLE).sort("sample_id").equals(expected.samples.select(WHOLE).sort("sample_id"))
    wanted, given = pixels(expected), pixels(delivery)
    assert all(np.array_equal(given[sample], image) for sample, image in wanted.items())
    assert set(delivery.samples["site"]) == {"site 0", "site 1"}
    assert len(list((tmp_path / "raw").iterdir())) <= 1  # one shard at most, never a file an image
    source_now, options = opened(source)
    about = inspect_source(str(source), options, "--core")
    assert (about.samples, about.classes, about.unusable) == (12, 3, 0)
    assert f"is read as {source_now.layout.title}" in about.notes[0]
    assert source_now.checksum() == opened(source)[0].checksum()


def test_a_batch_of_a_format_comes_back_to_the_byte_and_one_that_changed_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = layouts.saved(tmp_path / "in")
    options = project.options_of(str(source), "core")
    entry = ledger.Batch(source=str(source), checksum=sources.checksum(str(source), options), options=options)
    stored = []
    for number in range(2):
        folder = tmp_path / "raw"
        folder.mkdir()
        sources.open_batch(entry, "core").read(folder)
        stored.append((folder / "images.tar").read_bytes())
        with tarfile.open(folder / "images.tar") as file:
            assert len(file.getmembers()) == 12
        (folder / "images.tar").rename(tmp_path / f"{number}.tar")
        folder.rmdir()
    assert stored[0] == stored[1]
    table = next(source.glob("*.arrow"))
    table.write_bytes(table.read_bytes() + b" ")
    with pytest.raises(ValueError, match="has changed since it was accepted"):
        sources.open_batch(entry, "core")


def test_splits_go_to_the_sets_of_their_names_or_as_asked(tmp_path):
    source = str(layouts.split_folders(tmp_path))
    assert project.options_of(source, "test") == {"format": "huggingface", "split": "test"}
    assert project.options_of(source, "b001") == {"format": "huggingface", "split": "train"}
    assert len(read(source, tmp_path / "raw", split="test").samples) == 3
    with pytest.raises(ValueError, match=r"splits test, train: choose one by --split"):
        sources.open_source(source, {"format": "huggingface", "split": "other"})


def test_what_was_accepted_before_is_read_as_it_was(tmp_path):
    """A folder class/image in which metadata.csv lies has no format in an old ledger."""
    folder = layouts.plain(tmp_path)
    (folder / "metadata.csv").write_text("file_name,label\ncat/000.png,dog\n")
    assert len(sources.open_source(str(folder), {}).read(tmp_path).samples) == 12
    assert project.options_of(str(folder), "core", layout="plain") == {}
    assert read(folder, tmp_path, layout="huggingface").samples["label"].to_list() == ["dog"]
    with pytest.raises(ValueError, match="format must be one of webdataset"):
        opened(folder, layout="tfrecord")
    (folder / "metadata.csv").write_text("taken,by\n2026,me\n")
    assert registry.recognised(str(folder)) is None


def test_boxes_are_samples_and_those_of_an_image_belong_together(tmp_path):
    source, expected = layouts.boxes(tmp_path / "in")
    delivery = read(source, tmp_path / "raw")
    samples = delivery.samples
    assert samples.select("label", "group").equals(expected.select("label", "group"))
    for path, image, left in zip(samples["path"], expected["image"], expected["left"], strict=True):
        whole = Image.open(tmp_path / "in" / "images" / f"{image}.png")
        cut = Image.open(parts.opened(path))
        assert np.array_equal(np.asarray(cut), np.asarray(whole)[5:35, left : left + 18])
    assert samples["score_"].to_list() == [0.5] * 6
    assert registry.recognised(str(tmp_path / "in")) == "coco"


def test_annotations_without_boxes_are_labels_of_images(tmp_path):
    def samples(place):
        said = [{"id": seed, "image_id": seed, "category_id": seed % 3} | place for seed in range(3)]
        (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": said, "categories": categories}))
        return read(tmp_path, tmp_path / "raw").samples

    layouts.files(tmp_path / "images")
    images = [{"id": seed, "file_name": f"{seed:03d}.png"} for seed in range(3)]
    categories = [{"id": code, "name": name} for code, name in enumerate(layouts.CLASSES)]
    for place in ({}, {"bbox": None}, {"bbox": [], "area": 0}, {"bbox": [0, 0, 0, 0]}):
        whole = samples(place)
        assert whole.select("label", "width").rows() == [("cat", 14), ("dog", 14), ("owl", 14)]
    outlined = samples({"segmentation": [[1, 2, 9, 2, 9, 8, 1, 8], []]})
    assert outlined.select("label", "width", "height").rows() == [("cat", 8, 6), ("dog", 8, 6), ("owl", 8, 6)]
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"must name images, got none in 3 that were opened; the first: .*missing"):
        inspect_source(str(tmp_path), {"format": "coco"}, "--core")


@pytest.mark.parametrize("name", layouts.BOXES)
def test_the_same_boxes_are_the_same_samples_in_every_format(name, tmp_path):
    coco, _ = layouts.boxes(tmp_path / "coco")
    expected = read(coco, tmp_path / "expected").samples
    build, kind = layouts.BOXES[name]
    source = build(tmp_path / "in")
    assert {registry.recognised(str(source)), registry.recognised(str(source.parent))} == {kind}
    delivery = read(source, tmp_path / "raw")
    assert delivery.refused.is_empty()
    assert delivery.samples.select(WHOLE).equals(expected.select(WHOLE))
    assert [Path(group).name for group in delivery.samples["group"]] == expected["group"].to_list()
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["images.tar"]
    image = next(tmp_path.glob("in/**/1.png"))
    before = opened(source)[0].checksum()
    image.write_bytes(layouts.png(1))
    assert opened(source)[0].checksum() != before


@pytest.mark.parametrize("name", layouts.BOXES)
def test_images_with_boxes_keep_to_the_limits_lie_within_and_are_whole(name, tmp_path):
    source = layouts.BOXES[name][0](tmp_path / "in")
    options = project.options_of(str(source), "core")
    (tmp_path / "raw").mkdir()
    small = sources.open_source(str(source), options, max_pixels=60 * 40 - 1).read(tmp_path / "raw")
    assert set(small.refused["reason"]) == {"more than 2399 pixels"}
    with pytest.raises(ValueError, match="may be a bomb"):
        sources.open_source(str(source), {**options, "max_bytes": 3000}).read(tmp_path / "raw")
    first, second = sorted(tmp_path.glob("in/images/**/?.png"))
    second.write_bytes(second.read_bytes()[:300])
    first.rename(tmp_path / "secret.png")
    first.symlink_to(tmp_path / "secret.png")
    delivery = read(source, tmp_path / "again")
    assert delivery.samples.is_empty()
    kinds = {reason.partition(":")[0] for reason in delivery.refused["reason"]}
    assert "damaged image" in kinds
    assert kinds <= {"damaged image", "path outside of the delivery", "missing file"}


def test_lines_of_yolo_that_are_no_boxes_are_set_aside_and_nothing_leads_out(tmp_path):
    source = layouts.yolo_boxes(tmp_path / "in")
    lines = ["0 0.5 0.5 1", "x 0.5 0.5 1 1", "7 0.5 0.5 1 1", "1 nan 0.5 1 1", "1 0.5 0.5 inf 1", "1e400 0 0 1 1"]
    lines += ["1 0.5 0.5 0.001 0.001", "1 0.5 0.5 1 1 0.9", ""]
    (tmp_path / "in" / "labels" / "train" / "0.txt").write_text("\n".join(lines))
    Image.new("RGB", (20, 20)).save(tmp_path / "secret.png")
    (tmp_path / "in" / "list.txt").write_text("images/train/0.png\n../secret.png\n/etc/hostname\n")
    text = source.read_text().replace("train: ../images/train", "train: [list.txt, images/train, ../..]")
    source.write_text(text)
    delivery = read(source, tmp_path / "raw")
    assert delivery.samples["label"].to_list() == ["dog", "cat", "dog", "owl"]
    reasons = [reason.partition(":")[0] for reason in delivery.refused["reason"]]
    wrong = ["line that is no box"] * 3 + ["class without a name"] + ["box too small"] * 3 + ["missing file"]
    assert sorted(reasons) == sorted([*wrong, *["path outside of the delivery"] * 2])
    with pytest.raises(ValueError, match=r"holds the splits train, val: choose one by --split"):
        opened(source, split="other")
    source.write_text("names: [a]\ntrain: !!python/object/apply:os.system ['true']\n")
    assert registry.recognised(str(source)) is None


def test_boxes_in_the_units_of_another_format_are_named_before_anything_runs(tmp_path):
    source = layouts.yolo_boxes(tmp_path / "yolo")
    for lines in (tmp_path / "yolo" / "labels").rglob("*.txt"):
        lines.write_text("0 20 20 18 30\n")
    with pytest.raises(ValueError, match=r"box in pixels, where shares of the image belong. Divide it"):
        inspect_source(str(source), project.options_of(str(source), "core"), "--core")
    folder = tmp_path / "coco"
    source, _ = layouts.boxes(folder)
    content = json.loads(source.read_text())
    for box in content["annotations"]:
        box["bbox"] = [0.1, 0.1, 0.5, 0.5]
    source.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"box in shares of the image, where pixels belong. Multiply it"):
        inspect_source(str(source), project.options_of(str(source), "core"), "--core")


def test_folders_of_classes_as_yolo_classifies_are_folders_of_classes(tmp_path):
    (tmp_path / "yolo").mkdir()
    for part in ("train", "val"):
        layouts.plain(tmp_path / part).rename(tmp_path / "yolo" / part)
    (tmp_path / "yolo" / "data.yaml").write_text("names: [cat, dog, owl]\ntrain: train\nval: val\n")
    assert registry.recognised(str(tmp_path / "yolo")) is None
    assert set(read(tmp_path / "yolo" / "train", tmp_path / "raw").samples["label"]) == set(layouts.CLASSES)


def test_exports_whose_images_are_not_all_named_lose_none(tmp_path):
    source = layouts.label_studio(tmp_path)
    Image.new("RGB", (9, 9)).save(source / "images" / "new.png")
    delivery = read(source, tmp_path / "raw")
    assert len(delivery.samples) == 12
    assert delivery.refused["reason"].to_list() == ["not listed in the export"]
    (source / "cat").mkdir()
    (source / "images" / "new.png").rename(source / "cat" / "new.png")
    assert registry.recognised(str(source)) is None  # folders of classes, with an export beside them
    assert len(read(source, tmp_path / "raw", layout="labelstudio").samples) == 12


def test_what_people_disagree_on_wait_for_or_name_elsewhere_is_said(tmp_path):
    source = layouts.label_studio(tmp_path)
    tasks = json.loads((source / "export.json").read_text())
    tasks[0]["annotations"].append({"result": [{"type": "choices", "value": {"choices": ["owl"]}}]})
    tasks[1]["annotations"] = []
    tasks[2]["data"]["image"] = "/data/local-files/?d=../secret.png"
    tasks[3]["data"] = {"words": "none"}
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    (source / "export.json").write_text(json.dumps(tasks))
    delivery = read(source, tmp_path / "raw")
    reasons = sorted(reason.partition(":")[0] for reason in delivery.refused["reason"])
    assert reasons == [
        "no image", "no label", *["not listed in the export"] * 2, "path outside of the delivery", "two labels"
    ]  # fmt: skip
    assert "two labels: cat, owl" in delivery.refused["reason"].to_list()
    options = project.options_of(str(source), "b001")
    assert sources.open_source(str(source), options, unlabelled=True).read(tmp_path).samples["label"].null_count() == 1
    (source / "export.json").write_text(json.dumps([{"data": [], "annotations": []}]))
    with pytest.raises(ValueError, match=r"0\.data: .*; export as JSON"):
        opened(source, layout="labelstudio")


def test_xml_that_declares_entities_or_turned_boxes_is_not_taken(tmp_path):
    source = layouts.cvat_boxes(tmp_path / "in")
    text = source.read_text().replace('ybr="35.00"', 'ybr="35.00" rotation="30"', 1).replace("0,5;", "0,;", 1)
    source.write_text(text)
    reasons = sorted(reason.partition(":")[0] for reason in read(source, tmp_path / "raw").refused["reason"])
    assert reasons == ["box too small", "turned box"]
    source.write_text('<!DOCTYPE a [<!ENTITY b "c">]>' + text)
    assert registry.recognised(str(source)) is None


def test_boxes_that_are_none_are_set_aside_with_the_reason(tmp_path):
    source, _ = layouts.boxes(tmp_path / "in")
    content = json.loads(source.read_text())
    wrong = [[0, 0, 1, 1], [500, 500, 9, 9], ["x", 0, 1, 1], [0, 0, float("inf"), 5], None]
    content["annotations"] = [
        {"id": number, "image_id": 10, "category_id": 1, "bbox": box} for number, box in enumerate(wrong)
    ]
    content["annotations"] += [
        {"id": 10, "image_id": 10, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"id": 11, "image_id": 99, "category_id": 1, "bbox": [0, 0, 9, 9]},
        {"id": 12, "image_id": 12, "category_id": 1, "bbox": [0, 0, 9, 9]},
        {"id": 13, "image_id": 10, "category_id": 77, "bbox": [0, 0, 9, 9]},
        {"id": 14, "image_id": 10, "category_id": 1, "bbox": [0, 0, 9, 9]},
    ]
    content["images"].append({"id": 12, "file_name": "../../outside.png"})
    Image.new("RGB", (20, 20)).save(tmp_path / "outside.png")
    source.write_text(json.dumps(content))
    delivery = read(source, tmp_path / "raw")
    reasons = [reason.partition(":")[0] for reason in delivery.refused["reason"]]
    assert sorted(reasons) == sorted(
        [*["box too small"] * 5, "crowd", "no image", "path outside of the delivery", "category without a name"]
    )
    assert len(delivery.samples) == 1


def test_boxes_keep_to_the_limits_of_pixels_and_bytes(tmp_path):
    source, _ = layouts.boxes(tmp_path / "in")
    (tmp_path / "raw").mkdir()
    options = project.options_of(str(source), "core")
    delivery = sources.open_source(str(source), options, max_pixels=60 * 40 - 1).read(tmp_path / "raw")
    assert len(delivery.samples) == 0
    assert set(delivery.refused["reason"]) == {"more than 2399 pixels"}
    assert len(sources.open_source(str(source), options, max_pixels=60 * 40).read(tmp_path / "raw").samples) == 6
    with pytest.raises(ValueError, match=r"images\.tar must take up at most 3000 bytes, got more: .* option max_bytes"):
        sources.open_source(str(source), {**options, "max_bytes": 3000}).read(tmp_path / "raw")
    assert (tmp_path / "raw" / "images.tar").stat().st_size < tarfile.RECORDSIZE + 3000


def test_a_shard_that_is_cut_short_gives_its_whole_samples_and_a_reason(tmp_path):
    layouts.shards(tmp_path)
    shard = tmp_path / "shards" / "part-001.tar"
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    delivery = read(tmp_path / "shards", tmp_path / "raw")
    (reason,) = delivery.refused["reason"]
    assert reason.startswith("damaged shard: ")
    assert 6 < len(delivery.samples) < 12
    assert f"its first {len(delivery.samples) - 6} samples are used" in reason


def test_members_of_a_shard_that_are_no_images_harm_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    bomb = b"P6 90000 90000 255\n"
    shard = layouts.tar(
        tmp_path / "s" / "part-000.tar",
        {
            "a.png": layouts.png(0), "a.cls": b"0", "a.pickle": pickle.dumps(Evil()),
            "../../climbs.png": layouts.png(1), "../../climbs.cls": b"1",
            "bomb.ppm": bomb, "bomb.cls": b"0",
            "empty.png": b"", "empty.cls": b"1",
            "unnamed.png": layouts.png(2),
            "wrong.png": layouts.png(3), "wrong.json": b"{not json",
        },
    )  # fmt: skip
    (shard.parent / "classes.txt").write_text("cat\ndog\n")
    with tarfile.open(shard, "a") as file:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    delivery = read(shard.parent, tmp_path / "raw")
    assert sorted(delivery.samples["label"]) == ["cat", "dog"]
    assert all(str(tmp_path / "s") in path and ".." not in path for path in delivery.samples["path"])
    kinds = sorted(reason.partition(":")[0] for reason in delivery.refused["reason"])
    assert len(kinds) == 5
    assert {"no label", "zero bytes", "no file in a shard"} <= set(kinds)
    assert not (tmp_path / "touched").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "s"]


def test_names_with_dots_in_a_shard_are_samples_and_no_image_is_left_out_without_a_word(tmp_path):
    names = ("IMG_1.02.png", "IMG_1.03.png", "x.png", "y.1.png", "x.mask.png", "y.left.png", "cat/z.b.png")
    members = {name: layouts.png(number) for number, name in enumerate(names)}
    members |= {"IMG_1.02.cls": b"a", "IMG_1.03.json": b'{"label": "b", "site": "n"}', "x.cls": b"a", "y.cls": b"b"}
    members |= {"v.heic": b"no image", "v.cls": b"a", "y.1.txt": b"one", "y.1.cls": b"c"}
    shard = layouts.tar(tmp_path / "s" / "A.TAR", dict(sorted(members.items())))
    delivery = read(shard, tmp_path / "raw")
    samples = delivery.samples
    assert dict(zip([Path(path).name for path in samples["path"]], samples["label"], strict=True)) == {
        "IMG_1.02.png": "a", "IMG_1.03.png": "b", "x.png": "a", "y.1.png": "c", "z.b.png": "cat",
    }  # fmt: skip
    assert samples.filter(label="b")["site"].to_list() == ["n"]
    assert all(parts.is_there(path) for path in samples["path"])
    refused = {Path(path).name: reason.partition(":")[0] for path, reason in delivery.refused["path", "reason"].rows()}
    assert refused == {
        "x.mask.png": "image beside a sample's",
        "y.left.png": "image beside a sample's",
        "v.heic": "format that is not read",
    }
    assert registry.recognised(str(shard.parent)) == "webdataset"


def test_a_shard_whose_bytes_change_after_its_manifest_is_no_longer_those_samples(tmp_path):
    delivery = read(layouts.shards(tmp_path), tmp_path / "raw")
    shard = tmp_path / "shards" / "part-000.tar"
    content = bytearray(shard.read_bytes())
    start = parts.part_of(delivery.samples["path"][0]).start
    content[start + 60] ^= 255
    shard.write_bytes(content)
    samples = delivery.samples
    images = ImageFiles(samples["path"].to_list(), ResizeCrop(12, 12), samples["sample_id"].to_list())
    assert images[0].reason.startswith("changed file")
    assert not hasattr(images[1], "reason")
    shard.write_bytes(content[: start + 10])
    assert images[1].reason.startswith("damaged image: part-000.tar is cut short")


def test_paths_of_a_table_that_lead_out_are_set_aside(tmp_path):
    layouts.files(tmp_path / "in")
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    names = ["000.png", "../secret.png", str(tmp_path / "secret.png"), "link.png", "", "gone.png"]
    rows = pl.DataFrame({"file_name": names, "label": ["cat"] * 6})
    rows.write_csv(tmp_path / "in" / "metadata.csv")
    delivery = read(tmp_path / "in", tmp_path / "raw")
    assert len(delivery.samples) == 1
    kinds = [reason.partition(":")[0] for reason in delivery.refused["reason"]]
    unlisted = ["not listed in metadata.csv"] * 11
    assert sorted(kinds) == ["missing file", "no image", *unlisted, *["path outside of the delivery"] * 3]


def test_what_lies_beside_class_folders_makes_them_no_other_format(tmp_path):
    folder = layouts.plain(tmp_path)
    lists = {name: folder / name / "metadata.csv" for name in ("cat", "dog", "owl")}
    lists["cat"].write_text("file_name,camera\n000.png,x\n")
    shard = layouts.tar(folder / "extra.tar", {"1.png": layouts.png(20), "1.cls": b"cat"})
    table = folder / "extra.parquet"
    cell = {"bytes": layouts.png(21), "path": None}
    pl.DataFrame({"image": [cell], "label": ["cat"]}).write_parquet(table)
    delivery = read(folder, tmp_path / "raw")
    assert len(delivery.samples) == 12
    assert {Path(path).name for path in delivery.refused["path"]} == {"metadata.csv", "extra.tar", "extra.parquet"}
    table.unlink()
    shard.unlink()
    for path in lists.values():  # of classes, not of splits
        path.write_text("file_name,camera\n000.png,x\n")
    assert registry.recognised(str(folder)) is None
    for old, new in (("cat", "train"), ("dog", "test"), ("owl", "val")):
        (folder / old).rename(folder / new)
    assert registry.recognised(str(folder)) == "huggingface"
    delivery = read(folder, tmp_path / "raw", split="train")
    reasons = delivery.refused.filter(pl.col("path").str.contains("train/00[369]"))["reason"].to_list()
    assert len(delivery.refused) == 4
    assert reasons.count("not listed in metadata.csv") == 3
    (folder / "val" / "metadata.csv").unlink()
    assert registry.recognised(str(folder)) is None


def test_files_that_cells_name_are_part_of_the_checksum(tmp_path):
    layouts.files(tmp_path / "in")
    cells = [{"bytes": layouts.png(20), "path": "x.png"}, {"bytes": None, "path": "000.png"}, None]
    kind = pl.Struct({"bytes": pl.Binary, "path": pl.String})
    pl.DataFrame({"image": cells, "label": ["cat"] * 3}, schema_overrides={"image": kind}).write_parquet(
        tmp_path / "in" / "table.parquet"
    )
    source, options = opened(tmp_path / "in" / "table.parquet")
    assert len(source.read(tmp_path).samples) == 2
    assert [path.name for path in source.layout.files()] == ["table.parquet", "000.png"]
    before = source.checksum()
    (tmp_path / "in" / "000.png").write_bytes(layouts.png(30))
    assert sources.checksum(str(tmp_path / "in" / "table.parquet"), options) != before
    assert registry.recognised(str(tmp_path / "in")) is None  # its other images would be lost
    for path in (tmp_path / "in").glob("00[1-9].png"):
        path.unlink()
    for path in (tmp_path / "in").glob("01*.png"):
        path.unlink()
    assert registry.recognised(str(tmp_path / "in")) == "huggingface"


def test_columns_of_bytes_are_never_opened_and_cells_without_an_image_are_set_aside(tmp_path):
    cells = [
        {"bytes": layouts.png(0), "path": None},
        None,
        {"bytes": None, "path": "../x.png"},
        {"bytes": b"no", "path": "a.png"},
    ]
    rows = pl.DataFrame({"image": cells, "label": ["cat", "dog", "cat", "dog"], "blob": [pickle.dumps(1)] * 4})
    rows.write_parquet(tmp_path / "table.parquet")
    delivery = read(tmp_path / "table.parquet", tmp_path / "raw")
    assert delivery.samples["label"].to_list() == ["cat"]
    assert "blob" not in delivery.samples.columns
    kinds = sorted(reason.partition(":")[0] for reason in delivery.refused["reason"])
    assert kinds == ["no image", "not an image", "path outside of the delivery"]
    (tmp_path / "table.parquet").write_bytes((tmp_path / "table.parquet").read_bytes()[:-40])
    assert registry.recognised(str(tmp_path / "table.parquet")) is None


def test_a_label_among_several_is_chosen_by_its_column(tmp_path):
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    whole = layouts.hugging_face(tmp_path)
    two = whole.add_column("coarse", [0, 1] * 6).cast_column("coarse", datasets.ClassLabel(names=["pet", "wild"]))
    two.save_to_disk(tmp_path / "two")
    with pytest.raises(ValueError, match="one column of labels, got label, coarse; choose by --columns label=NAME"):
        read(tmp_path / "two", tmp_path / "raw")
    chosen = read(tmp_path / "two", tmp_path / "raw", columns={"label": "coarse"})
    assert set(chosen.samples["label"]) == {"pet", "wild"}


def test_features_of_the_same_images_are_equal_to_the_bit_in_every_format(tmp_path, monkeypatch):
    """Through the real stages, from sources in place; those of shards also after a run that was cut off within one."""
    from stages.download import download
    from stages.extract import extract

    monkeypatch.chdir(tmp_path)
    built = {name: build(Path("in")) for name, (build, _) in layouts.LAYOUTS.items() if name != "split_folders"}
    sets = {
        "core": layouts.plain(Path("in")),
        **{f"b{number:03d}": built[name] for number, name in enumerate(built, 1)},
    }
    real_stages.write_params(extract={"batch_size": 4})
    entries = {batch: (str(source), project.options_of(str(source), batch)) for batch, source in sets.items()}
    core = entries.pop("core")
    features, labels = {}, {}
    for batch, source in {"core": core, **entries}.items():  # content comes to a pool once
        ledgers.write(core, **({} if batch == "core" else {batch: source}))
        download(batch)
        if "shards" in source[0]:
            with monkeypatch.context() as patch:
                patch.setattr(FeatureWriter, "append", _stop)
                with pytest.raises(KeyboardInterrupt):
                    extract(batch)
        extract(batch)
        stored = FeatureFile(paths.features(batch))
        features[batch] = dict(zip(stored.sample_id, stored.read().tolist(), strict=True))
        labels[batch] = dict(manifest.read(paths.manifest(batch)).select("sample_id", "label").iter_rows())
    assert all(other == features["core"] for other in features.values())
    assert all(other == labels["core"] for other in labels.values())
    assert len(features["core"]) == 12


def test_the_curated_set_of_the_same_images_is_the_same_in_every_format(tmp_path, monkeypatch):
    """To the last digit but one: the order of files is the order of sums."""
    monkeypatch.setattr(layouts, "SEEDS", range(24))
    monkeypatch.setattr(layouts, "label", lambda seed: layouts.CLASSES[(seed + (seed % 6 == 0)) % 3])
    sets = {}
    for name in ("plain", *(name for name in layouts.LAYOUTS if name != "split_folders")):
        folder = tmp_path / name
        build = layouts.LAYOUTS[name][0] if name in layouts.LAYOUTS else layouts.plain
        folder.mkdir()
        monkeypatch.chdir(folder)
        core, test = (str(real_stages.album(folder / part, seeds)) for part, seeds in PARTS.items())
        real_stages.begin(core, test)
        source = str(build(folder / "in"))
        real_stages.night(source, project.options_of(source, "b001"))
        sets[name] = real_stages.released()
    assert 18 < len(sets["plain"]) < 42
    assert set(sets["plain"]["origin"]) == {"core", "pool"}
    assert {name: real_stages.alike(given, sets["plain"]) for name, given in sets.items()} == dict.fromkeys(sets, True)


def _stop(writer: FeatureWriter, *block: object, append=FeatureWriter.append) -> None:
    """Append one block, and be killed at the second, within a shard."""
    if writer.done:
        raise KeyboardInterrupt
    append(writer, *block)


BROKEN = {
    "state.json": b"{}",
    "dataset_info.json": b"[1, 2",
    "data-00000-of-00002.arrow": b"ARROW1 no more of it",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_saved_data_set_that_is_damaged_is_refused_by_its_name(tmp_path, name):
    source = layouts.saved(tmp_path / "in")
    (source / name).write_bytes(BROKEN[name])
    with pytest.raises(ValueError, match=r"must be (whole|a readable)"):
        read(source, tmp_path / "raw")
    assert not any((tmp_path / "raw").glob("*.png"))


@pytest.mark.parametrize(
    "content",
    [
        {"images": [1], "annotations": [], "categories": []},
        {"images": [{"id": [], "file_name": "a"}], "annotations": [], "categories": []},
        {"images": [], "annotations": [None], "categories": []},
        {"images": [], "annotations": [{"image_id": {}}], "categories": [{}]},
    ],
)
def test_a_coco_file_of_another_shape_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"boxes\.json must be whole, as coco lays it out"):
        read(tmp_path / "boxes.json", tmp_path / "raw")


def test_names_of_tables_cannot_lead_out_of_a_saved_data_set(tmp_path):
    source = layouts.saved(tmp_path / "in")
    state = json.loads((source / "state.json").read_text())
    first = state["_data_files"][0]["filename"]
    (source / first).rename(tmp_path / first)
    state["_data_files"][0]["filename"] = f"../../{first}"
    (source / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="must be there, got nothing"):
        read(source, tmp_path / "raw")
