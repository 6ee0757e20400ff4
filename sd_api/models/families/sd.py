"""Stable Diffusion 1.x and 2.x, their inpainting models, and instruct-pix2pix (arXiv:2112.10752, arXiv:2211.09800)."""

from typing import Any

import torch

from sd_api.models.families.unet import UNetFamily
from sd_api.models.pipeline_files import SD_PIPELINES


class StableDiffusion(UNetFamily):
    """See Family."""

    name = "Stable Diffusion"
    pipelines = SD_PIPELINES

    def words_layer(self, encoder: Any, output: Any, clip_skip: int) -> torch.Tensor:
        """See UNetFamily."""
        if clip_skip == 1:
            last: torch.Tensor = output.last_hidden_state
            return last
        normed: torch.Tensor = getattr(encoder, "text_model", encoder).final_layer_norm(
            output.hidden_states[-clip_skip]
        )
        return normed
