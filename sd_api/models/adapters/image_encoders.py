"""The encoders by which adapters see images: CLIP's (arXiv:2103.00020) and SigLIP's (arXiv:2303.15343)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from sd_api.errors import ModelUnavailable
from sd_api.models.adapters.image_encoder_files import encoder_of
from sd_api.models.adapters.ip_adapter_files import EncoderName, Nothing
from sd_api.models.component import Component
from sd_api.models.files import find_component_faults
from sd_api.models.part_loading import load_part, refuse_missing_weights
from sd_api.models.precision import Precision
from sd_api.models.state_dict import WeightFile

_CLASSES: Mapping[EncoderName, tuple[Any, Any]] = {
    "CLIP": (CLIPVisionModelWithProjection, CLIPVisionConfig),
    "SigLIP": (SiglipVisionModel, SiglipVisionConfig),
}


@dataclass(frozen=True, eq=False)
class ImageEncoder:
    """One encoder.

    Attributes:
        component: The network.
        processor: Prepares images for it.
    """

    component: Component
    processor: Any

    def see(self, images: list[Image.Image], *, whole: bool, nothing: Nothing) -> tuple[torch.Tensor, torch.Tensor]:
        """What an adapter gets of some images, and of none; the encoder is on the device.

        Args:
            images: Mode RGB.
            whole: Whether it is one embedding of each, rather than hidden states.
            nothing: What it gets of none.

        Returns:
            (images, width) each; or (images, states, width). Of a black image there is one.
        """
        pixels = self._prepared(images)
        seen = self._of(pixels, whole=whole)
        if nothing == "zeros":
            return seen, torch.zeros_like(seen)
        unseen = torch.zeros_like(pixels) if nothing == "grey" else self._prepared([Image.new("RGB", (1, 1))])
        return seen, self._of(unseen, whole=whole)

    def _prepared(self, images: list[Image.Image]) -> torch.Tensor:
        pixels: torch.Tensor = self.processor(images, return_tensors="pt").pixel_values
        return pixels.to(self.component.device, self.component.dtype)

    def _of(self, pixels: torch.Tensor, *, whole: bool) -> torch.Tensor:
        # Of the hidden states, those of the layer before the last.
        output = self.component(pixels, output_hidden_states=not whole)
        seen: torch.Tensor = output.image_embeds if whole else output.hidden_states[-2]
        return seen


def load_encoder(path: Path, kind: EncoderName, dtype: torch.dtype) -> ImageEncoder:
    """Load an encoder from its folder, or from its file as other programs have it.

    Raises:
        ModelUnavailable: It is damaged.
    """
    network = _of_file(path, kind, dtype) if path.is_file() else _of_folder(path, kind, dtype)
    side = network.config.image_size
    component = Component(f"image encoder {path.stem}", network)
    if kind == "SigLIP":
        return ImageEncoder(component, SiglipImageProcessorPil(size={"height": side, "width": side}))
    return ImageEncoder(component, CLIPImageProcessor(size=side, crop_size=side))


def _of_folder(folder: Path, kind: EncoderName, dtype: torch.dtype) -> Any:
    encoder_class = "transformers", _CLASSES[kind][0].__name__
    if faults := find_component_faults(folder, *encoder_class):
        raise ModelUnavailable("; ".join(faults))
    return load_part(folder, *encoder_class, Precision(dtype))


def _of_file(path: Path, kind: EncoderName, dtype: torch.dtype) -> Any:
    weights = WeightFile(path)
    encoder_class, config_class = _CLASSES[kind]
    _, config = encoder_of(weights.header.shapes)
    network, info = encoder_class.from_pretrained(
        None,
        config=config_class(**config),
        state_dict=weights.tensors(),
        dtype=dtype,
        output_loading_info=True,
    )
    refuse_missing_weights(path, info["missing_keys"])
    return network
