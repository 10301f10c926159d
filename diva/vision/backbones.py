"""A classification network cut before its last layer: images (m, 3, h, w) to features (m, p).

The cut is found by running the network once: of all layers with parameters of their own, the last to run is the
classifier if it is a linear layer or a 1×1 convolution, and what goes into it, averaged over positions, are the
features. A network that ends otherwise has no classifier; its output is taken as it is. Auxiliary classifiers do not
run in evaluation mode, so they are never taken for the last one.
"""

import difflib
import hashlib
import importlib
import threading
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import torch
import torchvision
from torch import Tensor, nn

Builder = Callable[..., nn.Module]
State = dict[str, Tensor]


class Backbone(nn.Module):
    """A network that gives the input of its last layer, or, not ``cut``, its output.

    Attributes:
        name: as asked for.
        weights: "none", the path, or the name of torchvision's weights.
        weights_sha256: of the weights' file; empty where there is none.
        seed: of the initialisation.
        width: p.
        size: side of the square images it was tried with.
        preset: the transform that torchvision's weights bring, if any.
    """

    def __init__(self, network: nn.Module, size: int, *, cut: bool = True) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.name, self.weights, self.weights_sha256, self.seed = "", "none", "", 0
        self.size, self.preset = size, None
        with torch.inference_mode():
            sample = torch.zeros(1, 3, size, size)
            self.head = last_layer(network, sample) if cut else None
            self._taken: dict[int, Tensor] = {}  # by thread: several may run the network at once
            if (layer := self._layer()) is not None:
                layer.register_forward_pre_hook(self._take)
            self.width = int(self(sample).shape[1])

    @property
    def trained(self) -> bool:
        """Whether the network has weights other than random ones."""
        return self.weights != "none"

    def forward(self, images: Tensor) -> Tensor:
        """Images (m, 3, h, w) to features (m, p)."""
        output = self.network(images)
        if self.head is None:
            return _flat(_tensor(output), channels=1)
        return _flat(self._taken.pop(threading.get_ident()), channels=1 if isinstance(self._layer(), nn.Conv2d) else -1)

    def _layer(self) -> nn.Module | None:
        return None if self.head is None else self.network.get_submodule(self.head)

    def _take(self, _layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._taken[threading.get_ident()] = inputs[0]


def last_layer(network: nn.Module, images: Tensor) -> str | None:
    """Name of the classifier: the last layer with parameters to run, if linear or a 1×1 convolution; else None."""
    names = {module: name for name, module in network.named_modules() if _has_parameters(module)}
    ran: list[nn.Module] = []
    hooks = [module.register_forward_pre_hook(lambda module, _: ran.append(module)) for module in names]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not ran:
        return None
    last = ran[-1]
    pointwise = isinstance(last, nn.Conv2d) and last.kernel_size == (1, 1)
    return names[last] if isinstance(last, nn.Linear) or pointwise else None


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _flat(features: Tensor, channels: int) -> Tensor:
    """The mean over positions: (m, …, p) or (m, p, …) to (m, p)."""
    positions = [axis for axis in range(1, features.ndim) if axis != channels % features.ndim]
    return features.mean(positions) if positions else features


def _tensor(output: Any) -> Tensor:
    """The first tensor of what a network returns."""
    while not isinstance(output, Tensor):
        output = next(iter(output.values())) if isinstance(output, Mapping) else output[0]
    return output


def load_backbone(
    name: str,
    weights: str | Path = "none",
    seed: int = 0,
    size: int = 224,
    checksum: str | None = None,
) -> Backbone:
    """A backbone on the CPU, in evaluation mode.

    Args:
        name: a classification network of torchvision; ``open_clip:ARCHITECTURE[/TAG]``, whose image tower is taken
            whole with its own transform; or ``package.module:function``, called without arguments.
        weights: ``DEFAULT`` (torchvision's best, fetched if need be; for a function, what it brings itself),
            ``none`` (random, from ``seed``), or the path of a state dict.
        seed: of the initialisation; the global generator is left alone.
        size: side of the images; with torchvision's ``DEFAULT`` its own transform decides.
        checksum: SHA-256 that the weights' file must have.

    Raises:
        ValueError: no such network, a file of another network or checksum, or a size it cannot take.
    """
    build = builder(name)
    if name.startswith("open_clip:"):
        from diva.vision import clip  # which builds on this module

        return _checked(clip.load_image_tower(name, str(weights), seed), name, seed, checksum)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(seed)
        warnings.simplefilter("ignore")  # torchvision announces changes of its initialisation
        if str(weights) == "none":
            backbone = _cut(build(), name, size)
        elif str(weights) == "DEFAULT":
            backbone = _with_default(build, name, size)
        else:
            backbone = _with_file(build, name, Path(weights), size)
    return _checked(backbone, name, seed, checksum)


def _checked(backbone: Backbone, name: str, seed: int, checksum: str | None) -> Backbone:
    if checksum and backbone.trained and checksum != backbone.weights_sha256:
        raise ValueError(
            f"weights_sha256 must be {backbone.weights_sha256 or 'unknown'} of {backbone.weights}, got {checksum}. "
            "If the new file is the right one, put its checksum into params.yaml; else fetch the old one."
        )
    backbone.name, backbone.seed = name, seed
    return backbone


def builder(name: str) -> Builder:
    """The function that makes a network; ValueError with near names where there is none."""
    if name.startswith("open_clip:"):
        from diva.vision import clip

        return partial(clip.create, name)
    if ":" in name:
        module, _, function = name.partition(":")
        try:
            found = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"backbone must be an importable package.module:function, got {name}: {error}.") from None
        return found  # type: ignore[no-any-return]
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, cutoff=0.5)
        raise ValueError(
            f"backbone must be a classification network of torchvision or package.module:function, got {name}; "
            f"near: {', '.join(near) or 'none'}."
        )
    return torchvision.models.get_model_builder(name)  # type: ignore[no-any-return]


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cut(network: nn.Module, name: str, size: int) -> Backbone:
    try:
        return Backbone(network, size)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ValueError(f"crop must be a size that {name} takes, got {size}: {error}") from error


