import pickle

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from diva.vision.transforms import ResizeCrop
from diva.vision.variants import Variant, find

THEN = ResizeCrop(16, 16)
EXAMPLES = {
    "RandomHorizontalFlip": {"p": 1.0},
    "RandomRotation": {"degrees": 20},
    "RandomResizedCrop": {"size": 24, "scale": [0.5, 1.0]},
    "ColorJitter": {"brightness": 0.4, "hue": 0.2},
    "Grayscale": {},  # one channel
    "GaussianNoise": {},
    "AutoAugment": {},
}


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def test_flips_are_those_of_the_pixels(image):
    across = Variant("RandomHorizontalFlip", {"p": 1.0}, THEN)
    down = Variant("RandomVerticalFlip", {"p": 1.0}, THEN)
    assert torch.equal(across(image), THEN(ImageOps.mirror(image)))
    assert torch.equal(down(image), THEN(ImageOps.flip(image)))
    assert torch.equal(Variant("Identity", {}, THEN)(image), THEN(image))


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_random_depends_on_seed_and_image_alone(image, name):
    variant = Variant(name, EXAMPLES[name], THEN, seed=3)
    before = torch.random.get_rng_state()
    first = variant(image)
    assert first.shape == (3, 16, 16)
    assert torch.equal(torch.random.get_rng_state(), before)  # the caller's chance is left alone
    torch.rand(5)
    assert torch.equal(pickle.loads(pickle.dumps(variant))(image), first)  # noqa: S301 - as worker processes get it
    others = [Variant(name, EXAMPLES[name], THEN, seed=seed)(image) for seed in range(8)]
    drawn = name not in ("RandomHorizontalFlip", "Grayscale")
    assert any(not torch.equal(other, first) for other in others) == drawn


def test_the_description_tells_variants_apart():
    one, two = (Variant("RandomRotation", {"degrees": d}, THEN).described() for d in (10, 20))
    assert one != two
    assert one["resize"] == 16


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("RandomHorizontalFlop", {}, "near: RandomHorizontalFlip"),
        ("RandomRotation", {"degree": 3}, "unexpected keyword argument 'degree'"),
        ("RandomCrop", {"size": 100}, "arguments of RandomCrop must suit"),  # larger than the image it is tried on
    ],
)
def test_an_unknown_transform_or_argument_is_named(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        Variant(name, arguments, THEN)


def test_only_transforms_are_found():
    with pytest.raises(ValueError, match="must be a transform"):
        find("functional")
