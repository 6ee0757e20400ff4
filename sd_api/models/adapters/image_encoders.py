"""The encoders by which adapters see images: CLIP's (arXiv:2103.00020)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from sd_api.errors import ModelUnavailable
from sd_api.models.adapters.ip_adapter_files import config_of
from sd_api.models.component import Component
from sd_api.models.files import find_component_faults
from sd_api.models.part_loading import load_part, refuse_missing_weights
from sd_api.models.precision import Precision
from sd_api.models.state_dict import WeightFile

_CLASS = ("transformers", "CLIPVisionModelWithProjection")


@dataclass(frozen=True, eq=False)
class ImageEncoder:
    """One encoder.

    Attributes:
        component: The network.
        processor: Prepares images for it.
    """

    component: Component
    processor: Any

    def see(self, images: list[Image.Image], *, whole: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """What an adapter gets of some images, and of none; the encoder is on the device.

        Args:
            images: Mode RGB.
            whole: Whether it is one embedding of each, rather than hidden states.

        Returns:
            (images, width) each; or (images, states, width).
        """
        network = self.component
        pixels = self.processor(images, return_tensors="pt").pixel_values.to(network.device, network.dtype)
        if whole:
            seen: torch.Tensor = network(pixels).image_embeds
            return seen, torch.zeros_like(seen)
        # The layer before the last; nothing is a grey image there.
        states: torch.Tensor = network(pixels, output_hidden_states=True).hidden_states[-2]
        return states, network(torch.zeros_like(pixels), output_hidden_states=True).hidden_states[-2]


def load_encoder(path: Path, dtype: torch.dtype) -> ImageEncoder:
    """Load an encoder from its folder, or from its file as other programs have it.

    Raises:
        ModelUnavailable: It is damaged.
    """
    network = _of_file(path, dtype) if path.is_file() else _of_folder(path, dtype)
    side = network.config.image_size
    component = Component(f"image encoder {path.stem}", network)
    return ImageEncoder(component, CLIPImageProcessor(size=side, crop_size=side))


def _of_folder(folder: Path, dtype: torch.dtype) -> Any:
    if faults := find_component_faults(folder, *_CLASS):
        raise ModelUnavailable("; ".join(faults))
    return load_part(folder, *_CLASS, Precision(dtype))


def _of_file(path: Path, dtype: torch.dtype) -> Any:
    weights = WeightFile(path)
    network, info = CLIPVisionModelWithProjection.from_pretrained(
        None,
        config=CLIPVisionConfig(**config_of(weights.header.shapes)),
        state_dict=weights.tensors(),
        dtype=dtype,
        output_loading_info=True,
    )
    refuse_missing_weights(path, info["missing_keys"])
    return network
