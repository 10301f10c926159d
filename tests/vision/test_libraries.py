"""Networks of timm and transformers: small ones with random weights, saved and loaded by path."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from diva.store.digests import sha256
from diva.vision import extraction
from diva.vision.backbones import load_backbone
from diva.vision.datasets import ImageFiles

NAME = "timm:test_vit"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Photographs of several shapes."""
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number, shape in enumerate([(40, 64, 3), (64, 40, 3), (200, 180, 3), (33, 33, 3), (300, 170, 3)]):
        Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(folder / f"{number}.png")
    return [path.as_posix() for path in sorted(folder.iterdir())]


def features(backbone, images: list[str], **options) -> torch.Tensor:
    blocks = extraction.extract(backbone, ImageFiles(images, backbone.preset), progress=False, **options)
    return torch.cat([torch.from_numpy(block.features) for block in blocks])


@pytest.fixture(scope="module")
def timm() -> object:
    return pytest.importorskip("timm", reason="the extra timm is not installed")


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_network_of_timm_from_a_file_gives_the_features_of_the_network_that_was_saved(timm, images, tmp_path, ending):
    torch.manual_seed(7)
    network = timm.create_model("test_vit", num_classes=5).eval()  # another number of classes than timm's own
    file = tmp_path / f"weights.{ending}"
    save_file(network.state_dict(), file) if ending == "safetensors" else torch.save(network.state_dict(), file)
    backbone = load_backbone(NAME, file)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.open(path)) for path in images])
        expected = network.forward_head(network.forward_features(pixels), pre_logits=True)
    assert torch.equal(torch.stack([backbone.preset(Image.open(path)) for path in images]), pixels)
    torch.testing.assert_close(features(backbone, images), expected, rtol=1e-4, atol=1e-5)
    assert (backbone.width, backbone.size, backbone.trained) == (64, 160, True)
    assert backbone.weights_sha256 == sha256(file)
    about = extraction.attributes(backbone, backbone.preset)
    assert json.loads(about["versions"])["timm"] == timm.__version__
    again = load_backbone(NAME, file)
    assert extraction.attributes(again, again.preset) == about
    assert torch.equal(features(again, images, workers=2), features(backbone, images, workers=1))


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "vit_base_patch16_siglip_224", "test_efficientnet"])
def test_the_transform_of_timm_is_its_own_to_the_bit(timm, images, name):
    from diva.vision.timm_networks import transform_of

    with torch.device("meta"):
        network = timm.create_model(name)
    size, transform = transform_of(network)
    expected = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    for path in images:
        image = Image.open(path)
        assert torch.equal(transform(image), expected(image))
        assert transform(image).shape == (3, size, size)


