"""Stable Diffusion 3 and 3.5 (arXiv:2403.03206)."""

from collections.abc import Sequence

import torch

from sd_api.errors import OutOfLimits
from sd_api.generation.operation import Operation
from sd_api.models.components import Parts
from sd_api.models.families.flow import linear_shift
from sd_api.models.families.transformer import Published, TransformerFamily
from sd_api.models.families.transformer_rows import TransformerRow, Words

_PUBLISHED = Published(steps=28, guidance=7.0)


class StableDiffusion3(TransformerFamily):
    """See Family."""

    name = "Stable Diffusion 3"
    pipelines = dict.fromkeys((f"StableDiffusion3{kind}Pipeline" for kind in ("", "Img2Img", "Inpaint")), _PUBLISHED)
    capabilities = ("clip_skip", "negative_prompt")
    schedulers = ("euler", "heun", "dpm++", "unipc")
    tokenizer = "tokenizer_3"
    longest = 256
    one_forward = True

    def words(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> Words:
        """See TransformerFamily; diffusers reads negative prompts at the last layer always."""
        skipped = None if negative else operation.clip_skip - 1 or None
        layers = parts.pipeline.text_encoder.config.num_hidden_layers
        if operation.clip_skip > layers:
            raise OutOfLimits("clip_skip", f"is {operation.clip_skip}; this model's text encoder has {layers} layers")
        words, _, pooled, _ = parts.pipeline.encode_prompt(
            prompt, None, None, device=parts.device, do_classifier_free_guidance=False, clip_skip=skipped
        )
        return {"words": words, "pooled": pooled}

    def shift(self, parts: Parts, tokens: int, steps: int) -> float:
        """See TransformerFamily."""
        return linear_shift(parts.pipeline.scheduler.config, tokens, highest=1.16)

    def largest_side(self, parts: Parts) -> int:
        """See LatentFamily: the model knows so many places, and no more."""
        return int(parts.denoiser.config.pos_embed_max_size) * self.multiple(parts)

    def forward(
        self,
        parts: Parts,
        rows: Sequence[TransformerRow],
        samples: torch.Tensor,
        timesteps: torch.Tensor,
        words: Words,
    ) -> torch.Tensor:
        """See TransformerFamily."""
        output: torch.Tensor = parts.denoiser(
            hidden_states=samples,
            timestep=timesteps,
            encoder_hidden_states=words["words"],
            pooled_projections=words["pooled"],
            return_dict=False,
        )[0]
        return output
