"""What goes through a UNet for one row, and how one prediction is made of what comes out."""

from collections.abc import Sequence

import torch

from sd_api.models.components import Parts
from sd_api.models.families.unet_rows import UNetRow

Variant = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
"""One pass of a row through the UNet: embeddings of the words, pooled embeddings, additional channels."""


def variants(row: UNetRow) -> list[Variant]:
    """Every pass of a row through the UNet in its step."""
    moment = row.moment
    with_prompts = [(words.embeddings, words.pooled, row.channels) for words in moment.prompts]
    without = moment.negative
    if without is None:
        return with_prompts
    if row.image_guidance is None or row.channels is None:
        return [(without.embeddings, without.pooled, row.channels), *with_prompts]
    # Equation 3 of arXiv:2211.09800: the image alone, and neither.
    return [
        *with_prompts,
        (without.embeddings, None, row.channels),
        (without.embeddings, None, torch.zeros_like(row.channels)),
    ]


def negatives(row: UNetRow) -> list[bool]:
    """Whether each of ``variants`` has the negative prompt."""
    moment = row.conditioning.at(row.step, row.steps)
    with_prompts = [False] * len(moment.prompts)
    if moment.negative is None:
        return with_prompts
    return [True, *with_prompts] if row.image_guidance is None or row.channels is None else [*with_prompts, True, True]


def guide(row: UNetRow, output: torch.Tensor) -> torch.Tensor:
    """One prediction of the outputs for a row's variants: classifier-free guidance (arXiv:2207.12598).

    Several prompts are composed as in equation 11 of arXiv:2206.01714: each adds its weight times what it changes.
    """
    moment = row.moment
    if moment.negative is None:
        return output
    several: list[torch.Tensor] = list(output.chunk(len(output)))
    if row.image_guidance is None:
        without, *with_prompts = several
        return without + row.guidance * _change(with_prompts, moment.weights, without)
    *with_prompts, with_image, without = several
    change = row.guidance * _change(with_prompts, moment.weights, with_image)
    return without + change + row.image_guidance * (with_image - without)


def _change(with_prompts: Sequence[torch.Tensor], weights: Sequence[float], without: torch.Tensor) -> torch.Tensor:
    first, *others = (weight * (prediction - without) for prediction, weight in zip(with_prompts, weights, strict=True))
    return sum(others, first)


def guidance_embedding(parts: Parts, rows: Sequence[UNetRow]) -> torch.Tensor | None:
    """(n, width): the guidance as an input, for a UNet that was distilled with it (arXiv:2310.04378).

    Rows of such a UNet have one variant each.
    """
    width = parts.denoiser.config.time_cond_proj_dim
    if width is None:
        return None
    factors = torch.tensor([row.guidance - 1 for row in rows])
    embedding: torch.Tensor = parts.pipeline.get_guidance_scale_embedding(factors, embedding_dim=width)
    return embedding.to(parts.device, parts.denoiser.dtype)


def added(rows: Sequence[UNetRow], passes: Sequence[Sequence[Variant]]) -> dict[str, torch.Tensor] | None:
    """What SDXL's UNet is conditioned with beside the words."""
    pooled = [vector for several in passes for _, vector, _ in several if vector is not None]
    if not pooled:
        return None
    sizes = [row.size_ids for row, several in zip(rows, passes, strict=True) for _ in several]
    return {"text_embeds": torch.cat(pooled), "time_ids": torch.cat([ids for ids in sizes if ids is not None])}
