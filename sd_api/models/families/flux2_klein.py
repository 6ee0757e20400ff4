"""FLUX.2 klein of Black Forest Labs, which also edits by instruction."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

from sd_api.generation.abilities import MEGAPIXEL, Guidance, SeenImages
from sd_api.generation.operation import Operation, OperationName
from sd_api.generation.operations import Edit, Inpaint
from sd_api.models.attention import Asked
from sd_api.models.components import Parts
from sd_api.models.families.flow import even_sigmas
from sd_api.models.families.reference_images import in_whole_cells
from sd_api.models.families.transformer import Published, TransformerFamily
from sd_api.models.families.transformer_rows import Call, TransformerRow, TransformerStart, Words, seen_by
from sd_api.models.families.transformer_words import REFERENCES

_MODES: tuple[OperationName, ...] = ("txt2img", "masking", "edit")
_PUBLISHED = Published(modes=_MODES, steps=50, guidance=4.0)
DISTILLED = Published(modes=_MODES, steps=4, guidance=1.0)

# What the numbers of reference images begin with, and how far they are apart.
FIRST = 10


class Flux2Klein(TransformerFamily):
    """See Family; there is no negative prompt, and guidance compares with an empty one."""

    name = "FLUX.2 klein"
    attention: Asked = "dispatched"
    pipelines = dict.fromkeys(("Flux2KleinPipeline", "Flux2KleinInpaintPipeline"), _PUBLISHED)
    capabilities = (REFERENCES,)
    sees = SeenImages(changed=None, most=MEGAPIXEL)
    schedulers = ("euler", "dpm++", "unipc")
    chats = True
    most_probable = True

    def published(self, parts: Parts) -> Published:
        """See TransformerFamily."""
        return DISTILLED if is_distilled(parts) else _PUBLISHED

    def meaning(self, parts: Parts) -> Guidance:
        """See TransformerFamily: the distilled ones have none."""
        return "none" if is_distilled(parts) else "classifier-free"

    def guided(self, parts: Parts, operation: Operation) -> bool:
        """See TransformerFamily."""
        return operation.guidance > 1 and not is_distilled(parts)

    def words(self, parts: Parts, operation: Operation, prompt: str, *, negative: bool) -> Words:
        """See TransformerFamily."""
        words, _ = parts.pipeline.encode_prompt(prompt, device=parts.device)
        return {"words": words}

    def sigmas(self, steps: int) -> Any:
        """See TransformerFamily."""
        return even_sigmas(steps)

    def shift(self, parts: Parts, tokens: int, steps: int) -> float:
        """See TransformerFamily."""
        shift: float = compute_empirical_mu(image_seq_len=tokens, num_steps=steps)
        return shift

    def own(self, start: TransformerStart) -> Sequence[torch.Tensor]:
        """See TransformerFamily: the image that is changed, also where a mask keeps some of it."""
        return [start.image] if isinstance(start.operation, (Edit, Inpaint)) else []

    def references(self, start: TransformerStart) -> Sequence[torch.Tensor]:
        """See TransformerFamily."""
        multiple = self.multiple(start.parts)
        return [
            start.encode_whole(in_whole_cells(reference.image.pixels, multiple))
            for reference in start.operation.references
        ]

    def forward(self, parts: Parts, call: Call) -> torch.Tensor:
        """See TransformerFamily; a token is one cell of the latents."""
        images = seen_by(call.samples, call.rows)
        places = [places_of(image, number * FIRST) for number, image in enumerate(images)]
        count, length, _ = call.words["words"].shape
        output: torch.Tensor = call.network(
            hidden_states=torch.cat([tokens_of(image) for image in images], 1).to(parts.denoiser.dtype),
            timestep=call.timesteps.to(call.samples.dtype) / 1000,
            guidance=None,
            encoder_hidden_states=call.words["words"],
            txt_ids=places_of_words(length).to(parts.device).expand(count, -1, -1),
            img_ids=torch.cat(places).to(parts.device).expand(count, -1, -1),
            return_dict=False,
            **self.inputs(call.rows),
        )[0]
        height, width = call.samples.shape[-2:]
        return output[:, : height * width].transpose(1, 2).reshape(call.samples.shape)

    def inputs(self, rows: Sequence[TransformerRow]) -> dict[str, Any]:
        """Further arguments of the transformer."""
        return {}


def is_distilled(parts: Parts) -> bool:
    """Whether a model was made for few steps without guidance; one of a pipeline that does not say so was."""
    return bool(parts.pipeline.config.get("is_distilled", True))


def tokens_of(latents: torch.Tensor) -> torch.Tensor:
    """(n, height * width, channels) tokens of (n, channels, height, width) latents."""
    return latents.flatten(2).transpose(1, 2).contiguous()


def places_of(latents: torch.Tensor, number: int) -> torch.Tensor:
    """(tokens, 4): of which image each token is, its row, its column, and 0."""
    height, width = latents.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = [torch.full_like(rows, number), rows, columns, torch.zeros_like(rows)]
    return torch.stack(places, -1).flatten(0, 1)


def places_of_words(length: int) -> torch.Tensor:
    """(tokens, 4): the same of so many words, which are counted."""
    places = torch.zeros(length, 4, dtype=torch.int64)
    places[:, 3] = torch.arange(length)
    return places
