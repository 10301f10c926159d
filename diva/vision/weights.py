"""Files of weights: state dicts, read without pickled code, under the names that a network has for them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


def read_state(path: Path) -> State:
    """State dict of a file, without pickled code, without the wrapping that training scripts add."""
    if not path.is_file():
        raise ValueError(f"weights must be DEFAULT, none or an existing file, got {path}.")
    if path.suffix == ".safetensors":
        return _without_prefix(_safetensors(path))
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


def _safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: State = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights must be a readable safetensors file, got {path}: {error}") from None
    return state


def _without_prefix(state: State) -> State:
    for prefix in ("module.", "_orig_mod."):  # DataParallel, torch.compile
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def renamed(state: State, network: nn.Module) -> State:
    """Keys that differ in dots alone take the network's: torchvision's old DenseNet files say norm.1 for norm1."""
    expected = {key.replace(".", ""): key for key in network.state_dict()}
    return {expected.get(key.replace(".", ""), key): value for key, value in state.items()}


def misfit(state: State, network: nn.Module, name: str, path: Path) -> str:
    """What to say of weights that are another network's."""
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
