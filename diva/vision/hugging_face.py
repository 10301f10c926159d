"""Networks of transformers, ``hf:FOLDER`` or ``hf:NAME``: images to features by its own image processor.

The features are what the network pools, or the first token where its file has no weights to pool with, the mean over
positions where it gives maps; of networks with two towers, the embeddings of the image. Only configurations and
safetensors files are read: no pickles, no code of theirs. Needs ``pip install 'diva-curation[hf]'``.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from diva.store.digests import sha256
from diva.text.words import installing
from diva.vision.backbone import Backbone

PREFIX = "hf:"
FILES = ("*.json", "*.safetensors")
WHOLE = ("config.json", "preprocessor_config.json", "*.safetensors")  # what a copy holds that was fetched to the end
HUB = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")  # names there


class Processor:
    """The image processor of a network; ``settings`` say what it does, as JSON."""

    def __init__(self, processor: Any) -> None:
        self._process = processor
        self.settings = json.dumps(json.loads(processor.to_json_string()), sort_keys=True)

    def __call__(self, image: Image.Image) -> Tensor:
        """RGB image to (3, size, size)."""
        tensor: Tensor = self._process(image, return_tensors="pt")["pixel_values"][0]
        return tensor


class Pooled(nn.Module):
    """The features of a network: what it pools, or its first token, or its maps."""

    def __init__(self, network: Any, *, first_token: bool) -> None:
        super().__init__()
        self.network, self.first_token = network, first_token

    def forward(self, images: Tensor) -> Tensor:
        """Images (m, 3, h, w) to (m, p), or (m, p, h', w'), which `Backbone` averages."""
        towers = hasattr(self.network, "get_image_features")
        output: Any = (self.network.get_image_features if towers else self.network)(pixel_values=images)
        if isinstance(output, Tensor):
            return output
        pooled: Tensor | None = None if self.first_token else getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled
        last: Tensor = output.last_hidden_state
        return last if last.ndim == 4 else last[:, 0]


def require() -> Any:
    """transformers; ValueError where it is not installed."""
    try:
        import transformers
    except ImportError:
        raise ValueError(f"backbone {PREFIX}… needs transformers: {installing('hf')}.") from None
    transformers.utils.logging.set_verbosity_error()
    return transformers


def folder_of(name: str) -> Path:
    """The folder of a network's files: one on disk, or the hub's copy here, fetched where there is none."""
    require()
    from huggingface_hub import snapshot_download

    plain = name.removeprefix(PREFIX)
    if Path(plain).is_dir():
        return Path(plain)
    said = "nothing lies there."
    partial: Path | None = None
    for local in (True, False) if HUB.fullmatch(plain) else ():
        try:
            folder = Path(snapshot_download(plain, allow_patterns=list(FILES), local_files_only=local))
        except (OSError, ValueError) as error:
            said = " ".join(str(error).split())[:200]
        else:
            if not local or all(any(folder.glob(pattern)) for pattern in WHOLE):
                return folder
            partial = folder
    if partial is not None:  # random weights need no more than its configuration; else `load` says what it lacks
        return partial
    raise ValueError(
        f"backbone must name an existing folder, or a network that can be fetched from https://huggingface.co/{plain}, "
        f"after {PREFIX}, got {name}: {said} Fetch its folder elsewhere (config.json, preprocessor_config.json, "
        "model.safetensors) and name that."
    )


def load(name: str, weights: str, seed: int) -> Backbone:
    """A network with its processor, on the CPU.

    Args:
        name: ``hf:`` and a folder that ``save_pretrained`` wrote, or a name on the hub.
        weights: ``DEFAULT`` (those of the folder) or ``none`` (random).
        seed: of random weights; the global generator is left alone.

    Raises:
        ValueError: no such network, files that are absent or of another network, other weights, images that come out
            in another shape than squares of one size, features that differ from one time to the next.
    """
    if weights not in ("DEFAULT", "none"):
        raise ValueError(f"weights must be DEFAULT, those in the folder of {name}, or none, got {weights}.")
    folder = folder_of(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, missing = _network(folder, name, weights)
    processor = _processor(folder, name)
    size = _size(processor, name)
    absent = [key for key in missing if "pooler" not in key.split(".")]
    if absent:
        raise ValueError(f"{folder} must hold all weights of {name}, got none for {', '.join(absent[:3])}.")
    with torch.random.fork_rng(devices=[]):
        backbone = Backbone(Pooled(network, first_token=bool(missing)), size, cut=False)
        _check_repeatable(backbone, processor(Image.linear_gradient("L").convert("RGB"))[None], name)
    backbone.preset, backbone.weights = processor, weights  # type: ignore[assignment]
    backbone.weights_sha256 = _checksum(folder) if weights == "DEFAULT" else ""
    return backbone


def _check_repeatable(backbone: Backbone, images: Tensor, name: str) -> None:
    """ValueError where a network draws by chance, such as the patches that masked autoencoders hide."""
    with torch.inference_mode():
        first, second = backbone(images), backbone(images)
    if (first - second).abs().max() > 1e-5 * first.abs().max():
        raise ValueError(
            f"backbone {name} must give the same features of an image every time, got others the second time: it "
            "draws by chance, as masked autoencoders do; name a network that sees the whole image."
        )


def _network(folder: Path, name: str, weights: str) -> tuple[nn.Module, list[str]]:
    """The network, and the weights that no file gave."""
    from safetensors import SafetensorError

    transformers = require()
    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        if weights == "DEFAULT":
            network, about = transformers.AutoModel.from_pretrained(
                folder, **safe, use_safetensors=True, output_loading_info=True
            )
            return network, sorted(about["missing_keys"])
        network = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(folder, **safe))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())[:300]
        raise ValueError(
            f"backbone {name} must be a folder with config.json and model.safetensors, got: {said}"
        ) from None
    return network, []


def _checksum(folder: Path) -> str:
    """SHA-256 of the file of weights, or, of several, of the lines that sha256sum writes."""
    lines = [(sha256(path), path.name) for path in sorted(folder.glob("*.safetensors"))]
    listing = "".join(f"{digest}  {name}\n" for digest, name in lines)
    return lines[0][0] if len(lines) == 1 else hashlib.sha256(listing.encode()).hexdigest()


def _processor(folder: Path, name: str) -> Processor:
    try:
        return Processor(
            require().AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        )
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:300]
        raise ValueError(f"backbone {name} must come with preprocessor_config.json, got: {said}") from None


def _size(processor: Processor, name: str) -> int:
    """The side of the squares that images become."""
    wide, high = (tuple(processor(Image.new("RGB", size)).shape) for size in ((64, 48), (48, 64)))
    if wide != high or wide[1] != wide[2]:
        raise ValueError(f"the image processor of {name} must make squares of one size, got {wide} and {high}.")
    return wide[1]
