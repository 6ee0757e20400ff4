"""FLUX.1 of Black Forest Labs: dev and schnell, Fill, and Kontext (arXiv:2506.15742)."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.flux.pipeline_flux_kontext import PREFERRED_KONTEXT_RESOLUTIONS

from sd_api.generation.abilities import MEGAPIXEL, Guidance, SeenImages
from sd_api.generation.operation import Operation
from sd_api.generation.operations import FromImage, Inpaint
from sd_api.models.attention import Asked
from sd_api.models.component import Component
from sd_api.models.components import Parts
from sd_api.models.families.flow import even_sigmas, linear_shift
from sd_api.models.families.packing import grid, pack, unpack
from sd_api.models.families.reference_images import of_nearest_shape
from sd_api.models.families.transformer import Published, TransformerFamily
from sd_api.models.families.transformer_control import Added, RowControl, maps_of, spread
from sd_api.models.families.transformer_rows import Call, TransformerStart, Words, guidance_of, seen_by
from sd_api.models.families.transformer_words import CONTROLS, IP_ADAPTERS, REFERENCES, TRUE_GUIDANCE

_DEV = Published(steps=28, guidance=3.5)
_SCHNELL = Published(steps=4, guidance=0.0)
_FILL = Published(modes=("masking",), steps=50, guidance=30.0)
_KONTEXT = Published(modes=("txt2img", "masking", "edit"), steps=28, guidance=2.5)


class Flux(TransformerFamily):
    """See Family."""

    name = "FLUX.1"
    attention: Asked = "dispatched"
    pipelines = dict.fromkeys(("FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline"), _DEV)
    guidance: Guidance = "distilled"
    capabilities: tuple[str, ...] = ("negative_prompt", TRUE_GUIDANCE, CONTROLS, REFERENCES, IP_ADAPTERS)
    tokenizer = "tokenizer_2"

    def published(self, parts: Parts) -> Published:
        """See TransformerFamily."""
        return super().published(parts) if parts.denoiser.config.guidance_embeds else _SCHNELL

    def meaning(self, parts: Parts) -> Guidance:
        """See TransformerFamily: schnell has no guidance."""
        return self.guidance if parts.denoiser.config.guidance_embeds else "none"

    def words(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> Words:
        """See TransformerFamily."""
        words, pooled, _ = parts.pipeline.encode_prompt(prompt, device=parts.device)
        return {"words": words, "pooled": pooled}

    def sigmas(self, steps: int) -> Any:
        """See TransformerFamily."""
        return even_sigmas(steps)

    def shift(self, parts: Parts, tokens: int, steps: int) -> float:
        """See TransformerFamily."""
        return linear_shift(parts.pipeline.scheduler.config, tokens)

    def forward(self, parts: Parts, call: Call, **added: Sequence[torch.Tensor]) -> torch.Tensor:
        """See TransformerFamily."""
        images = seen_by(call.samples, call.rows)
        tokens = [pack(image) for image in images]
        length = tokens[0].shape[1]
        channels = [row.channels for row in call.rows if row.channels is not None]
        if channels:
            tokens[0] = torch.cat([tokens[0], pack(torch.cat(channels))], 2)
        places = [grid(image, number) for number, image in enumerate(images)]
        output = call.network(
            hidden_states=torch.cat(tokens, 1),
            timestep=call.timesteps.to(call.samples.dtype) / 1000,
            encoder_hidden_states=call.words["words"],
            txt_ids=call.samples.new_zeros(call.words["words"].shape[1], 3),
            img_ids=torch.cat(places),
            joint_attention_kwargs={"ip_hidden_states": list(call.tokens)} if call.tokens else None,
            return_dict=False,
            **self.inputs(parts, call, length),
            **added,
        )[0]
        return unpack(output[:, :length], call.samples.shape)

    def follow(
        self, parts: Parts, call: Call, net: Component, column: Sequence[RowControl], scale: torch.Tensor | float
    ) -> Added:
        """See TransformerFamily."""
        maps, kinds = maps_of(column), [each.kind for each in column]
        reads_pixels = net.module.input_hint_block is not None
        double, single = net(
            hidden_states=pack(call.samples),
            controlnet_cond=maps if reads_pixels else pack(maps),
            controlnet_mode=torch.tensor(kinds, device=parts.device)[:, None] if net.config.num_mode else None,
            conditioning_scale=scale,
            timestep=call.timesteps.to(call.samples.dtype) / 1000,
            guidance=guidance_of(net, call, parts.device),
            pooled_projections=call.words["pooled"],
            encoder_hidden_states=call.words["words"],
            txt_ids=call.samples.new_zeros(call.words["words"].shape[1], 3),
            img_ids=grid(call.samples, 0),
            return_dict=False,
        )
        config = parts.denoiser.config
        several = {
            "controlnet_block_samples": spread(double, config.num_layers, repeated=reads_pixels),
            "controlnet_single_block_samples": spread(single, config.num_single_layers),
        }
        return {name: samples for name, samples in several.items() if samples}

    def inputs(self, parts: Parts, call: Call, length: int) -> dict[str, Any]:
        """Further arguments of the transformer.

        Args:
            parts: The model's components.
            call: What goes through it.
            length: The tokens of the picture.
        """
        return {"pooled_projections": call.words["pooled"], "guidance": guidance_of(parts.denoiser, call, parts.device)}


class FluxFill(Flux):
    """See Family: it was trained to take what a mask keeps as further channels."""

    name = "FLUX.1 Fill"
    pipelines = dict.fromkeys(("FluxFillPipeline",), _FILL)
    capabilities = ()
    takes_mask = True

    def guided(self, parts: Parts, operation: Operation) -> bool:
        """See TransformerFamily: guidance is an input, and nothing else."""
        return False


class FluxKontext(Flux):
    """See Family: it sees the image that it changes, so there is nothing for a strength to add.

    Of further images each has the next number, as section 3 of the paper has it; its authors trained with one.
    """

    name = "FLUX.1 Kontext"
    pipelines = dict.fromkeys(("FluxKontextPipeline", "FluxKontextInpaintPipeline"), _KONTEXT)
    capabilities = ("negative_prompt", TRUE_GUIDANCE, REFERENCES)
    sees = SeenImages(changed=None, least=MEGAPIXEL, most=MEGAPIXEL)
    most_probable = True

    def own(self, start: TransformerStart) -> Sequence[torch.Tensor]:
        """See TransformerFamily; with a mask, references take the place of the image."""
        operation = start.operation
        replaced = isinstance(operation, Inpaint) and operation.references
        return [start.image] if isinstance(operation, FromImage) and not replaced else []

    def references(self, start: TransformerStart) -> Sequence[torch.Tensor]:
        """See TransformerFamily; at the sizes that it was trained with."""
        return [
            start.encode_whole(of_nearest_shape(reference.image.pixels, PREFERRED_KONTEXT_RESOLUTIONS))
            for reference in start.operation.references
        ]
