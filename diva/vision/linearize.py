"""Features of the network linearised in its last block as well as in its last layer.

    f(x; w, θ) ≈ wᵀz(x) + …,    row = [ z / ‖z‖ ,  φ / ‖φ‖ ],    φ = P [ ∂⟨u_1, z⟩/∂θ ; … ; ∂⟨u_r, z⟩/∂θ ]

z (d,) is what goes into the last layer, θ the parameters of the block that holds the last convolution or linear layer
before it, u_1 … u_r seeded directions that stand for the outputs' weights, and P a seeded sparse projection of the
r·|θ| entries to p (each entry goes to one column with a random sign: inner products are kept in expectation). The
per-sample Jacobian rows live for one chunk of images only.

Reference: Dukler et al., DIVA, ICLR 2022, Sec. 3 (which linearises the last layer alone, "for simplicity"); the
projection: Charikar et al., Finding Frequent Items in Data Streams, ICALP 2002.
"""

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from diva.vision.backbone import Backbone

logger = logging.getLogger(__name__)

DIRECTIONS = 4
LARGEST = 1 << 23  # parameters of a block (those of ResNets have 4.7 million); of a larger one, its last layer alone
ENTRIES = 1 << 25  # of Jacobian rows that are in memory at once


class Linearized(nn.Module):
    """A backbone whose features are z and the projected Jacobian rows of its last block.

    Args:
        backbone: with a last layer that was found.
        projection: p.
        directions: r.

    Attributes are those of the backbone, ``width`` being d + p.
    """

    one_at_a_time = True  # a call lends the network other parameters, which a second thread would find there

    outputs: Tensor
    columns: Tensor
    signs: Tensor

    def __init__(self, backbone: Backbone, projection: int, directions: int = DIRECTIONS) -> None:
        super().__init__()
        if projection < 1 or directions < 1:
            raise ValueError(f"projection and directions must be at least 1, got {projection} and {directions}.")
        self.backbone, self.projection = backbone, projection
        self.block = last_block(backbone)
        logger.info("%s is linearised in %s as well as in its last layer", backbone.name, self.block)
        self.name = f"{backbone.name} with last block to {projection}"
        self.weights, self.weights_sha256, self.seed = backbone.weights, backbone.weights_sha256, backbone.seed
        self.size, self.preset, self.trained = backbone.size, backbone.preset, backbone.trained
        self.width = backbone.width + projection
        chance = torch.Generator().manual_seed(backbone.seed)
        self.entries = sum(value.numel() for value in self._parameters_of_block().values())
        self.register_buffer("outputs", torch.randn(directions, backbone.width, generator=chance))
        self.register_buffer("columns", torch.randint(projection, (directions, self.entries), generator=chance))
        self.register_buffer("signs", torch.randint(2, (directions, self.entries), generator=chance) * 2.0 - 1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (m, 3, h, w) to features (m, d + p), both parts of unit norm."""
        with torch.inference_mode(mode=False), torch.enable_grad():
            parameters = self._parameters_of_block()
            chunk = max(1, ENTRIES // (self.entries * len(self.outputs)))
            each = vmap(lambda image: self._row(parameters, image), chunk_size=chunk)
            z, projected = each(images.clone())
        unit = nn.functional.normalize
        return torch.cat([unit(z, dim=1), unit(projected, dim=1)], 1)

    def _row(self, parameters: dict[str, Tensor], image: Tensor) -> tuple[Tensor, Tensor]:
        """z (d,) and φ (p,) of one image (3, h, w)."""

        def features(block: dict[str, Tensor]) -> Tensor:
            z: Tensor = functional_call(self.backbone, block, (image[None],))[0]
            return z

        z, pull, *_ = vjp(features, parameters)
        rows = vmap(lambda direction: torch.cat([part.flatten() for part in pull(direction)[0].values()]))
        jacobian = rows(self.outputs.to(z)) * self.signs
        projected = jacobian.new_zeros(self.projection)
        return z, projected.index_add(0, self.columns.flatten(), jacobian.flatten())

    def _parameters_of_block(self) -> dict[str, Tensor]:
        parameters = self.backbone.get_submodule(f"network.{self.block}").named_parameters(f"network.{self.block}")
        head = f"network.{self.backbone.head}."
        return {name: value.detach() for name, value in parameters if not name.startswith(head)}


def linearized(backbone: Backbone, how: str, projection: int) -> Any:
    """The backbone itself for ``last_layer``; for ``last_block``, linearised there as well."""
    if how not in ("last_layer", "last_block"):
        raise ValueError(f"linearize must be last_layer or last_block, got {how!r}.")
    return backbone if how == "last_layer" else Linearized(backbone, projection)


def last_block(backbone: Backbone) -> str:
    """Name, within the network, of the module that holds the last convolution or linear layer before the classifier.

    Raises:
        ValueError: the network has no classifier that was cut, or nothing before it.
    """
    if backbone.head is None:
        raise ValueError(f"linearize must be last_layer for a network without a classifier, got {backbone.name}.")
    network, ran = backbone.network, list[str]()
    names = {module: name for name, module in network.named_modules() if _holds_matrix(module)}
    hooks = [module.register_forward_pre_hook(lambda module, _: ran.append(names[module])) for module in names]
    parameter = next(network.parameters())
    try:
        with torch.inference_mode():
            backbone(torch.zeros(1, 3, backbone.size, backbone.size).to(parameter))
    finally:
        for hook in hooks:
            hook.remove()
    before = [name for name in ran if name != backbone.head]
    if not before:
        raise ValueError(f"linearize must be last_layer for a network of one layer, got {backbone.name}.")
    parent = before[-1].rpartition(".")[0]
    small = sum(value.numel() for value in network.get_submodule(parent).parameters()) <= LARGEST
    return parent if parent and small else before[-1]


def _holds_matrix(module: nn.Module) -> bool:
    """Whether it is a layer with weights of its own that are more than a scale."""
    return any(value.ndim > 1 for value in module.parameters(recurse=False))
