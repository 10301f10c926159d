"""A classification network cut before its last layer: images (m, 3, h, w) to features (m, p).

The cut is found by running the network once: of all layers with parameters of their own, the last to run is the
classifier if it is a linear layer or a 1×1 convolution, and what goes into it, averaged over positions, are the
features. A network that ends otherwise has no classifier; its output is taken as it is. Auxiliary classifiers do not
run in evaluation mode, so they are never taken for the last one.
"""

import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


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
