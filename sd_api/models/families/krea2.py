"""Krea 2, for text alone in diffusers; images and masks by their latents, as in the other families."""

from typing import Any

import torch

from sd_api.generation.operation import Operation
from sd_api.models.attention import Asked
from sd_api.models.components import Parts
from sd_api.models.families.flow import even_sigmas, linear_shift
from sd_api.models.families.packing import grid, pack, unpack
from sd_api.models.families.transformer import Published, TransformerFamily
from sd_api.models.families.transformer_rows import Call, Words

_PUBLISHED = Published(steps=28, guidance=4.5)
_DISTILLED = Published(steps=8, guidance=0.0)

# The exponent of the shift of the distilled ones, whatever the size.
_DISTILLED_SHIFT = 1.15


class Krea2(TransformerFamily):
    """See Family."""

    name = "Krea 2"
    attention: Asked = "masked"
    pipelines = dict.fromkeys(("Krea2Pipeline",), _PUBLISHED)
    schedulers = ("euler",)
    from_zero = True

    def published(self, parts: Parts) -> Published:
        """See TransformerFamily."""
        return _DISTILLED if parts.pipeline.config.is_distilled else _PUBLISHED

    def native_size(self, parts: Parts) -> int:
        """See TransformerFamily."""
        return 1024

    def words(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> Words:
        """See TransformerFamily."""
        words, mask = parts.pipeline.encode_prompt(prompt, device=parts.device)
        return {"words": words, "mask": mask}

    def sigmas(self, steps: int) -> Any:
        """See TransformerFamily."""
        return even_sigmas(steps)

    def shift(self, parts: Parts, tokens: int, steps: int) -> float:
        """See TransformerFamily."""
        if parts.pipeline.config.is_distilled:
            return _DISTILLED_SHIFT
        return linear_shift(parts.pipeline.scheduler.config, tokens, largest=6400)

    def forward(self, parts: Parts, call: Call) -> torch.Tensor:
        """See TransformerFamily."""
        places = grid(call.samples.float(), 0)
        output = call.network(
            hidden_states=pack(call.samples),
            encoder_hidden_states=call.words["words"],
            timestep=(call.timesteps / parts.pipeline.scheduler.config.num_train_timesteps).to(call.samples.dtype),
            position_ids=torch.cat([places.new_zeros(call.words["words"].shape[1], 3), places]),
            encoder_attention_mask=call.words["mask"],
            return_dict=False,
        )[0]
        return unpack(output, call.samples.shape)
