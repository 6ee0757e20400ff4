"""The rows of the families with a UNet."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sd_api.generation.plan import Box
from sd_api.models.adapters.loras import ActiveLora
from sd_api.models.families.base import Row
from sd_api.models.tiling import cut


@dataclass(frozen=True)
class Words:
    """What the text encoders make of one prompt.

    Attributes:
        embeddings: (1, tokens, width).
        pooled: (1, width) for SDXL, else None.
    """

    embeddings: torch.Tensor
    pooled: torch.Tensor | None

    @property
    def nbytes(self) -> int:
        """The memory that they take."""
        return self.embeddings.nbytes + (0 if self.pooled is None else self.pooled.nbytes)


@dataclass(frozen=True)
class Moment:
    """What some steps of a picture are conditioned with.

    Attributes:
        prompts: The prompts that ``AND`` joins, at least one.
        weights: The factor of each one's prediction.
        negative: The negative prompt; None where there is no classifier-free guidance.
    """

    prompts: tuple[Words, ...]
    weights: tuple[float, ...]
    negative: Words | None


@dataclass(frozen=True)
class Conditioning:
    """What the steps of one picture are conditioned with.

    Attributes:
        moments: One for all steps, or one for each step that was asked for; all embeddings have one shape.
        loras: What acts in the UNet beside its own layers.
    """

    moments: tuple[Moment, ...]
    loras: tuple[ActiveLora, ...]

    def at(self, step: int, steps: int) -> Moment:
        """What acts in a step of a scheduler, which may make more steps than were asked for.

        Args:
            step: Counted from 0.
            steps: All that the scheduler makes.
        """
        return self.moments[step * len(self.moments) // steps]

    @property
    def shape(self) -> torch.Size:
        """Of the embeddings."""
        return self.moments[0].prompts[0].embeddings.shape


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What stays of an image while the rest is replaced.

    Attributes:
        latents: (1, 4, height, width) of the image.
        noise: The row's own noise, to bring them to the noise level of a step.
        levels: (1, 1, height, width), the mask in fp32: whole numbers from 0 = keep to 255 = replace.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    levels: torch.Tensor

    def replaced(self, step: int, steps: int) -> torch.Tensor:
        """(1, 1, height, width): where latents are not those of the image any more after some of the steps.

        A cell is drawn freely in the last steps, in a share of them that is its level (differential diffusion,
        arXiv:2306.00950): in all where the mask is white, in none where it is black, else in at least one.
        """
        # In whole numbers, so that no rounding decides.
        return self.levels * steps > 255 * (steps - step)


@dataclass(eq=False, kw_only=True)
class UNetRow(Row):
    """See Row.

    Attributes:
        latents: (1, 4, height, width).
        scheduler: Its own, in the state after ``step`` steps.
        timesteps: (steps,).
        conditioning: Of its prompts.
        guidance: The factor of classifier-free guidance.
        image_guidance: The second factor of instruct-pix2pix; None for other operations.
        options: Further arguments of the scheduler's step.
        channels: (1, more, height, width), what the UNet gets beside the latents; None for most.
        kept: What is blended in after each step; None where everything is drawn anew.
        size_ids: (1, 6) for SDXL, else None.
    """

    latents: torch.Tensor
    scheduler: Any
    timesteps: torch.Tensor
    conditioning: Conditioning
    guidance: float
    image_guidance: float | None
    options: dict[str, Any]
    channels: torch.Tensor | None
    kept: Kept | None
    size_ids: torch.Tensor | None


def key_of(
    latents: torch.Tensor, conditioning: Conditioning, channels: torch.Tensor | None, tiles: Sequence[Box]
) -> Hashable:
    """Rows share a forward if what goes through the UNet at once has the same shape, and the same LoRAs act."""
    if tiles:
        latents, channels = cut(latents, tiles[0]), None if channels is None else cut(channels, tiles[0])
    return latents.shape, conditioning.shape, conditioning.loras, None if channels is None else channels.shape
