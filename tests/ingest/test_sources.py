"""Sources: what each kind brings, what is set aside and why, and that a changed delivery is seen."""

import hashlib
import io
import os
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import polars as pl
import pytest
from PIL import Image

from diva.ingest import embedded, images, inspection, listings, sources
from diva.ingest.textures import MATERIALS
from diva.store import ledger, manifest
from diva.store.manifest import Delivery

DIGITS = {"offset": 100, "size": 60, "wrong": 0.25, "seed": 3}


def png(path: Path, shade: int, size: tuple[int, int] = (4, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 0)).save(path)
    return path


def read(source: str | Path, folder: Path, **options: Any) -> Delivery:
    folder.mkdir(exist_ok=True)
    return sources.open_source(str(source), options).read(folder)


def reasons(delivery: Delivery) -> dict[str, str]:
    return {Path(path).name: reason for path, reason in delivery.refused.select("path", "reason").iter_rows()}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for number in range(3):
        png(root / "rose" / f"{number}.png", number)
        png(root / "tulip" / "field" / f"{number}.jpg", 100 + 20 * number)
    return root


def test_digits_come_with_their_planted_labels_and_the_truth_apart(tmp_path: Path) -> None:
    brought = read("digits", tmp_path / "raw", **DIGITS)
    joined = brought.samples.join(brought.truth, on="sample_id")
    assert len(joined) == 60
    assert (joined["label"] != joined["true_label"]).sum() == 15
    assert brought.samples["path"].to_list() == [f"{tmp_path}/raw/{number:05d}.png" for number in range(60)]
    assert set(brought.samples["width"]) == set(brought.samples["height"]) == {8}
    assert brought.refused.is_empty()
    first = Path(brought.samples["path"][0])
    assert (images.digest(first) or "").startswith(brought.samples["sample_id"][0])


def test_digits_slices_never_share_an_image_and_the_labels_do_not_move_them(tmp_path: Path) -> None:
    slices = [read("digits", tmp_path / str(n), offset=n, size=600, wrong=w, seed=n) for n, w in ((0, 0.5), (600, 0.0))]
    ids = [set(brought.samples["sample_id"]) for brought in slices]
    assert len(ids[0]) == len(ids[1]) == 600
    assert not ids[0] & ids[1]
    clean = read("digits", tmp_path / "clean", offset=0, size=600)
    assert clean.samples["sample_id"].equals(slices[0].samples["sample_id"])
    assert clean.truth.equals(slices[0].truth)


def test_textures_are_drawn_alike_each_time_and_hold_both_kinds_of_planted_labels(tmp_path: Path) -> None:
    options = {"offset": 20, "size": 200, "wrong": 0.1, "seed": 3, "mistaken": {"tiles": 0.5}}
    first, second = (read("textures", tmp_path / name, **options) for name in "ab")
    assert first.samples["sample_id"].equals(second.samples["sample_id"])
    assert first.samples["sample_id"].is_unique().all()
    joined = first.samples.join(first.truth, on="sample_id")
    assert set(joined["true_label"]) == set(MATERIALS)
    moved = joined.filter(pl.col("label") != pl.col("true_label"))
    assert moved.filter(true_label="tiles", label="weave").height >= 8
    assert 20 <= len(moved) <= 32
    with Image.open(first.samples["path"][0]) as image:
        assert (image.size, image.mode) == ((96, 96), "RGB")


def test_texture_slices_never_share_an_image_and_the_labels_do_not_move_them(tmp_path: Path) -> None:
    wrong, other, clean = (
        read("textures", tmp_path / f"{offset}{share}", offset=offset, size=30, wrong=share)
        for offset, share in ((0, 0.5), (30, 0.0), (0, 0.0))
    )
    assert not {*wrong.samples["sample_id"]} & {*other.samples["sample_id"]}
    assert clean.samples["sample_id"].equals(wrong.samples["sample_id"])
    assert clean.truth.equals(wrong.truth)
    checksums = {sources.checksum("textures", {"size": 30, "seed": seed, "wrong": 0.5}) for seed in (1, 1, 2)}
    assert len(checksums) == 2


def test_planted_labels_are_uniform_over_the_other_classes() -> None:
    labels = np.arange(20_000) % 10
    planted = embedded.plant(labels, 0.5, seed=1)
    shift = Counter(((planted - labels) % 10).tolist())
    assert shift[0] == 10_000
    assert set(shift) == set(range(10))
    assert all(abs(count - 10_000 / 9) < 6 * (10_000 / 9) ** 0.5 for step, count in shift.items() if step)


