"""The rows of the families with a UNet."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import torch

from sd_api.generation.plan import Box
from sd_api.models.adapters.active_loras import ActiveLora
from sd_api.models.adapters.active_references import ActiveReference, acting_references
from sd_api.models.families.latents import LatentRow
from sd_api.models.families.unet_control import Controls
from sd_api.models.folders import FoundFile


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
        loras: What acts in the UNet beside its own layers.
    """

    prompts: tuple[Words, ...]
    weights: tuple[float, ...]
    negative: Words | None
    loras: tuple[ActiveLora, ...]


@dataclass(frozen=True)
class Conditioning:
    """What the steps of one picture are conditioned with.

    Attributes:
        moments: One for all steps, or one for each step that was asked for; all embeddings have one shape.
        references: What it attends to beside the words.
        controls: The files of the operation's controls.
    """

    moments: tuple[Moment, ...]
    references: tuple[ActiveReference, ...] = ()
    controls: tuple[FoundFile, ...] = ()

    def at(self, step: int, steps: int) -> Moment:
        """What acts in a step of a scheduler, which may make more steps than were asked for.

        Args:
            step: Counted from 0.
            steps: All that the scheduler makes.
        """
        return self.moments[step * len(self.moments) // steps]

    @property
    def changes(self) -> bool:
        """Whether other LoRAs, words or references may act from one step to the next."""
        return len(self.moments) > 1 or any(each.changes for each in self.references)

    @property
    def shape(self) -> torch.Size:
        """Of the embeddings."""
        return self.moments[0].prompts[0].embeddings.shape


@dataclass(eq=False, kw_only=True)
class UNetRow(LatentRow):
    """See LatentRow.

    Attributes:
        conditioning: Of its prompts.
        image_guidance: The second factor of instruct-pix2pix; None for other operations.
        size_ids: (1, 6) for SDXL, else None.
        controls: Those of each tile by its box, or of all of it by None.
    """

    conditioning: Conditioning
    image_guidance: float | None
    size_ids: torch.Tensor | None
    controls: Mapping[Box | None, Controls]

    @property
    def moment(self) -> Moment:
        """What the next step is conditioned with."""
        return self.conditioning.at(self.step, self.steps)

    @property
    def references(self) -> tuple[ActiveReference, ...]:
        """What acts in the next step."""
        return acting_references(self.conditioning.references, self.step, self.steps)


def key_of(seen: UNetRow) -> Hashable:
    """Rows share a forward if what goes through the UNet at once has the same shape, and the same adapters act.

    See LatentFamily.
    """
    shape, channels = seen.conditioning.shape, seen.channels
    references = tuple(reference.key for reference in seen.references)
    followed = tuple(each.key for each in seen.controls[None])
    channels_shape = None if channels is None else channels.shape
    return seen.latents.shape, shape, seen.moment.loras, references, followed, channels_shape
