"""Takedowns by content: the same pixels in another file, the same ready features under another id, old lists."""

import subprocess
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from PIL import Image

from diva.ingest import images
from diva.store import curated, index, ledger, manifest, paths, tables
from diva.versions import reviews, takedowns
from tests.faults.case import REFUSED, UNHARMED, Case

CHECKSUM = "sha256:" + "0" * 64


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ledger.Ledger:
    """A core of images, one of an old manifest without hashes of pixels; a pool with copies of them, saved again."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    rows = []
    for name, value in (("a/one.png", 1), ("a/two.png", 2), ("b/one.png", 3)):
        Path(name).parent.mkdir(exist_ok=True)
        Image.new("L", (5, 5), value).save(name)
        Image.open(name).save(Path(name).with_suffix(".bmp"))
        rows.append((name, Path(name).with_suffix(".bmp").as_posix()))
    write(paths.CORE, "core", [first for first, _ in rows], {"a/two.png": None})
    write(paths.pool("b001"), "b001", [second for _, second in rows], {})
    book = ledger.accept(
        ledger.start(ledger.Batch(source="core", checksum=CHECKSUM, options={})), None, "x", {}, CHECKSUM
    )
    ledger.write(paths.LEDGER, book)
    return book


def write(path: Path, batch: str, names: list[str], known: dict[str, None]) -> None:
    content = [(images.digest(Path(name)) or "")[: manifest.ID_LENGTH] for name in names]
    pixels = [known.get(name, images.pixels(Path(name))) for name in names]
    frame = pl.DataFrame({"sample_id": content, "path": names, "pixels": pixels}).with_row_index("row")
    others = {"batch": batch, "features": f"{batch}.h5", "label": "a", "checksum": "s"}
    index.write(path, frame.with_columns(**{name: pl.lit(value) for name, value in others.items()}))


def ids(path: Path) -> list[str]:
    return index.read(path)["sample_id"].to_list()


@Case("a takedown saved again", "takedowns", "equal pixels in another file", UNHARMED).test
def test_equal_pixels_go_with_a_takedown_also_of_manifests_that_have_no_hash_of_them(book: ledger.Ledger) -> None:
    core, pool = ids(paths.CORE), ids(paths.pool("b001"))
    takedowns.add(reviews.forget(book, core[:2], "asked"))
    assert takedowns.read()["content"].null_count() == 0
    assert set(takedowns.twins().rows()) == {(name, "forgotten: asked") for name in pool[:2]}
    Path("a/two.png").unlink()  # gone since: the list has its hash
    assert set(takedowns.twins()["sample_id"]) == set(pool[:2])
    takedowns.add(takedowns.twins())
    assert set(takedowns.read()["sample_id"]) == {*core[:2], *pool[:2]}
    assert takedowns.twins().is_empty()


@Case("a set with a takedown in it", "takedowns", "about to be published", REFUSED).test
def test_a_set_with_content_that_was_taken_down_is_not_published(book: ledger.Ledger) -> None:
    takedowns.add(reviews.forget(book, ids(paths.CORE)[:1]))
    state = curated.entered(index.read(paths.pool("b001")), "pool", "r001")
    curated.write(paths.curated("r001"), state)
    with pytest.raises(ValueError, match="must hold no sample that was taken down, got 1"):
        takedowns.require_absent("r001")
    curated.write(paths.curated("r001"), state[1:])
    takedowns.require_absent("r001")


@Case("a takedown under another id", "takedowns", "equal ready features", UNHARMED).test
def test_equal_ready_features_go_with_a_takedown(book: ledger.Ledger) -> None:
    for batch, rows in (("core", [[0, 1], [2, 3], [4, 5]]), ("b001", [[9, 9], [4, 5], [0, 1]])):
        with h5py.File(f"{batch}.h5", "w") as file:
            file.attrs["backbone"] = "ready"
            file["features"], file["labels"] = np.array(rows, np.float32), np.zeros(3, np.int32)
            file["sample_id"] = np.array(list("abc"), "S1")
            file.create_dataset("classes", data=np.array(["a"], object), dtype=h5py.string_dtype())
    for path, names in ((paths.CORE, "uvw"), (paths.pool("b001"), "xyz")):
        frame = index.read(path).with_columns(sample_id=pl.Series(list(names)), pixels=pl.lit(None, pl.String))
        index.write(path, frame)
    takedowns.add(reviews.forget(book, ["u"]))
    assert takedowns.twins()["sample_id"].to_list() == ["z"]


def test_a_list_from_before_it_held_content_is_read(book: ledger.Ledger) -> None:
    takedowns.FILE.write_text("sample_id,note\nu,forgotten\n")
    assert takedowns.read().rows() == [("u", "forgotten", None)]
    assert takedowns.twins().is_empty()
    assert tables.empty(takedowns.SCHEMA).columns == ["sample_id", "note", "content"]
    assert book == ledger.read()


def test_content_that_the_list_lacks_is_filled_in_where_it_can_be_told(book: ledger.Ledger) -> None:
    """Of lists from before they held it, and where another clone knows what this one cannot tell."""
    core, pool = ids(paths.CORE), ids(paths.pool("b001"))
    takedowns.FILE.parent.mkdir(exist_ok=True)
    takedowns.FILE.write_text(f"sample_id,note\nelsewhere,forgotten\n{core[0]},forgotten: before\n")
    takedowns.add(reviews.forget(book, core[:1], "again"))
    listed = {name: (note, content) for name, note, content in takedowns.read().iter_rows()}
    assert listed == {
        "elsewhere": ("forgotten", None),
        core[0]: ("forgotten: before", images.pixels(Path("a/one.png"))),
    }
    assert takedowns.twins().rows() == [(pool[0], "forgotten: before")]
    takedowns.add(pl.DataFrame({"sample_id": ["elsewhere"], "note": ["other"], "content": ["c"]}))
    assert takedowns.read().filter(sample_id="elsewhere").rows() == [("elsewhere", "forgotten", "c")]
    takedowns.add(pl.DataFrame({"sample_id": ["elsewhere"], "note": ["other"], "content": [None]}))
    assert takedowns.read().filter(sample_id="elsewhere").rows() == [("elsewhere", "forgotten", "c")]


def test_a_copy_goes_with_a_takedown_though_its_manifest_has_no_hash_of_its_pixels(book: ledger.Ledger) -> None:
    write(paths.pool("b001"), "b001", ["a/one.bmp", "a/two.bmp", "b/one.bmp"], {"a/one.bmp": None})
    takedowns.add(reviews.forget(book, ids(paths.CORE)[:1], "asked"))
    assert takedowns.twins().rows() == [(ids(paths.pool("b001"))[0], "forgotten: asked")]


def test_a_sample_is_named_by_its_file_and_by_its_end_where_that_is_one_alone(book: ledger.Ledger) -> None:
    core = ids(paths.CORE)
    assert reviews.identified(["a/one.png", "two.png", core[2]]) == core
    with pytest.raises(ValueError, match=r"one\.png must name one sample, got several: a/one\.png is .*b/one\.png is"):
        reviews.identified(["one.png"])
    assert reviews.identified(["strange"]) == ["strange"]
    with pytest.raises(ValueError, match="must be that of a sample of core or pool"):
        reviews.forget(book, ["strange"])


@pytest.mark.usefixtures("book")
def test_what_a_takedown_leaves_is_listed() -> None:
    gone, *others = ids(paths.CORE)
    holding = [paths.TRAIN, paths.manifest("core"), *(paths.curated(f"r00{number}") for number in range(4))]
    for path in (*holding, paths.REMOVED, paths.features("core"), paths.REPORT, Path("data/reviews/v001.parquet")):
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"sample_id": [gone, *others] if path != paths.REMOVED else others}).write_parquet(path)
    assert reviews.remains([gone]) == [
        "a/one.png", "data/features/core.h5", "4 tables of data/curated", "data/fit/core.parquet",
        "data/manifests/core.parquet", "data/release/train.parquet", "data/report/index.html",
    ]  # fmt: skip
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x", "--allow-empty"], check=True
    )
    for tag in ("curated@v0.1.0", "curated@v0.2.0"):
        subprocess.run(["git", "tag", tag], check=True)
    assert reviews.remains([])[-1].startswith("versions published so far (curated@v0.1.0 to curated@v0.2.0)")