def test_a_folder_is_used_in_place_nested_or_not(photos: Path, tmp_path: Path) -> None:
    png(photos / ".thumbnails" / "rose" / "0.png", 9)
    png(photos / "rose" / ".hidden.png", 10)
    brought = read(photos, tmp_path / "raw")
    assert brought.samples["label"].to_list() == ["rose"] * 3 + ["tulip"] * 3
    assert brought.samples["path"].to_list()[3] == f"{photos}/tulip/field/0.jpg"
    assert brought.samples.select("width", "height").unique().rows() == [(4, 3)]
    assert brought.refused.is_empty()
    assert brought.truth.is_empty()
    assert not list((tmp_path / "raw").iterdir())


def test_what_cannot_be_used_is_set_aside_with_reason_and_remedy(photos: Path, tmp_path: Path) -> None:
    outside = png(tmp_path / "elsewhere" / "x.png", 50)
    png(photos / "stray.png", 60)
    (photos / "rose" / "empty.png").touch()
    (photos / "rose" / "text.png").write_text("not an image", encoding="utf-8")
    (photos / "rose" / "phone.jpg").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(500))
    (photos / "rose" / "sgi.rgb").write_bytes(b"\x01\xda" + bytes(500))
    (photos / "rose" / "cut.png").write_bytes(outside.read_bytes()[:40])
    (photos / "rose" / "out.png").symlink_to(outside)
    (photos / "rose" / "broken.png").symlink_to(photos / "nowhere.png")
    (photos / "more").symlink_to(outside.parent)
    (photos / "rose" / "copy.png").write_bytes((photos / "rose" / "0.png").read_bytes())
    (photos / "tulip" / "conflict.png").write_bytes((photos / "rose" / "1.png").read_bytes())
    os.mkfifo(photos / "rose" / "pipe.png")
    brought = read(photos, tmp_path / "raw")
    assert len(brought.samples) == 6
    why = reasons(brought)
    assert why.pop("cut.png").startswith(("damaged image", "not an image"))
    assert why == {
        "stray.png": "no class folder",
        "empty.png": "zero bytes",
        "phone.jpg": "format that is not read: HEIC",
        "sgi.rgb": "format that is not read: SGI",
        "text.png": "not an image",
        "out.png": f"link out of the folder: to {outside}",
        "broken.png": f"missing file: a link that leads nowhere, to {photos}/nowhere.png",
        "more": f"link out of the folder: to {outside.parent}",
        "copy.png": f"same content: as {photos}/rose/0.png",
        "conflict.png": f"same content under another label: as {photos}/rose/1.png, which is labelled 'rose'",
        "pipe.png": "not a file: a folder, a named pipe or a device",
    }
    assert all(brought.refused["remedy"].str.len_chars() > 0)


def test_no_more_of_a_file_is_read_than_its_size_says(tmp_path: Path) -> None:
    kernel = Path("/proc/self/status")
    if not kernel.is_file():
        pytest.skip("only Linux has files with content and without a size")
    assert images.digest(kernel) == hashlib.sha256().hexdigest()
    listed = tmp_path / "list.csv"
    listed.symlink_to(kernel)
    with pytest.raises(ValueError, match=r"list\.csv must be a readable list: it must have 1 to \d+ bytes, got 0"):
        listings.images_of(listed)


