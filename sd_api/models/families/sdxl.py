"""Stable Diffusion XL and its inpainting model (arXiv:2307.01952); turbo and lightning models are of its shape."""

from typing import Any

import torch

from sd_api.models.autoencoder import in_full_precision
from sd_api.models.components import Parts
from sd_api.models.families.unet import UNetFamily
from sd_api.models.pipeline_files import SDXL_PIPELINES


class StableDiffusionXL(UNetFamily):
    """See Family."""

    name = "Stable Diffusion XL"
    pipelines = SDXL_PIPELINES

    def words_layer(self, encoder: Any, output: Any, clip_skip: int) -> torch.Tensor:
        """See UNetFamily: the layer before the last is the one that it was trained with."""
        layer: torch.Tensor = output.hidden_states[-clip_skip - 1]
        return layer

    def image_encoder(self, parts: Parts) -> Any:
        """See LatentFamily: in fp32 where the autoencoder overflows in fp16, as diffusers does it."""
        vae: Any = parts.autoencoder.module
        return in_full_precision(vae) if vae.config.force_upcast else vae

    def size_ids(self, parts: Parts, size: tuple[int, int]) -> torch.Tensor:
        """See UNetFamily: the original size, the corner of the crop, and the size; height comes first."""
        width, height = size
        return torch.tensor([[height, width, 0, 0, height, width]], dtype=parts.denoiser.dtype, device=parts.device)
