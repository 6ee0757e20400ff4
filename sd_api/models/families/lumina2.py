"""Lumina-Image 2.0 (arXiv:2503.21758), for text alone in diffusers; images and masks by their latents."""

from typing import Any

import torch

from sd_api.generation.operation import Operation
from sd_api.models.autoencoder import latent_channels
from sd_api.models.components import Parts
from sd_api.models.families.flow import even_sigmas, linear_shift
from sd_api.models.families.transformer import Published, TransformerFamily
from sd_api.models.families.transformer_rows import Call, TransformerRow, Words

_PUBLISHED = Published(steps=30, guidance=4.0)


class Lumina2(TransformerFamily):
    """See Family."""

    name = "Lumina 2"
    pipelines = dict.fromkeys(("Lumina2Pipeline",), _PUBLISHED)
    schedulers = ("euler", "heun", "dpm++", "unipc")
    longest = 256

    def largest_side(self, parts: Parts) -> int:
        """See LatentFamily: the model knows so many rows and columns of tokens, and no more."""
        return int(min(parts.denoiser.config.axes_lens[1:])) * self.multiple(parts)

    def instruction(self, parts: Parts, *, negative: bool) -> str:
        """See TransformerFamily."""
        return "" if negative else f"{parts.pipeline.system_prompt} <Prompt Start> "

    def words(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> Words:
        """See TransformerFamily; an instruction stands before what is to be drawn, and not before its contrary."""
        if negative:
            _, _, words, mask = parts.pipeline.encode_prompt("", negative_prompt=prompt, device=parts.device)
        else:
            words, mask, _, _ = parts.pipeline.encode_prompt(
                prompt, do_classifier_free_guidance=False, device=parts.device
            )
        return {"words": words, "mask": mask}

    def sigmas(self, steps: int) -> Any:
        """See TransformerFamily."""
        return even_sigmas(steps)

    def shift(self, parts: Parts, tokens: int, steps: int) -> float:
        """See TransformerFamily; diffusers shifts by the channels of the latents, whatever their size."""
        return linear_shift(parts.pipeline.scheduler.config, latent_channels(parts.autoencoder.module))

    def guide(self, row: TransformerRow, with_prompt: torch.Tensor, without: torch.Tensor) -> torch.Tensor:
        """See TransformerFamily; each line of a channel stays as long as the prompt's own prediction makes it."""
        guided = super().guide(row, with_prompt, without)
        scale: torch.Tensor = torch.norm(with_prompt, dim=-1, keepdim=True) / torch.norm(guided, dim=-1, keepdim=True)
        return guided * scale

    def forward(self, parts: Parts, call: Call) -> torch.Tensor:
        """See TransformerFamily; its time runs the other way, and so does its flow."""
        output: torch.Tensor = call.network(
            hidden_states=call.samples,
            timestep=1 - call.timesteps / parts.pipeline.scheduler.config.num_train_timesteps,
            encoder_hidden_states=call.words["words"],
            encoder_attention_mask=call.words["mask"],
            return_dict=False,
        )[0]
        return -output
