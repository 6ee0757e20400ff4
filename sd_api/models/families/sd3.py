"""Stable Diffusion 3 and 3.5 (arXiv:2403.03206)."""

from collections.abc import Sequence

import torch

from sd_api.errors import OutOfLimits
from sd_api.generation.operation import Operation
from sd_api.models.component import Component
from sd_api.models.components import Parts
from sd_api.models.families.flow import linear_shift
from sd_api.models.families.transformer import Published, TransformerFamily
from sd_api.models.families.transformer_control import Added, RowControl, maps_of
from sd_api.models.families.transformer_rows import Call, Words
from sd_api.models.families.transformer_words import CONTROLS, IP_ADAPTERS, REFERENCES

_PUBLISHED = Published(steps=28, guidance=7.0)


class StableDiffusion3(TransformerFamily):
    """See Family."""

    name = "Stable Diffusion 3"
    pipelines = dict.fromkeys((f"StableDiffusion3{kind}Pipeline" for kind in ("", "Img2Img", "Inpaint")), _PUBLISHED)
    capabilities = ("clip_skip", "negative_prompt", CONTROLS, REFERENCES, IP_ADAPTERS)
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

    def forward(self, parts: Parts, call: Call, **added: Sequence[torch.Tensor]) -> torch.Tensor:
        """See TransformerFamily."""
        output: torch.Tensor = call.network(
            hidden_states=call.samples,
            timestep=call.timesteps,
            encoder_hidden_states=call.words["words"],
            pooled_projections=call.words["pooled"],
            # One adapter sees one image.
            joint_attention_kwargs={"ip_adapter_image_embeds": call.tokens[0][:, 0]} if call.tokens else None,
            return_dict=False,
            **added,
        )[0]
        return output

    def follow(
        self, parts: Parts, call: Call, net: Component, column: Sequence[RowControl], scale: torch.Tensor | float
    ) -> Added:
        """See TransformerFamily."""
        without_pooled, blocks = net.config.force_zeros_for_pooled_projection, parts.denoiser.config.num_layers
        several = net(
            hidden_states=call.samples,
            timestep=call.timesteps,
            encoder_hidden_states=None if net.config.joint_attention_dim is None else call.words["words"],
            pooled_projections=torch.zeros_like(call.words["pooled"]) if without_pooled else call.words["pooled"],
            controlnet_cond=maps_of(column),
            conditioning_scale=scale,
            return_dict=False,
        )[0]
        # Each acts on a share of the blocks that need not be whole.
        at = (int(block / (blocks / len(several))) for block in range(blocks))
        return {"block_controlnet_hidden_states": [several[number] for number in at]}
