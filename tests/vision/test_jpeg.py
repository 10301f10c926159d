"""The decoder of a GPU is torchvision's with a device; here it runs on the CPU, where it must agree with PIL."""

import numpy as np
import pytest
import torch
from PIL import Image

from diva.store.features import Failure
from diva.vision import extraction, jpeg
from diva.vision.backbones import load_backbone
from diva.vision.datasets import ImageFiles
from diva.vision.extraction import Run, extract
from diva.vision.forward import Forward
from diva.vision.transforms import ResizeCrop

STEPS = ResizeCrop(40, 32)
CPU = torch.device("cpu")


@pytest.fixture
def files(tmp_path):
    """Smooth JPEGs of several shapes, grey, turned, CMYK, cut short, a PNG, none at all."""
    wave = np.sin(np.arange(90)[:, None, None] / 9 + np.arange(70)[None, :, None] / 7 + np.arange(3))
    image = Image.fromarray((127 + 120 * wave).astype(np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    made = {"a.jpg": image, "b.jpg": image.resize((60, 200)), "grey.jpg": image.convert("L"),
            "turned.jpg": image, "cmyk.jpg": image.convert("CMYK"), "cut.jpg": image, "c.png": image}  # fmt: skip
    for name, picture in made.items():
        picture.save(tmp_path / name, **({"exif": turned} if name == "turned.jpg" else {}))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:900])
    return ImageFiles([str(tmp_path / name) for name in [*made, "absent.jpg"]], STEPS)


def test_only_upright_colour_or_grey_jpegs_go_to_the_card(files):
    kinds = [type(files.encoded(row)) for row in range(8)]
    on_card = jpeg.Encoded
    assert kinds == [on_card, on_card, on_card, torch.Tensor, torch.Tensor, on_card, torch.Tensor, Failure]


def test_what_is_decoded_in_a_batch_is_what_pil_decodes(files):
    images = jpeg.decoded([files.encoded(row) for row in (0, 1, 2)], STEPS, CPU)
    for row, image in enumerate(images):
        difference = (image.int() - files.pixels(row).int()).abs()
        assert image.shape == (3, 32, 32)
        assert int(difference.max()) <= 1  # resized by torch, not by PIL


def test_a_damaged_file_spoils_no_other(files):
    good, damaged, other = jpeg.decoded([files.encoded(row) for row in (0, 5, 1)], STEPS, CPU)
    assert damaged is None
    assert (good.shape, other.shape) == ((3, 32, 32), (3, 32, 32))


def test_too_many_pixels_are_refused_before_they_are_unpacked(files):
    small = ImageFiles(files.paths, STEPS, max_pixels=100)
    assert small.encoded(0).reason.startswith("too many pixels")


def test_what_the_card_refuses_the_cpu_decodes(files, monkeypatch):
    backbone = load_backbone("shufflenet_v2_x0_5", seed=0, size=32)
    expected = next(extract(backbone, files, device="cpu"))

    class OnCard(Run):
        def __init__(self, network: Forward, files: ImageFiles, decoder: torch.device) -> None:
            super().__init__(network, files, decoder)
            self.read = files.encoded

    monkeypatch.setattr(extraction, "Run", OnCard)
    got = next(extract(backbone, files, device="cpu"))
    assert got.rows.tolist() == expected.rows.tolist() == [0, 1, 2, 3, 4, 6]
    assert got.failures == expected.failures
    error = np.linalg.norm(got.features - expected.features) / np.linalg.norm(expected.features)
    assert error < 1e-2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_card_decodes_nearly_the_same_pixels(files):
    images = jpeg.decoded([files.encoded(row) for row in (0, 1, 2)], STEPS, torch.device("cuda"))
    for row, image in enumerate(images):
        assert (image.cpu().int() - files.pixels(row).int()).abs().float().mean() < 4
