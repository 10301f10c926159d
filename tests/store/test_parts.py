"""A stretch of bytes within a tar is an image like any other, wherever images are read."""

from pathlib import Path

import polars as pl
import pytest

from diva.ingest import images
from diva.report.thumbnails import pack, thumbnail
from diva.review.images import Gallery
from diva.store import parts
from diva.store.manifest import ID_LENGTH
from diva.versions import compact, export, verify
from diva.vision.decoding import read_image
from diva.vision.release import Release
from tests.ingest import layouts


@pytest.fixture
def frame(tmp_path, monkeypatch) -> pl.DataFrame:
    """Two images of a shard: sample_id, path and more."""
    monkeypatch.chdir(tmp_path)
    shard = layouts.tar(Path("shards/one.tar"), {"cat/a.png": layouts.png(0), "../b.png": layouts.png(1)})
    starts = [shard.read_bytes().index(layouts.png(seed)) for seed in (0, 1)]
    names = ("cat/a.png", "../b.png")
    paths = [parts.path_of(shard, starts[seed], len(layouts.png(seed)), names[seed]) for seed in (0, 1)]
    ids = [images.digest(path)[:ID_LENGTH] for path in paths]
    return pl.DataFrame({"sample_id": ids, "path": [path.as_posix() for path in paths], "label": ["cat", "dog"]})


def test_a_part_is_read_wherever_a_file_is(frame):
    one, two = frame["path"]
    assert one.endswith("/cat/a.png")
    assert two.endswith("/b.png")
    assert ".." not in two
    assert parts.read(one) == layouts.png(0)
    assert read_image(two, frame["sample_id"][1]).size == (14, 12)
    assert images.header(Path(one)) == (14, 12)
    assert thumbnail(one, 96, frame["sample_id"][0])
    assert thumbnail(one, 96, frame["sample_id"][1]) is None  # another content
    assert set(pack(frame, [0, 1], 96, 1 << 20)) == {0, 1}
    gallery = Gallery(frame.select("path", "sample_id"), Path.cwd())
    assert gallery.picture(str(Path.cwd() / one)).content == layouts.png(0)
    release = Release(frame.with_columns(weight=pl.lit(1.0)))
    assert release[1][0].size == (14, 12)


def test_a_link_to_a_part_is_a_copy_and_one_of_other_content_is_refused(frame, tmp_path):
    export._link(Path(frame["path"][0]), tmp_path / "a.png", frame["sample_id"][0])
    assert not (tmp_path / "a.png").is_symlink()
    assert (tmp_path / "a.png").read_bytes() == layouts.png(0)
    with pytest.raises(ValueError, match="must be the image that was curated"):
        export._link(Path(frame["path"][0]), tmp_path / "b.png", frame["sample_id"][1])


def test_a_part_is_lost_with_its_shard(frame):
    shard = Path("shards/one.tar")
    assert not verify._is_lost(*frame.select("path", "sample_id").row(0), changed=True)
    content = shard.read_bytes()
    shard.write_bytes(content[: parts.part_of(frame["path"][1]).start + 5])
    assert not parts.is_there(frame["path"][1])
    assert verify._is_lost(*frame.select("path", "sample_id").row(1), changed=False)
    with pytest.raises(OSError, match="cut short"):
        parts.read(frame["path"][1])
    shard.unlink()
    assert verify._is_lost(*frame.select("path", "sample_id").row(0), changed=False)


def test_a_compacted_history_takes_the_shard_along_once(frame):
    rows = frame.with_columns(batch=pl.lit("b001"), features=pl.lit("data/features/b001.h5"))
    rows = rows.with_columns(path=pl.col("path").str.replace("shards/", "data/raw/b001/"))
    moves = [move for move in compact.moves(rows.select("batch", "features", "path")) if move[0].suffix == ".tar"]
    assert set(moves) == {(Path("data/raw/b001/one.tar"), Path("data/base/raw/b001/one.tar"))}
    assert len(moves) == 1
    assert compact.moved(rows)["path"][0] == rows["path"][0].replace("data/raw/", "data/base/raw/")


@pytest.mark.parametrize("name", ["a.tar", "a.tar#1+2", "a.zip#1+2/x.png", "a#1+2/x.png", "photo #3+4/x.png"])
def test_other_paths_are_those_of_files(name):
    assert parts.part_of(name) is None
    assert parts.file_of(name) == Path(name)
