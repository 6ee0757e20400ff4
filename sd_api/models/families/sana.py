"""Sana (arXiv:2410.10629)."""

from collections.abc import Mapping, Sequence
from functools import partial
from inspect import signature
from types import MappingProxyType
from typing import Any

import torch

from sd_api.generation.operation import Operation
from sd_api.models.component import Component
from sd_api.models.components import Parts
from sd_api.models.families.transformer import Published, TransformerFamily
from sd_api.models.families.transformer_control import Added, RowControl, maps_of
from sd_api.models.families.transformer_rows import Call, Words
from sd_api.models.families.transformer_words import CONTROLS

_PUBLISHED = Published(steps=20, guidance=4.5)

# The tokens that are read of a prompt.
_TOKENS = 300


class Sana(TransformerFamily):
    """See Family."""

    name = "Sana"
    pipelines = dict.fromkeys(("SanaPipeline",), _PUBLISHED)
    capabilities: tuple[str, ...] = ("negative_prompt", CONTROLS)
    schedulers: tuple[str, ...] = ("euler", "heun", "dpm++", "unipc")
    longest = _TOKENS
    one_forward = True
    in_fp32 = True
    # How the pipeline is asked for the words of one prompt alone.
    alone: Mapping[str, Any] = MappingProxyType({"do_classifier_free_guidance": False})

    def multiple(self, parts: Parts) -> int:
        """See TransformerFamily: one cell of its autoencoder, of 32 pixels, is a token."""
        return self.cell(parts) * int(parts.denoiser.config.patch_size)

    def native_size(self, parts: Parts) -> int:
        """See TransformerFamily."""
        return int(parts.denoiser.config.sample_size) * self.cell(parts)

    def words(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> Words:
        """See TransformerFamily; an instruction to the language model stands before what is to be drawn."""
        encode = partial(parts.pipeline.encode_prompt, device=parts.device, max_sequence_length=_TOKENS)
        if negative:
            words = encode("", negative_prompt=prompt)[2:]
        else:
            # The pipeline's own instruction is the default of its call, and there is no other way to it.
            own = signature(type(parts.pipeline).__call__).parameters["complex_human_instruction"].default
            words = encode(prompt, complex_human_instruction=own, **self.alone)[:2]
        return dict(zip(("words", "mask"), words, strict=True))

    def forward(self, parts: Parts, call: Call, **added: Sequence[torch.Tensor]) -> torch.Tensor:
        """See TransformerFamily."""
        dtype = parts.denoiser.dtype
        output: torch.Tensor = call.network(
            call.samples.to(dtype),
            encoder_hidden_states=call.words["words"].to(dtype),
            encoder_attention_mask=call.words["mask"],
            timestep=call.timesteps * parts.denoiser.config.timestep_scale,
            return_dict=False,
            **added,
        )[0].float()
        # Some predict a variance as well, which no scheduler uses.
        return output[:, : call.samples.shape[1]]

    def follow(
        self, parts: Parts, call: Call, net: Component, column: Sequence[RowControl], scale: torch.Tensor | float
    ) -> Added:
        """See TransformerFamily; nothing is added behind the last block."""
        several = net(
            call.samples.to(net.dtype),
            encoder_hidden_states=call.words["words"].to(net.dtype),
            encoder_attention_mask=call.words["mask"],
            timestep=call.timesteps * parts.denoiser.config.timestep_scale,
            controlnet_cond=maps_of(column),
            conditioning_scale=scale,
            return_dict=False,
        )[0]
        return {"controlnet_block_samples": [samples.to(parts.denoiser.dtype) for samples in several]}
