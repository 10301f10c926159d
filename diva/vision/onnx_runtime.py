"""A network as ONNX Runtime runs it on the CPU: the same features, sooner than by torch; extra ``onnx``.

The graph is made of the network by torch, in memory; nothing is read from elsewhere.
"""

import importlib
import io
from contextlib import redirect_stdout
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn


def available() -> bool:
    """Whether ONNX Runtime is installed, and what writes its graphs."""
    return all(find_spec(name) for name in ("onnxruntime", "onnx"))


class Session:
    """Images (m, 3, h, w) to features (m, p), each call on the thread that makes it; other sizes are left to torch.

    Args:
        network: in evaluation mode, its parameters without gradients.
        sample: an image (1, 3, h, w).
    """

    def __init__(self, network: nn.Module, sample: Tensor) -> None:
        runtime: Any = importlib.import_module("onnxruntime")
        runtime.disable_telemetry_events()  # its builds for Windows have some
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.version = str(runtime.__version__)
        self.network, self.size = network, sample.shape[2:]
        self.run = runtime.InferenceSession(exported(network, sample), options, providers=["CPUExecutionProvider"]).run

    def __call__(self, images: Tensor) -> Tensor:
        """Images (m, 3, h, w) to features (m, p)."""
        if images.shape[2:] != self.size:
            features: Tensor = self.network(images)
            return features
        return torch.from_numpy(self.run(None, {"images": images.numpy()})[0])


def exported(network: nn.Module, sample: Tensor) -> bytes:
    """The graph, for any number of images of the sample's size: shapes at other sizes may divide otherwise in it."""
    file: Any = io.BytesIO()
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["features"]}
    names["dynamic_axes"] = {"images": {0: "m"}, "features": {0: "m"}}
    with redirect_stdout(io.StringIO()):  # to which it prints a network that it cannot export
        torch.onnx.export(network, (sample,), file, dynamo=False, **names)  # the other exporter needs onnxscript
    return bytes(file.getvalue())
