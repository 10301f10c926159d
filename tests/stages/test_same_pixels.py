"""A picture saved again is one content in whatever file: within a delivery, and from test set to core and pool."""

from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from PIL import Image

from diva.curation.neighbours import untested, without_test
from diva.ingest import images
from diva.store import index, manifest, paths, tables
from stages.download import download
from stages.pool import pool
from tests.faults.case import SET_ASIDE, Case
from tests.projects import stage_inputs as small


def picture(path: Path, seed: int, **options: object) -> Path:
    """A picture of random pixels, 9 wide and 5 high."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (5, 9, 3), dtype=np.uint8)).save(path, **options)
    return path


def test_equal_pictures_have_one_hash_in_whatever_file_and_others_another(tmp_path: Path) -> None:
    first = picture(tmp_path / "a.png", 1)
    pixels = Image.open(first)
    pixels.save(tmp_path / "b.png", compress_level=0)
    pixels.save(tmp_path / "c.bmp")
    pixels.convert("RGBA").save(tmp_path / "d.tiff")
    turned = Image.Exif()
    turned[0x0112] = 6  # a camera held upright: shown a quarter to the right
    pixels.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "e.png", exif=turned)
    names = ("a.png", "b.png", "c.bmp", "d.tiff", "e.png")
    assert len({images.pixels(tmp_path / name) for name in names}) == 1
    assert len({images.digest(tmp_path / name) for name in names}) == len(names)
    pixels.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "f.png")
    Image.frombytes("RGB", (5, 9), pixels.tobytes()).save(tmp_path / "g.png")  # the same bytes in another shape
    assert len({images.pixels(tmp_path / name) for name in ("a.png", "f.png", "g.png")}) == 3
    (tmp_path / "h.png").write_bytes(first.read_bytes()[:60])
    assert images.pixels(tmp_path / "h.png") is None


def test_a_delivery_holds_each_picture_once_and_the_core_none_under_two_labels(workplace: Path) -> None:
    for label in "ab":
        for seed in (1, 2, 3):
            picture(workplace / f"core/{label}/{seed}.png", seed + 10 * ord(label))
    picture(workplace / "core/a/9 copy.png", 1 + 10 * ord("a"), compress_level=0)
    picture(workplace / "core/b/under another, which is labelled.png", 2 + 10 * ord("a"), compress_level=0)
    small.write_ledger(core=("core", {}))
    download("core")
    rows = manifest.read(paths.manifest("core"))
    assert rows["path"].to_list() == ["core/a/1.png", "core/a/3.png", *(f"core/b/{seed}.png" for seed in (1, 2, 3))]
    refused = tables.read(paths.quarantine("download", "core"), manifest.QUARANTINE)
    assert sorted(zip(refused["path"], refused["reason"], strict=True)) == [
        ("core/a/2.png", "same content under another label: as core/b/under another, which is labelled.png, which is "
         "labelled 'b'"),
        ("core/a/9 copy.png", "same content: as core/a/1.png"),
        ("core/b/under another, which is labelled.png", "same content under another label: as core/a/2.png, which is "
         "labelled 'a'"),
    ]  # fmt: skip


@pytest.fixture
def saved_again(workplace: Path) -> Path:
    """A core and a delivery that both hold the test set's picture, saved again with other compression."""
    for number, name in enumerate(("core/a/1", "core/a/2", "core/b/3", "core/b/4", "test/a/5", "more/a/6")):
        picture(workplace / f"{name}.png", number)
    picture(workplace / "core/b/copy.png", 4, compress_level=0)
    picture(workplace / "more/a/copy.bmp", 4)
    picture(workplace / "more/b/core copy.bmp", 0)
    small.write_ledger(core=("core", {}), test=("test", {}), b001=("more", {}))
    for name in ("core", "test", "b001"):
        download(name)
        small.extract(name)
    index.write(paths.pool("b000"), tables.empty(index.SCHEMA))
    return workplace


@Case("a test image saved again", "images", "with other compression, in core and pool", SET_ASIDE).test
def test_a_test_image_saved_again_never_trains(saved_again: Path) -> None:
    core, test = index.read_batch("core"), index.read_batch("test")
    rest, refused = without_test(core, manifest.read(paths.manifest("test"))["sample_id"], test, None)
    assert refused["path"].to_list() == ["core/b/copy.png"]
    assert len(rest) == 4
    small.fit()
    pool("b001")
    assert index.read(paths.pool("b001"))["path"].to_list() == ["more/a/6.png"]
    aside = tables.read(paths.quarantine("pool", "b001"), manifest.QUARANTINE)
    assert sorted(aside["reason"]) == ["already delivered: in core, as a", "already delivered: in core, as b"]


def test_manifests_of_before_have_no_such_hash_and_are_read_as_they_are(saved_again: Path) -> None:
    for name in ("core", "test"):
        old = manifest.read(paths.manifest(name)).drop("pixels")
        old.drop("group").write_parquet(paths.manifest(name))
        small.extract(name)
    assert manifest.read(paths.manifest("core"))["pixels"].null_count() == 5
    small.fit()
    pool("b001")
    assert index.read(paths.pool("b001"))["path"].to_list() == [
        "more/a/6.png", "more/a/copy.bmp", "more/b/core copy.bmp",
    ]  # fmt: skip


@pytest.mark.parametrize(("backbone", "columns", "left"), [("net", 400, 1), ("ready", 400, 2), ("net", 40, 2)])
def test_what_a_network_sees_as_a_test_image_is_set_aside(
    saved_again: Path, backbone: str, columns: int, left: int
) -> None:
    generator = np.random.default_rng(0)
    drawn = generator.normal(size=(5, columns))
    values = {"core": drawn, "test": drawn[:1] + 9, "b001": np.stack([drawn[0] + 9.01, drawn[1] - 3, drawn[2] + 30])}
    for name, rows in values.items():
        with h5py.File(small.extract(name), "r+") as file:
            del file["features"]
            file.create_dataset("features", data=rows.astype(np.float32))
            file.attrs["backbone"] = backbone
    frames = {name: index.read_batch(name) for name in values}
    candidates = frames["b001"][:2]
    rest, refused = untested(candidates, frames["test"], frames["core"], 0.99)
    assert len(rest) == left
    assert [reason.partition(", cosine")[0] for reason in refused["reason"]] == [
        f"near duplicate: of {frames['test']['sample_id'][0]} in test"
    ] * (2 - left)
    assert untested(candidates, frames["test"], frames["core"], None)[0].equals(candidates)
    assert untested(candidates, pl.DataFrame(schema=candidates.schema), frames["core"], 0.99)[0].equals(candidates)
