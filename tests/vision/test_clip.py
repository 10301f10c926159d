import builtins
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("open_clip", reason="the extra clip is not installed")
import open_clip
from safetensors.torch import save_file

from diva.vision import clip, extraction
from diva.vision.backbones import builder, load_backbone
from diva.vision.datasets import ImageFiles

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny architecture by the path of its JSON file."""
    path = tmp_path_factory.mktemp("clip") / "tiny-towers.json"
    path.write_text(json.dumps(TINY), encoding="utf-8")
    return f"open_clip:{path}"


@pytest.fixture(scope="module")
def weights(tower: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random weights of both towers, by the two ways of writing them."""
    folder = tmp_path_factory.mktemp("weights")
    state = clip.load_towers(tower, "none", seed=7).state_dict()
    torch.save(state, folder / "towers.pt")
    save_file(state, folder / "towers.safetensors")
    return {kind: folder / f"towers.{kind}" for kind in ("pt", "safetensors")}


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_the_image_tower_from_a_file_is_the_network_that_was_saved(tower, weights, kind):
    backbone = load_backbone(tower, weights[kind])
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = clip.load_towers(tower, "none", seed=7).encode_image(images)
    assert torch.allclose(backbone(images), expected, atol=1e-6)
    assert (backbone.width, backbone.size, backbone.trained) == (16, 32, True)
    assert len(backbone.weights_sha256) == 64
    assert backbone.name == tower


def test_both_towers_lead_to_one_space(tower, weights):
    prompts = ("a photo of a {}.", "a {}, drawn.")
    embedded = clip.embed_names(tower, str(weights["pt"]), ["cat", "ak 47"], prompts)
    assert embedded.shape == (2, load_backbone(tower, weights["pt"]).width)
    assert np.allclose(np.linalg.norm(embedded, axis=1), 1)
    towers, tokens = (
        clip.load_towers(tower, str(weights["safetensors"])),
        open_clip.tokenize([p.format("cat") for p in prompts]),
    )
    single = torch.nn.functional.normalize(towers.encode_text(tokens), dim=1).mean(0)
    assert np.allclose(embedded[0], (single / single.norm()).numpy(), atol=1e-6)


def test_names_are_cut_into_as_many_tokens_as_the_architecture_of_a_path_reads(tmp_path):
    short = TINY | {"text_cfg": TINY["text_cfg"] | {"context_length": 32}}
    (tmp_path / "short-towers.json").write_text(json.dumps(short), encoding="utf-8")
    embedded = clip.embed_names(f"open_clip:{tmp_path / 'short-towers.json'}", "none", ["cat " * 50, "dog"])
    assert embedded.shape == (2, 16)


def test_random_towers_depend_on_the_seed_alone(tower):
    before = torch.random.get_rng_state()
    one, two, three = (load_backbone(tower, "none", seed=seed)(torch.ones(1, 3, 32, 32)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not load_backbone(tower).trained


def test_images_are_transformed_as_the_tower_was_trained(tower, weights, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    backbone = load_backbone(tower, weights["pt"])
    visual = clip.create(tower).visual
    theirs = open_clip.image_transform(32, is_train=False, mean=visual.image_mean, std=visual.image_std)
    assert torch.allclose(backbone.preset(Image.fromarray(pixels)), theirs(Image.fromarray(pixels)), atol=1e-6)
    block = next(extraction.extract(backbone, ImageFiles([str(tmp_path / "0.png")], backbone.preset), progress=False))
    assert block.features.shape == (1, 16)
    told = json.loads(extraction.attributes(backbone, backbone.preset)["transform"])
    assert (told["size"], told["interpolation"], told["squash"]) == (32, "bicubic", False)


def test_squashed_images_keep_both_sides():
    preset = clip.ClipTransform(16, (0.5,) * 3, (0.5,) * 3, "bicubic", squash=True)
    image = Image.new("RGB", (40, 16), "white")
    image.paste("black", (0, 0, 10, 16))
    assert (preset(image)[0, 8] < 0).sum() == 4  # a quarter of the width is still there


def test_weights_of_another_network_and_absent_ones_are_told(tower, weights, tmp_path):
    other = {key: value for key, value in clip.create(tower).state_dict().items() if "visual" in key}
    save_file(other, tmp_path / "images.safetensors")
    with pytest.raises(ValueError, match="weights must be of both towers"):
        load_backbone(tower, tmp_path / "images.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(weights["safetensors"].read_bytes()[:500])
    with pytest.raises(ValueError, match="readable safetensors file"):
        load_backbone(tower, tmp_path / "cut.safetensors")
    for name in ("none.safetensors", "none.pt"):
        with pytest.raises(ValueError, match="DEFAULT, none or an existing file"):
            load_backbone(tower, tmp_path / name)
    with pytest.raises(ValueError, match="weights_sha256 must be"):
        load_backbone(tower, weights["pt"], checksum="0" * 64)


def test_an_unknown_architecture_is_named_and_a_known_one_is_found(tower):
    with pytest.raises(ValueError, match="must name an architecture of open_clip"):
        builder("open_clip:ViT-B-33")()
    with pytest.raises(ValueError, match="existing JSON file"):
        load_backbone("open_clip:absent.json")
    assert builder(tower)().visual is not None


def test_what_must_be_fetched_is_named_with_where_to_put_it(tower, monkeypatch):
    def offline(*_, **__):
        raise RuntimeError("no connection")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(ValueError, match=r"fetched once from laion/CLIP-ViT-B-32.* give its path as weights"):
        load_backbone("open_clip:ViT-B-32/laion2b_s34b_b79k", "DEFAULT")
    with pytest.raises(ValueError, match="ARCHITECTURE/TAG"):
        load_backbone("open_clip:ViT-B-32", "DEFAULT")


def test_without_the_extra_it_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "open_clip":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install 'diva-curation\[clip\]'"):
        load_backbone("open_clip:ViT-B-32")


def test_prompts_need_a_place_for_the_name(tower):
    with pytest.raises(ValueError, match="prompts must hold"):
        clip.embed_names(tower, "none", ["cat"], ["a photo"])


@pytest.mark.parametrize(
    ("label", "said"),
    [("001.ak47", "ak47"), ("wild_rose", "wild rose"), ("3", "3"), ("257.clutter-x", "clutter x"), ("12 fish", "fish")],
)
def test_labels_are_spoken(label, said):
    assert clip.spoken(label) == said
