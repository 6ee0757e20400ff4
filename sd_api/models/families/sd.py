"""Stable Diffusion 1.x and 2.x, their inpainting models, and instruct-pix2pix (arXiv:2112.10752, arXiv:2211.09800)."""

from typing import Any

from diffusers import StableDiffusionPipeline

from sd_api.models.components import Parts
from sd_api.models.families.unet import UNetFamily
from sd_api.models.pipeline_files import SD_PIPELINES
from sd_api.models.sharing import pipeline_of


class StableDiffusion(UNetFamily):
    """See Family."""

    name = "Stable Diffusion"
    pipelines = SD_PIPELINES

    def prompt_arguments(self, parts: Parts, prompt: str, clip_skip: int) -> dict[str, Any]:
        """See UNetFamily."""
        if clip_skip == 1:
            return {"prompt": prompt}
        # Not diffusers' own ``clip_skip``: it looks for the last normalization where transformers 4 had it.
        tokenizer, encoder = parts.pipeline.tokenizer, parts.pipeline.text_encoder
        words = tokenizer(
            prompt, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        mask = words.attention_mask.to(parts.device) if getattr(encoder.config, "use_attention_mask", False) else None
        layers = encoder(words.input_ids.to(parts.device), attention_mask=mask, output_hidden_states=True)
        model = getattr(encoder, "text_model", encoder)
        return {"prompt": None, "prompt_embeds": model.final_layer_norm(layers.hidden_states[-clip_skip])}

    def encoder(self, parts: Parts) -> Any:
        """See UNetFamily."""
        if hasattr(parts.pipeline, "encode_prompt"):
            return parts.pipeline
        # instruct-pix2pix has the same text encoder and no such method.
        return pipeline_of(StableDiffusionPipeline, parts.pipeline, safety_checker=None, feature_extractor=None)
