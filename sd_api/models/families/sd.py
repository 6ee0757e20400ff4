"""Stable Diffusion 1.x and 2.x, their inpainting models, and instruct-pix2pix (arXiv:2112.10752, arXiv:2211.09800)."""

from typing import Any

from diffusers import StableDiffusionPipeline

from sd_api.models.components import Parts
from sd_api.models.families.unet import UNetFamily
from sd_api.models.pipeline_files import SD_PIPELINES


class StableDiffusion(UNetFamily):
    """See Family."""

    name = "Stable Diffusion"
    pipelines = SD_PIPELINES

    def encoder(self, parts: Parts) -> Any:
        """See UNetFamily."""
        if hasattr(parts.pipeline, "encode_prompt"):
            return parts.pipeline
        # instruct-pix2pix has the same text encoder and no such method.
        return StableDiffusionPipeline.from_pipe(
            parts.pipeline, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
