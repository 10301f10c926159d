"""Sound pixels are used, whatever stands beside them in the file."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from diva.ingest import images
from diva.report.thumbnails import thumbnail
from diva.vision import jpeg
from diva.vision.decoding import read_image

PIXELS = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)
LARGE = np.random.default_rng(0).integers(0, 4, 3 << 20, dtype=np.uint8).tobytes()


def text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("xmp", "x" * (2 << 20), zip=True)
    return info


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("profile.png", {"icc_profile": LARGE}),
        ("text.png", {"pnginfo": text()}),
        ("exif.png", {"exif": b"Exif\0\0\0\x08\0\x02"}),
        ("twice.webp", {"exif": b"Exif\0\0Exif\0\0II*\0", "lossless": True}),
        ("cut.jpg", {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12"}),
        ("blank.jpg", {"exif": b"Exif\0\0"}),
    ],
)
def test_metadata_of_any_size_or_kind_stands_in_no_images_way(name, more, tmp_path: Path):
    path = tmp_path / name
    Image.fromarray(PIXELS).save(path, **more)
    assert images.header(path) == (24, 16)
    assert read_image(path).size == (24, 16)
    assert thumbnail(str(path), 96)
    jpeg.encoded(path.read_bytes())


@pytest.mark.parametrize(("suffix", "codec"), [("avif", "avif"), ("jp2", "jpg_2000")])
def test_newer_formats_are_read_where_pillow_can(suffix, codec, tmp_path):
    if not features.check(codec):
        pytest.skip(f"this Pillow has no {codec}")
    Image.fromarray(PIXELS).save(tmp_path / f"a.{suffix}")
    assert images.header(tmp_path / f"a.{suffix}") == (24, 16)
    assert read_image(tmp_path / f"a.{suffix}").size == (24, 16)


def test_a_format_that_is_not_read_is_named(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "TGA")
    (tmp_path / "a.tga").write_bytes(buffer.getvalue())
    assert images.header(tmp_path / "a.tga").reason == "format that is not read: TGA"