def test_random_networks_of_timm_depend_on_the_seed_alone(timm):
    before = torch.random.get_rng_state()
    one, same, other = (load_backbone(NAME, "none", seed=seed)(torch.ones(1, 3, 160, 160)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_that_timm_names_are_a_safetensors_file_of_the_hub(timm, monkeypatch, tmp_path):
    """The file needs a network to fetch; here it lies on the disk."""
    source = load_backbone(NAME, "none", seed=4)
    save_file(source.network.state_dict(), tmp_path / "model.safetensors")
    asked = []

    def fetched(*which):
        asked.append(which)
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetched)
    backbone = load_backbone(NAME, "DEFAULT")
    assert torch.equal(backbone(torch.ones(1, 3, 160, 160)), source(torch.ones(1, 3, 160, 160)))
    assert backbone.weights_sha256 == sha256(tmp_path / "model.safetensors")
    assert asked == [("timm/test_vit.r160_in1k", "model.safetensors")]

    def unreachable(*_):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    with pytest.raises(ValueError, match=r"fetched once from https://huggingface\.co/timm/.*give its path"):
        load_backbone(NAME, "DEFAULT")


def test_what_is_no_network_or_no_weights_of_timm_is_refused(timm, tmp_path):
    with pytest.raises(ValueError, match=r"near: .*resnet18"):
        load_backbone("timm:resnet188")
    save_file({"head.bias": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="must be of the network timm:test_vit"):
        load_backbone(NAME, tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes()[:20])
    with pytest.raises(ValueError, match="readable safetensors file"):
        load_backbone(NAME, tmp_path / "cut.safetensors")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as transformers writes them: with a pooler, without, two towers, convolutions, maps, a masked one."""
    transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    small |= {"image_size": 32, "patch_size": 16}
    vit, folder = transformers.ViTConfig(**small), tmp_path_factory.mktemp("hf")
    masked = transformers.ViTMAEConfig(**{**small, "patch_size": 4}, decoder_hidden_size=8, decoder_num_hidden_layers=1)
    maps = {"hidden_sizes": [8, 8], "depths": [1, 1], "num_attention_heads": [1, 1], "num_encoder_blocks": 2}
    text = {**small, "vocab_size": 100, "bos_token_id": 0, "eos_token_id": 1}
    clip = transformers.CLIPConfig(text_config=text, vision_config=small, projection_dim=8)
    torch.manual_seed(3)
    networks = {
        "pooler": transformers.ViTModel(vit),
        "tokens": transformers.ViTModel(vit, add_pooling_layer=False),
        "dino": transformers.Dinov2Model(transformers.Dinov2Config(**small)),
        "towers": transformers.CLIPModel(clip),
        "convolutions": transformers.ResNetModel(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        ),
        "maps": transformers.SegformerModel(transformers.SegformerConfig(**maps)),
        "masked": transformers.ViTMAEModel(masked),
    }
    for name, network in networks.items():
        network.save_pretrained(folder / name)
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / name)
    return {name: folder / name for name in networks}


def by_transformers(folder: Path, name: str, images: list[str]) -> torch.Tensor:
    import transformers

    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = processor([Image.open(path) for path in images], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        network = transformers.AutoModel.from_pretrained(folder).eval()
        if name == "towers":
            return network.get_image_features(pixel_values=pixels).pooler_output
        output = network(pixel_values=pixels)
        if name == "maps":
            return output.last_hidden_state.mean((2, 3))
        return output.last_hidden_state[:, 0] if name == "tokens" else output.pooler_output.flatten(1)


@pytest.mark.parametrize("name", ["pooler", "tokens", "dino", "towers", "convolutions", "maps"])
def test_a_folder_of_transformers_gives_the_features_that_transformers_gives(saved, images, name):
    backbone = load_backbone(f"hf:{saved[name]}", "DEFAULT")
    made = features(backbone, images)
    torch.testing.assert_close(made, by_transformers(saved[name], name, images), rtol=1e-4, atol=1e-5)
    again = load_backbone(f"hf:{saved[name]}", "DEFAULT", seed=9)
    assert torch.equal(features(again, images, workers=2), made)
    assert (backbone.weights, backbone.size) == ("DEFAULT", 32)
    assert backbone.weights_sha256 == sha256(saved[name] / "model.safetensors")
    about = extraction.attributes(backbone, backbone.preset)
    assert "transformers" in json.loads(about["versions"])
    assert json.loads(json.loads(about["transform"])["settings"])["size"] == {"height": 32, "width": 32}


def test_weights_of_transformers_are_those_of_the_folder_or_random(saved, images):
    random, same, other = (load_backbone(f"hf:{saved['pooler']}", "none", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(features(random, images), features(same, images))
    assert not torch.equal(features(random, images), features(other, images))
    assert not random.trained
    with pytest.raises(ValueError, match="weights must be DEFAULT, those in the folder"):
        load_backbone(f"hf:{saved['pooler']}", saved["pooler"] / "model.safetensors")


def test_a_network_that_draws_by_chance_is_refused(saved):
    before = torch.random.get_rng_state()
    with pytest.raises(ValueError, match="must give the same features of an image every time"):
        load_backbone(f"hf:{saved['masked']}", "DEFAULT")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_copy_of_the_hub_that_lacks_files_is_fetched_anew(saved, tmp_path, monkeypatch):
    asked, reachable = [], True
    for file in ("config.json", "preprocessor_config.json"):
        (tmp_path / file).write_bytes((saved["pooler"] / file).read_bytes())

    def copy(name, local_files_only, **_):
        asked.append(local_files_only)
        if not local_files_only and not reachable:
            raise OSError("no route to host.")
        return str(tmp_path if local_files_only else saved["pooler"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", copy)
    assert load_backbone("hf:some/network", "DEFAULT").weights_sha256 == sha256(saved["pooler"] / "model.safetensors")
    assert asked[:2] == [True, False]
    reachable = False
    assert not load_backbone("hf:some/network", "none").trained  # needs no weights
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load_backbone("hf:some/network", "DEFAULT")
    (tmp_path / "model.safetensors").write_bytes((saved["pooler"] / "model.safetensors").read_bytes())
    asked.clear()
    assert load_backbone("hf:some/network", "DEFAULT").trained
    assert all(asked)


def test_what_is_no_folder_of_transformers_is_refused(saved, tmp_path, monkeypatch):
    def unreachable(name, local_files_only, **_):
        raise OSError("it is not here." if local_files_only else "no route to host.")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    for name, reason in [("nobody/nothing", "no route to host"), ("./no/folder", "nothing lies there")]:
        with pytest.raises(ValueError, match=f"must name an existing folder.*{reason}. Fetch its folder elsewhere"):
            load_backbone(f"hf:{name}", "DEFAULT")
    with pytest.raises(ValueError, match=r"config\.json"):
        load_backbone(f"hf:{tmp_path}", "DEFAULT")
    for file in saved["pooler"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.rename(tmp_path / "aside")
    torch.save({"cls": torch.zeros(1)}, tmp_path / "pytorch_model.bin")  # pickles are not read
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load_backbone(f"hf:{tmp_path}", "DEFAULT")
    weights.write_bytes((tmp_path / "aside").read_bytes()[:100])
    with pytest.raises(ValueError, match=r"config\.json and model\.safetensors"):
        load_backbone(f"hf:{tmp_path}", "DEFAULT")
    (tmp_path / "aside").rename(weights)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"preprocessor_config\.json"):
        load_backbone(f"hf:{tmp_path}", "DEFAULT")