def test_an_image_of_too_many_pixels_is_set_aside(photos: Path, tmp_path: Path) -> None:
    png(photos / "rose" / "large.png", 200, (40, 40))
    png(photos / "rose" / "huge.png", 200, (400, 400))
    limit = Image.MAX_IMAGE_PIXELS
    brought = sources.open_source(str(photos), {}, max_pixels=1000).read(tmp_path)
    assert set(reasons(brought)) == {"large.png", "huge.png"}
    assert "more than 1000 pixels" in reasons(brought)["large.png"]
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_name_that_is_not_utf8_is_set_aside(photos: Path, tmp_path: Path) -> None:
    try:
        (photos / os.fsdecode(b"rose/\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    brought = read(photos, tmp_path / "raw")
    assert brought.refused["reason"].to_list() == ["name is not UTF-8"]
    assert sources.checksum(str(photos), {}).startswith("sha256:")


def test_the_checksum_sees_names_and_contents_but_not_hidden_files(photos: Path) -> None:
    before = sources.checksum(str(photos), {})
    (photos / "rose" / ".DS_Store").write_bytes(b"x")
    assert sources.checksum(str(photos), {}) == before
    (photos / "rose" / "0.png").rename(photos / "rose" / "9.png")
    renamed = sources.checksum(str(photos), {})
    png(photos / "rose" / "9.png", 77)
    assert len({before, renamed, sources.checksum(str(photos), {})}) == 3


def test_a_changed_delivery_is_refused_by_name(photos: Path) -> None:
    book = ledger.start(ledger.Batch(source=str(photos), checksum=sources.checksum(str(photos), {}), options={}))
    sources.verify(sources.open_source(str(photos), {}), book.batches["core"], "core")
    png(photos / "rose" / "new.png", 99)
    with pytest.raises(ValueError, match=r"batches\.core\.checksum must be .* changed since it was accepted"):
        sources.verify(sources.open_source(str(photos), {}), book.batches["core"], "core")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_list_names_images_relative_to_itself(photos: Path, tmp_path: Path, suffix: str) -> None:
    (photos / "rose" / "empty.png").touch()
    entries = [("rose/0.png", "red"), ("rose/1.png", None), ("tulip/field/0.jpg", " blue "), ("rose/none.png", "red")]
    entries += [("rose/empty.png", "red"), (None, "red"), (str(photos / "rose/2.png"), "red"), ("rose/0.png", "blue")]
    frame = pl.DataFrame(entries, schema=["path", "label"], orient="row")
    table = photos / f"list{suffix}"
    frame.write_csv(table) if suffix == ".csv" else frame.write_parquet(table)
    brought = read(table, tmp_path / "raw")
    assert brought.samples["label"].to_list() == ["red", "blue", "red"]
    assert brought.samples["path"].to_list() == [
        f"{photos}/{name}" for name in ("rose/0.png", "tulip/field/0.jpg", "rose/2.png")
    ]
    assert sorted(reason.split(":")[0] for reason in brought.refused["reason"]) == [
        "missing file",
        "no label",
        "no path",
        "same content under another label",
        "zero bytes",
    ]
    before = sources.checksum(str(table), {})
    png(photos / "rose" / "2.png", 88)
    assert sources.checksum(str(table), {}) != before


def test_number_labels_of_a_list_are_text(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.parquet"
    paths = [str(photos / "rose" / f"{number}.png") for number in range(3)]
    pl.DataFrame({"path": paths, "label": [1.0, None, 2.0]}).write_parquet(table)
    assert read(table, tmp_path / "raw").samples["label"].to_list() == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "message"), [("file,class\na,b\n", "columns path and label, got file, class"), ("", "readable list")]
)
def test_a_list_without_its_columns_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"list\.csv must .*{message}"):
        sources.open_source(str(tmp_path / "list.csv"), {})


def ready(path: Path, features: np.ndarray, labels: list[Any], sample_id: list[str] | None = None) -> Path:
    arrays: dict[str, Any] = {"features": features, "labels": labels}
    arrays |= {"sample_id": sample_id} if sample_id else {}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".npy":
        np.save(path, features)
        np.save(path.with_name(f"{path.stem}_labels.npy"), labels)
    elif path.suffix == ".parquet":
        pl.DataFrame(
            {"features": features.tolist(), "labels": labels} | ({"sample_id": sample_id} if sample_id else {})
        ).write_parquet(path)
    else:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file.create_dataset(name, data=values)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".parquet", ".h5"])
def test_ready_features_bring_a_row_per_sample(tmp_path: Path, suffix: str) -> None:
    features = np.arange(12, dtype=np.float64).reshape(6, 2)
    features[5] = features[0]
    path = ready(tmp_path / f"pack{suffix}", features, ["a", "b", "a", "", "b", "a"])
    brought = read(path, tmp_path / "raw")
    assert brought.samples["row"].to_list() == [0, 1, 2, 4]
    assert brought.samples["label"].to_list() == ["a", "b", "a", "b"]
    assert set(brought.samples["path"]) == {str(path)}
    assert brought.samples["width"].null_count() == 4
    assert brought.samples["sample_id"].str.len_chars().unique().to_list() == [32]
    assert brought.refused["reason"].to_list() == ["no label: row 3", f"same content: as row 0 of {path}"]


