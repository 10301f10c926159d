import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from diva.ingest.images import digest
from diva.report import thumbnails
from diva.report.thumbnails import pack, thumbnail
from diva.store import paths
from diva.store.manifest import ID_LENGTH


def decoded(content: bytes | None) -> Image.Image:
    assert content
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16", "CMYK", "1"])
def test_thumbnails_of_any_mode_keep_their_proportions(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.tiff"
    Image.new(mode, (400, 200)).save(path)
    image = decoded(thumbnail(str(path), 96))
    assert (image.size, image.format) == ((96, 48), "WEBP")


def test_small_images_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)
    image = decoded(thumbnail(str(path), 96))
    assert (np.asarray(image.convert("L")) == np.arange(64).reshape(8, 8)).all()


def test_what_is_transparent_shows_white(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(path)
    assert decoded(thumbnail(str(path), 96)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("content", [None, b"", b"no image", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_image_has_no_thumbnail(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "file.png"
    if content is not None:
        path.write_bytes(content)
    assert thumbnail(str(path), 96) is None
    assert thumbnail(str(tmp_path), 96) is None
    assert thumbnail("nul\0", 96) is None


def test_only_the_very_content_that_was_delivered_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.new("L", (8, 8), 7).save(path)
    sample_id = (digest(path) or "")[:ID_LENGTH]
    assert thumbnail(str(path), 96, sample_id)
    Image.new("L", (8, 8), 8).save(path)
    assert thumbnail(str(path), 96, sample_id) is None


def test_thumbnails_are_packed_in_the_order_asked_for_until_the_room_is_used(tmp_path: Path) -> None:
    files = [tmp_path / f"{shade}.png" for shade in range(5)]
    for shade, file in enumerate(files):
        Image.new("L", (8, 8), shade).save(file)
    ids = [(digest(file) or "")[:ID_LENGTH] for file in files]
    frame = pl.DataFrame({"path": [str(file) for file in files], "sample_id": ids})
    every = pack(frame, [3, 0, 4, 1, 2], 96, 1 << 20)
    assert list(every) == [3, 0, 4, 1, 2]
    size = 4 * -(-len(every[3]) // 3)
    assert list(pack(frame, [3, 0, 4, 1, 2], 96, 2 * size)) == [3, 0]
    assert pack(frame, [3], 96, -5) == {}


def test_a_file_of_ready_features_is_not_opened_once_for_each_of_its_samples(tmp_path, monkeypatch) -> None:
    image, features = tmp_path / "image.png", tmp_path / "features.npz"
    Image.new("RGB", (8, 8), "red").save(image)
    np.savez(features, features=np.zeros((100, 4)))
    ids = [digest(image)[:ID_LENGTH]] * 2 + [f"{number:032x}" for number in range(100)]
    frame = pl.DataFrame({"sample_id": ids, "path": [str(image)] * 2 + [str(features)] * 100})
    opened = []
    monkeypatch.setattr(
        "diva.report.thumbnails.thumbnail", lambda path, *rest: opened.append(path) or thumbnail(path, *rest)
    )
    assert list(pack(frame, range(len(frame)), 32, 10**6)) == [0, 1]
    assert opened == [str(image)] * 2


def test_thumbnails_of_the_last_page_are_taken_where_the_content_is_still_there(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = [tmp_path / f"{shade}.png" for shade in range(3)]
    for shade, file in enumerate(files):
        Image.new("L", (60, 40), shade).save(file)
    ids = [(digest(file) or "")[:ID_LENGTH] for file in files]
    frame = pl.DataFrame({"sample_id": ids, "path": list(map(str, files))})
    first = pack(frame, [0, 1, 2], 32, 10**6)
    assert first == pack(frame, [2, 0, 1], 32, 10**6)
    larger = pack(frame, [0, 1], 48, 10**6)
    assert decoded(larger[0]).size == (48, 32)

    def fail(*_: object) -> bytes:
        raise AssertionError("made anew")

    with monkeypatch.context() as patch:
        patch.setattr(thumbnails, "_encoded", fail)
        assert pack(frame, [1, 0], 48, 10**6) == larger
        assert pack(frame, [2], 48, 10**6) == {}  # it was not on the last page
        assert not paths.THUMBNAILS.exists()
    assert pack(frame, [0, 1], 48, 10**6) == larger
    Image.new("L", (60, 40), 9).save(files[0])
    assert pack(frame, [0, 1], 48, 10**6) == {1: larger[1]}  # which the id does not name
    paths.THUMBNAILS.write_bytes(b"broken")
    assert pack(frame, [1], 48, 10**6) == {1: larger[1]}
