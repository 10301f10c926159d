import hashlib
import io
import json

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from diva.vision.decoding import ChangedFileError, read_image, to_rgb
from diva.vision.transforms import MEAN, STD, ResizeCrop, describe, steps

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def saved(tmp_path, image, name="image.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("size", [(90, 120), (120, 91), (37, 301), (40, 40), (41, 47), (8, 8)])
def test_resize_crop_is_torchvisions_own_for_the_same_numbers(size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    preset = torchvision.transforms._presets.ImageClassification(crop_size=32, resize_size=40)
    assert torch.equal(ResizeCrop(40, 32)(image), preset(image))
    bicubic = torchvision.transforms._presets.ImageClassification(
        crop_size=31, resize_size=40, interpolation=torchvision.transforms.InterpolationMode.BICUBIC
    )
    parts = steps(bicubic)
    assert torch.equal(parts.normalize(parts.pixels(image)[None])[0], bicubic(image))


@pytest.mark.parametrize("size", [(8, 8), (8, 200), (300, 9), (33, 33)])
def test_any_shape_of_image_becomes_one_shape_of_tensor(size):
    assert ResizeCrop(32, 32)(Image.new("RGB", size)).shape == (3, 32, 32)


def test_normalisation_is_per_channel():
    tensor = ResizeCrop(4, 4, (0.5, 0.25, 0.0), (0.5, 1.0, 2.0))(Image.new("RGB", (4, 4), (255, 255, 255)))
    assert tensor[:, 0, 0].tolist() == [1.0, 0.75, 0.5]


def test_descriptions_are_json_and_name_what_decides():
    own = json.loads(json.dumps(describe(ResizeCrop())))
    assert own == {"resize": 256, "crop": 224, "mean": list(MEAN), "std": list(STD)}
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    theirs = json.loads(json.dumps(describe(preset)))
    assert (theirs["crop_size"], theirs["resize_size"], theirs["interpolation"]) == ([224], [256], "bilinear")
    assert theirs["mean"] == list(MEAN)


@pytest.mark.parametrize(
    "options", [{"resize": 8, "crop": 9}, {"resize": 8, "crop": 0}, {"mean": (0.5,)}, {"std": (1.0, 0.0, 1.0)}]
)
def test_settings_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        ResizeCrop(**options)


@pytest.mark.parametrize(
    ("pixels", "span"),
    [
        (RAMP.astype(np.int32) * 70_000, "0..65535"),
        (RAMP.astype(np.int32) - 300, "0..65535"),
        (RAMP.astype(np.float32) / 128 - 1, "0..1 or 0..255"),
        (RAMP.astype(np.float32) * 2, "0..1 or 0..255"),
    ],
)
def test_pixels_of_another_range_are_refused_rather_than_cut_off(pixels, span):
    with pytest.raises(ValueError, match=f"its pixels must be {span}, got .*; save it with 8 or 16 bits"):
        to_rgb(Image.fromarray(pixels))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    image = Image.fromarray(RAMP.astype(np.uint16)) if mode == "I;16" else Image.fromarray(RAMP).convert(mode)
    path = saved(tmp_path, image, "image.tif" if mode not in ("P", "LA", "RGBA") else "image.png")
    read = read_image(path)
    assert (read.mode, read.size) == ("RGB", (8, 8))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.uint16) * 257))
    assert np.array_equal(np.asarray(read_image(path))[..., 0], RAMP)


def test_floats_in_the_unit_interval_are_scaled():
    assert np.array_equal(np.asarray(to_rgb(Image.fromarray((RAMP / 255).astype(np.float32))))[..., 1], RAMP)


def test_transparency_shows_white_also_in_a_palette(tmp_path):
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert read_image(saved(tmp_path, clear)).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    path = saved(tmp_path, palette, "palette.png", transparency=bytes([255, 0]))
    assert read_image(path).getpixel((0, 0)) == (255, 255, 255)
    opaque = saved(tmp_path, palette, "opaque.png")
    assert read_image(opaque).getpixel((0, 0)) == (10, 20, 30)


def test_orientation_is_respected(tmp_path):
    image = Image.new("RGB", (6, 3))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    read = read_image(saved(tmp_path, image, exif=exif))
    assert read.size == (3, 6)
    assert read.getpixel((2, 0)) == (255, 0, 0)


def test_checksum_is_of_the_bytes(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP))
    good = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    assert read_image(path, good).size == (8, 8)
    with pytest.raises(ChangedFileError):
        read_image(path, "0" * 32)


def test_too_many_pixels_are_an_error_and_the_limit_is_put_back(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    path = saved(tmp_path, Image.new("L", (100, 100)))
    for limit in (9_999, 4_000):  # PIL would only remark on the first
        with pytest.raises(Image.DecompressionBombError):
            read_image(path, max_pixels=limit)
    assert read_image(path, max_pixels=10_000).size == (100, 100)
    assert before == Image.MAX_IMAGE_PIXELS


def test_formats_that_need_an_interpreter_are_not_read(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "EPS")
    path = tmp_path / "drawing.eps"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(OSError, match="cannot identify"):
        read_image(path)