def test_ids_that_come_with_ready_features_are_kept(tmp_path: Path) -> None:
    path = ready(tmp_path / "pack.npz", np.eye(4), ["a", "b", "a", "b"], ["one", "two", "grün", "one"])
    brought = read(path, tmp_path / "raw")
    assert brought.samples["sample_id"].to_list() == ["one", "two"]
    assert sorted(brought.refused["reason"].str.split(":").list.first()) == [
        "no ASCII sample_id",
        "same sample_id under another label",
    ]


def test_what_names_its_rows_twice_or_in_other_scripts_is_said_before_anything_runs(tmp_path: Path) -> None:
    path = ready(tmp_path / "pack.npz", np.eye(6), ["a", "b", "a", "b", "a", "b"], ["1", "2", "3", "4", "grün", "4"])
    contents = inspection.inspect_source(str(path), {}, "--core")
    assert (contents.samples, contents.unusable, dict(contents.labels)) == (4, 2, {"a": 2, "b": 2})
    assert "2 of 6 rows cannot be used; the first: no ASCII sample_id: 'grün' in row 4" in contents.notes[0]
    path = ready(tmp_path / "none.npz", np.eye(2), ["a", "b"], ["ä", "ö"])
    with pytest.raises(ValueError, match=r"none \(2 rows set aside; the first: no ASCII sample_id"):
        inspection.inspect_source(str(path), {}, "--core")


def test_a_parquet_with_paths_and_ready_features_is_what_it_says_most(tmp_path: Path) -> None:
    columns = {"path": ["1.jpg", "2.jpg"], "labels": ["a", "b"], "features": [[1.0], [2.0]]}
    pl.DataFrame(columns).write_parquet(tmp_path / "pack.parquet")
    assert inspection.inspect_source(str(tmp_path / "pack.parquet"), {}, "--core").kind == "features"
    pl.DataFrame({**columns, "label": ["a", "b"]}).write_parquet(tmp_path / "both.parquet")
    with pytest.raises(
        ValueError, match=r"1\.jpg: missing file.*It holds features, too: to use these, take its column"
    ):
        inspection.inspect_source(str(tmp_path / "both.parquet"), {}, "--core")


def test_an_empty_batch_and_an_empty_folder_are_fine(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in ("none", str(tmp_path / "empty")):
        assert read(source, tmp_path / "raw").samples.schema == dict(manifest.SCHEMA)
        assert read(source, tmp_path / "raw").samples.is_empty()
    assert sources.checksum("none", {}) == "none"


def test_torchvision_is_imported_for_its_own_sources_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Few(list[tuple[Image.Image, int]]):
        classes = ("cat", "dog")

    def torchvision_data_set(name: str, root: str, split: str, download: bool) -> Few:
        assert (name, split, download) == ("Pets", "test", True)
        assert Path(root).is_dir()
        return Few((Image.new("L", (5, 5), number), number % 2) for number in range(4))

    stand_in = ModuleType("diva.vision.datasets")
    stand_in.torchvision_data_set = torchvision_data_set  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "diva.vision.datasets", stand_in)
    brought = read("torchvision:Pets", tmp_path / "raw", split="test")
    assert brought.samples["label"].to_list() == ["cat", "dog", "cat", "dog"]
    assert brought.samples["path"][3] == f"{tmp_path}/raw/000003.png"
    assert [path.name for path in tmp_path.iterdir()] == ["raw"], "the download leaves nothing behind"


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("nowhere", {}, "source must be 'textures', 'digits', a folder .* got 'nowhere', and nothing lies there"),
        ("digits", {"sise": 5}, "options of 'digits' must be offset, size, wrong, seed, got .*sise"),
        ("textures", {"mistaken": {"brick": 0.1}}, "options.mistaken must name classes of bricks, .* got 'brick'"),
        ("textures", {"mistaken": {"tiles": 2}}, "mistaken.tiles: input should be less than or equal to 1"),
        ("digits", {"wrong": 2}, "wrong: input should be less than or equal to 1"),
        ("digits", {"offset": 1700, "size": 98}, r"options\.size must be at most 97 from there, got 98"),
        ("none", {"size": 5}, "options of 'none' must be none, got"),
    ],
)
def test_a_source_or_option_that_there_is_not_is_told(source: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sources.open_source(source, options)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "archive.rar").write_bytes(b"Rar!")
    with pytest.raises(ValueError, match=r"source must be .* got '.*archive\.rar'"):
        sources.open_source(str(tmp_path / "archive.rar"), {})


