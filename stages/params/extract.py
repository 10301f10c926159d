"""Section ``extract`` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.params.section import Section

Channels = Annotated[list[float], Field(min_length=3, max_length=3)]


class Extract(Section):
    """From images to features.

    Attributes:
        backbone: bundled:efficientnet_lite0, a classification network of torchvision, timm:NAME, hf:NAME_OR_FOLDER,
            open_clip:ARCHITECTURE, or package.module:function.
        weights: DEFAULT, none (random), or the path of a state dict.
        weights_sha256: of that file, checked; null to take it as it is.
        seed: of the random initialisation.
        linearize: last_layer, or last_block: the Jacobian rows of the last block as well.
        projection: features that these are compressed to.
        resize: shorter side, before the central crop; a transform that the network brings is used instead.
        crop: side of the central crop.
        mean: per channel.
        std: per channel.
        dtype: of the features on disk.
        batch_size: images that travel together; with a GPU, per forward pass.
        workers: threads that decode and, without a GPU, compute; 0 is one per core.
        device: auto is CUDA where there is one.
    """

    backbone: str
    weights: str
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    seed: Annotated[int, Field(ge=0)]
    linearize: Literal["last_layer", "last_block"]
    projection: Annotated[int, Field(ge=1)]
    resize: Annotated[int, Field(ge=1)]
    crop: Annotated[int, Field(ge=1)]
    mean: Channels
    std: Channels
    dtype: Literal["float16", "float32"]
    batch_size: Annotated[int, Field(ge=1)]
    workers: Annotated[int, Field(ge=0)]
    device: Annotated[str, Field(pattern="^(auto|cpu|cuda(:[0-9]+)?)$")]

    @model_validator(mode="after")
    def _of_pixels(self) -> "Extract":
        if max(map(abs, self.mean)) > 2 or not 0 < min(self.std) <= max(self.std) <= 2:
            got = f"{self.mean} and {self.std}; divide such of 0 to 255 by 255"
            raise ValueError(f"mean and std must be of pixels from 0 to 1, std above 0, got {got}.")
        return self

    @model_validator(mode="after")
    def _crop_within(self) -> "Extract":
        brings = self.backbone.startswith(("timm:", "hf:", "open_clip:")) or (
            ":" not in self.backbone and self.weights == "DEFAULT"
        )  # a transform of its own: both are of no effect
        if self.crop > self.resize and not brings:
            way = f"write resize: {self.crop}, or a smaller crop"
            raise ValueError(f"crop must be at most resize ({self.resize}), got {self.crop}; {way}.")
        return self
