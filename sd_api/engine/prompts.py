"""What the text encoders make of prompts, kept for the next request with the same words."""

from collections.abc import Iterator, Sequence

import torch

from sd_api.engine.batch import Picture
from sd_api.generation.request import GenerationRequest
from sd_api.models.library import LoadedModel

# Characters of a prompt in a warning.
QUOTED = 200

NAMES = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
"""The arguments of a pipeline for what its ``encode_prompt`` returns; Stable Diffusion 1 has the first two."""


def prompt_arguments(model: LoadedModel, pictures: Sequence[Picture]) -> dict[str, torch.Tensor]:
    """The pipeline's arguments for the prompts of ``pictures``, one row for each.

    Every prompt is encoded alone, so that a picture is the same alone and in a batch.
    """
    rows = [
        model.encode_prompt(
            prompt=request.prompt,
            # An empty one and none are the same to Stable Diffusion 1; for SDXL, none gives the zeroed embedding
            # that its pipeline uses by default.
            negative_prompt=request.negative_prompt or None,
            device=model.base.device,
            num_images_per_prompt=1,
            # Guidance does nothing at 1 and below, and costs as much as the picture itself.
            do_classifier_free_guidance=request.guidance_scale > 1,
        )
        for request in (picture.request for picture in pictures)
    ]
    columns = zip(NAMES, zip(*rows, strict=True), strict=False)
    return {name: torch.cat(parts) for name, parts in columns if parts[0] is not None}


def unread(model: LoadedModel, request: GenerationRequest) -> Iterator[str]:
    """What a model has no room for at the end of the prompts, in words for the person who asked."""
    tokenizer = model.base.tokenizer
    for name, prompt in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt)):
        # The last token that is read is the one that ends the prompt.
        if rest := tokenizer(prompt).input_ids[tokenizer.model_max_length - 1 : -1]:
            yield (
                f"{name}: this model reads {tokenizer.model_max_length - 2} tokens, about as many short words, and has "
                f"not seen the end: “{_shortened(tokenizer.decode(rest).strip())}”"
            )


def _shortened(text: str) -> str:
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"