def test_accepting_takes_the_checksum_now(photos: Path) -> None:
    book = ledger.start(ledger.Batch(source="digits", checksum=sources.checksum("digits", DIGITS), options=DIGITS))
    book = sources.accept(book, None, str(photos), {})
    assert book.batches["b001"].checksum == sources.checksum(str(photos), {})
    assert book.pool["b001"].previous == "b000"


def test_the_real_photographs_are_all_usable(shared_data: Path, tmp_path: Path) -> None:
    brought = read(shared_data / "flowers102" / "test", tmp_path / "raw")
    assert brought.refused.is_empty()
    assert brought.samples["label"].n_unique() == 89
    with Image.open(io.BytesIO(Path(brought.samples["path"][0]).read_bytes())) as image:
        assert image.size == brought.samples.select("width", "height").row(0)


def test_several_deliveries_are_one_batch_each_content_once_in_the_spelling_of_the_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, label, values in (("a", "Cat", (1, 2)), ("b", " Cat", (2, 3))):
        for value in values:
            path = tmp_path / folder / label / f"{value}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)
    first, second = (ledger.Batch(source=name, checksum=sources.checksum(name, {}), options={}) for name in ("a", "b"))
    batch = first.model_copy(update={"additions": [second]})
    (tmp_path / "raw").mkdir()
    delivery = sources.open_batch(batch, "core").read(tmp_path / "raw")
    assert delivery.samples["path"].to_list() == ["a/Cat/1.png", "a/Cat/2.png", "b/ Cat/3.png"]
    assert delivery.samples["label"].unique().to_list() == ["Cat"]
    assert delivery.refused["reason"].to_list() == ["same content: as a/Cat/2.png"]
    (tmp_path / "b/ Cat/3.png").unlink()
    with pytest.raises(ValueError, match=r"batches.core.checksum must be that of 'b'"):
        sources.open_batch(batch, "core")


def test_what_the_pool_brings_without_labels_waits_and_what_the_core_brings_is_refused(tmp_path: Path) -> None:
    for number in range(3):
        png(tmp_path / "flat" / f"{number}.png", number)
    (tmp_path / "flat" / "notes.txt").write_text("no image")
    (tmp_path / "bare.csv").write_text("path\nflat/0.png\nflat/1.png\n")
    (tmp_path / "partly.csv").write_text("path,label\nflat/0.png,\nflat/1.png,a\nflat/2.png,b\nflat/0.png,b\n")
    np.savez(tmp_path / "bare.npz", features=np.eye(4))
    np.save(tmp_path / "bare.npy", np.eye(4))
    expected = {  # samples, of which without a label, and what is set aside
        "flat": (3, 3, ["not an image"]),
        "bare.csv": (2, 2, []),
        "partly.csv": (3, 0, ["same content"]),  # a copy brought the label
        "bare.npz": (4, 4, []),
        "bare.npy": (4, 4, []),
    }
    for name, (samples, waiting, reasons) in expected.items():
        brought = sources.open_source(str(tmp_path / name), {}, unlabelled=True).read(tmp_path / "raw")
        assert (len(brought.samples), brought.samples["label"].null_count()) == (samples, waiting), name
        assert brought.refused["reason"].str.split(":").list.first().to_list() == reasons, name
        contents = inspection.inspect_source(str(tmp_path / name), {}, "--pool", unlabelled=True)
        assert contents.unlabelled == (1 if name == "partly.csv" else waiting + (name == "flat")), name
    assert read(tmp_path / "partly.csv", tmp_path / "raw").samples["label"].to_list() == ["a", "b", "b"]
    for name in ("flat", "bare.csv", "bare.npz", "bare.npy"):
        with pytest.raises(ValueError, match=r"must hold labelled samples|columns path and label|labels"):
            inspection.inspect_source(str(tmp_path / name), {}, "--core")
    png(tmp_path / "flat" / "a" / "4.png", 4)
    mixed = sources.open_source(str(tmp_path / "flat"), {}, unlabelled=True).read(tmp_path / "raw")
    assert mixed.samples["label"].to_list() == ["a"], "beside folders of classes, what lies loose has no class folder"
