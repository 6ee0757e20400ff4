"""The rows of the families with a UNet."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

from sd_api.generation.plan import Box
from sd_api.models.families.latents import LatentRow
from sd_api.models.tiling import cut


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What the text encoders make of the prompts of one picture.

    Attributes:
        prompt: (1, tokens, width).
        negative: The same of the negative prompt; None where there is no classifier-free guidance.
        pooled: (1, width) for SDXL, else None.
        negative_pooled: The same of the negative prompt.
    """

    prompt: torch.Tensor
    negative: torch.Tensor | None
    pooled: torch.Tensor | None = None
    negative_pooled: torch.Tensor | None = None


@dataclass(eq=False, kw_only=True)
class UNetRow(LatentRow):
    """See LatentRow.

    Attributes:
        conditioning: Of its prompts.
        image_guidance: The second factor of instruct-pix2pix; None for other operations.
        size_ids: (1, 6) for SDXL, else None.
    """

    conditioning: Conditioning
    image_guidance: float | None
    size_ids: torch.Tensor | None


def key_of(
    latents: torch.Tensor, conditioning: Conditioning, channels: torch.Tensor | None, tiles: Sequence[Box]
) -> Hashable:
    """Rows share a forward if what goes through the UNet at once has the same shape."""
    if tiles:
        latents, channels = cut(latents, tiles[0]), None if channels is None else cut(channels, tiles[0])
    return latents.shape, conditioning.prompt.shape, None if channels is None else channels.shape
