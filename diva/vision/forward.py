"""The forward pass: as fast as the device allows, in parts that its memory takes, from several threads at once.

On the CPU networks of torchvision and timm and the bundled one are compiled, by ONNX Runtime where it is installed,
else by torch: a convolution takes in its normalisation and activation, which saves half the time. On CUDA a trained
network runs in mixed precision. Torch lays channels last.
"""

import copy
import logging
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from diva.numerics.device import expand, onto
from diva.vision import onnx_runtime
from diva.vision.backbone import Backbone
from diva.vision.datasets import LESS
from diva.vision.efficientnet_lite import NAME as BUNDLED
from diva.vision.timm_networks import PREFIX as TIMM
from diva.vision.transforms import Steps

logger = logging.getLogger(__name__)
Network = Callable[[Tensor], Tensor]
EQUAL = 1e-4  # relative; rounding gives 1e-6
PART = 8  # images that the CPU computes at once: what layers hand on stays in its caches
PIXELS = 100_000  # that ONNX Runtime computes at once, for the same reason


class Forward:
    """A network on a device.

    Args:
        backbone: cut network; moved to the device.
        device: where it runs.
        steps: normalizes what comes as bytes.

    Attributes:
        versions: of the library that runs it, beside torch.
        part: images that a thread of the CPU computes at once.
        limit: images that memory takes at once, where that has shown; None before.
    """

    def __init__(self, backbone: Backbone, device: torch.device, steps: Steps | None = None) -> None:
        self.backbone = backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device, self.steps = device, steps
        size = steps.crop if steps else None
        self.network: Network = compiled(backbone, size) if device.type == "cpu" else backbone
        self.versions, self.layout, self.part = dict[str, str](), torch.channels_last, PART
        if isinstance(self.network, onnx_runtime.Session):
            self.versions, self.layout = {"onnxruntime": self.network.version}, torch.contiguous_format
            self.part = min(PART, max(1, PIXELS // self.network.size.numel()))
        # activations of untrained networks may shrink below half precision from layer to layer
        self.mixed = device.type == "cuda" and backbone.trained
        self.limit: int | None = None

    def __call__(self, images: Tensor) -> npt.NDArray[np.float32]:
        """(m, 3, h, w) to (m, p) float32."""
        size = min(self.limit or len(images), len(images))
        try:
            parts = [self._forward(part) for part in torch.split(images, size)]
        except Exception as error:  # ONNX Runtime has classes of its own
            if not out_of_memory(error):
                raise
            if size == 1:
                raise MemoryError(f"{self.device} must have memory for one image at least: {error}. {LESS}") from None
            self.limit = size // 2
        else:
            return torch.cat(parts).numpy()
        # outside the handler: the traceback would hold the memory that is needed
        logger.warning("Memory does not suffice for %d images at once; going on with %d.", size, self.limit)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return self(images)

    @torch.inference_mode()
    def _forward(self, images: Tensor) -> Tensor:
        images = onto(images, self.device).to(memory_format=self.layout)
        if self.steps and images.dtype == torch.uint8:
            images = self.steps.normalize(images)
        features = self._run(images, mixed=self.mixed)
        if self.mixed and not bool(features.isfinite().all()):  # beyond half precision, perhaps not beyond single
            features = self._run(images, mixed=False)
        return features

    def _run(self, images: Tensor, mixed: bool) -> Tensor:
        with torch.autocast(self.device.type, torch.float16, enabled=mixed):
            features: Tensor = self.network(images)
        return features.float().cpu()


def on_devices(backbone: Backbone, device: str, steps: Steps | None = None) -> list[Forward]:
    """A network on each device that ``device`` means: on one, or on several cards, each with a copy of it."""
    devices = expand(device)
    networks = [backbone, *(copy.deepcopy(backbone) for _ in devices[1:])]  # before the first is moved
    return [Forward(network, torch.device(name), steps) for network, name in zip(networks, devices, strict=True)]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU (a plain RuntimeError there)."""
    signs = ("allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)


class Unregistered(nn.Module):
    """Calls a network whose parameters are constants of the trace, which then scripts none of its modules."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = [network]

    def forward(self, images: Tensor) -> Tensor:
        """What the network gives."""
        features: Tensor = self.network[0](images)
        return features


def compiled(backbone: Backbone, size: int | None = None) -> Network:
    """The same network by ONNX Runtime, else as one graph of torch, where that gives the same features; else itself.

    Tried on images of ``size``, else of the network's own. Only networks that come with an installation: in others
    Python may decide what happens, of which a graph knows nothing.
    """
    own = isinstance(backbone, Backbone) and ":" in backbone.name.removeprefix(BUNDLED).removeprefix(TIMM)
    if not isinstance(backbone, Backbone) or not backbone.name or own:
        return backbone
    ways: dict[str, Callable[[nn.Module, Tensor], Network]] = {"torch, as one graph": frozen}
    if onnx_runtime.available():
        ways = {"ONNX Runtime": onnx_runtime.Session} | ways
    for way, make in ways.items():
        if (network := _equal(backbone, make, size or backbone.size)) is not None:
            logger.info("%s is run by %s.", backbone.name, way)
            return network
    return backbone


@torch.no_grad()
def _equal(backbone: Backbone, make: Callable[[nn.Module, Tensor], Network], size: int) -> Network | None:
    """What ``make`` makes of a network, where it gives the same features."""
    sample = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    sample = sample.to(memory_format=torch.channels_last)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on what a graph cannot hold; the comparison finds out
            constant = Unregistered(backbone.requires_grad_(False)).eval()  # a constant takes no gradient
            network = make(constant, sample[:1])
        wanted, given = backbone(sample), (network(sample), network(sample))  # the second run is the optimised one
    except Exception as error:  # a graph is a gain, never a need
        logger.debug("%s is run otherwise: %s", backbone.name, error)
        return None
    worst = max(float((features - wanted).norm() / wanted.norm()) for features in given)
    return network if worst < EQUAL else None


def frozen(network: nn.Module, sample: Tensor) -> nn.Module:
    """The network as one graph of torch, for images such as the sample."""
    traced = torch.jit.trace(network, sample, check_trace=False).eval()  # type: ignore[no-untyped-call]
    graph: nn.Module = torch.jit.freeze(traced)
    return graph