def _with_default(build: Builder, name: str, size: int) -> Backbone:
    if ":" in name:
        backbone = _cut(build(), name, size)
        backbone.weights = "DEFAULT"
        return backbone
    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        network = build(weights=weights)
    except (URLError, OSError) as error:
        raise ValueError(
            f"weights DEFAULT of {name} must be fetched once from {weights.url}, got: {error}. "
            "Fetch that file elsewhere and give its path as weights, or set weights: none."
        ) from None
    preset = weights.transforms()
    backbone = _cut(network, name, int(preset.crop_size[0]))
    backbone.preset, backbone.weights = preset, str(weights)
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    backbone.weights_sha256 = sha256(file) if file.is_file() else ""
    return backbone


def _with_file(build: Builder, name: str, path: Path, size: int) -> Backbone:
    state = read_state(path)
    backbone = _cut(build(), name, size)
    backbone = _as_many_classes(backbone, state, build, name)
    network = backbone.network
    state = _renamed(state, network)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError:
        raise ValueError(_misfit(state, network, name, path)) from None
    if hasattr(network, "transform_input"):
        network.transform_input = True  # type: ignore[assignment]  # torchvision's files of Inception and GoogLeNet are meant to be used so
    backbone.weights, backbone.weights_sha256 = str(path), sha256(path)
    return backbone


def read_state(path: Path) -> State:
    """State dict of a file, without pickled code, without the wrapping that training scripts add."""
    if not path.is_file():
        raise ValueError(f"weights must be DEFAULT, none or an existing file, got {path}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # its reader fails in any way on damaged bytes
        if isinstance(error, OSError) and error.errno:  # the system's
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"weights must be a state dict written by torch.save(network.state_dict(), …), got {path}: {reason}"
        ) from None
    for wrapping in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapping), Mapping):
            state = state[wrapping]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"weights must be a state dict (names to tensors), got {type(state).__name__} in {path}.")
    return _without_prefix(dict(state))


def _without_prefix(state: State) -> State:
    for prefix in ("module.", "_orig_mod."):  # DataParallel, torch.compile
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _renamed(state: State, network: nn.Module) -> State:
    """Keys that differ in dots alone take the network's: torchvision's old DenseNet files say norm.1 for norm1."""
    expected = {key.replace(".", ""): key for key in network.state_dict()}
    return {expected.get(key.replace(".", ""), key): value for key, value in state.items()}


def _as_many_classes(backbone: Backbone, state: State, build: Builder, name: str) -> Backbone:
    """The network with as many classes as the file's: its classifier is cut off anyway."""
    have = backbone.network.state_dict().get(f"{backbone.head}.weight")
    want = state.get(f"{backbone.head}.weight")
    if (
        ":" in name
        or have is None
        or want is None
        or have.shape[0] == want.shape[0]
        or have.shape[1:] != want.shape[1:]
    ):
        return backbone
    return _cut(build(num_classes=want.shape[0]), name, backbone.size)


def _misfit(state: State, network: nn.Module, name: str, path: Path) -> str:
    expected = network.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshaped = [
        f"{key} {tuple(value.shape)} for {tuple(expected[key].shape)}"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    groups = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    parts = [
        f"{len(keys)} {word} ({', '.join(keys[:3])}{', …' * (len(keys) > 3)})" for word, keys in groups.items() if keys
    ]
    return (
        f"weights must be of the network {name}, got {path} with {'; '.join(parts)}. "
        "Name the backbone the file was written by, or give that backbone's file."
    )
