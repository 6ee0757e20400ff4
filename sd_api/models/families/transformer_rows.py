"""The rows of the families with a transformer, and how they begin."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image

from sd_api.generation.operations import FromImage, ImageToImage, Inpaint
from sd_api.models.adapters.active_loras import ActiveLora
from sd_api.models.adapters.active_references import ActiveReference, acting_references
from sd_api.models.autoencoder import encode_pixels
from sd_api.models.component import Component
from sd_api.models.families.latents import LatentRow
from sd_api.models.families.start import Kept, Start
from sd_api.models.families.transformer_control import RowControl, row_controls
from sd_api.models.folders import FoundFile
from sd_api.models.schedulers import noised

Words = Mapping[str, Any]
"""What the text encoders make of prompts, by the names that the family gives its parts: tensors with a row for each
prompt; or lists with a tensor for each, where a transformer takes them of different lengths; or None."""


@dataclass(frozen=True)
class CachedWords:
    """What the text encoders make of one prompt, as the cache has it."""

    words: Words

    @property
    def nbytes(self) -> int:
        """The memory that they take."""
        return sum(tensor.nbytes for tensor in tensors_of(self.words))


def tensors_of(words: Words) -> list[torch.Tensor]:
    """Every tensor of some words."""
    parts = (part if isinstance(part, list) else [part] for part in words.values())
    return [tensor for part in parts for tensor in part if tensor is not None]


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What the text encoders make of the prompts of one picture, and what acts beside it.

    Attributes:
        prompt: Of the prompt.
        negative: The same of the negative prompt; None where there is no classifier-free guidance.
        loras: What acts in the transformer: for all steps, or for each step that was asked for.
        references: What it attends to beside the words, by IP-Adapters.
        controls: The files of the operation's controls.
    """

    prompt: Words
    negative: Words | None
    loras: tuple[tuple[ActiveLora, ...], ...]
    references: tuple[ActiveReference, ...]
    controls: tuple[FoundFile, ...]

    @property
    def changes(self) -> bool:
        """Whether other LoRAs or references may act from one step to the next."""
        return len(self.loras) > 1 or any(each.changes for each in self.references)


@dataclass(eq=False, kw_only=True)
class TransformerRow(LatentRow):
    """See LatentRow.

    Attributes:
        conditioning: Of its prompts.
        own: (1, channels, height, width) each: the latents of images of its canvas that the model sees beside its own;
            a tile sees its part of them.
        references: The same of other images, which every tile sees whole.
        memory: What a family keeps of such images between steps in place of their latents, see ``memory`` there.
        controls: What ControlNets follow.
        true_guidance: The factor of classifier-free guidance where ``guidance`` is an input.
    """

    conditioning: Conditioning
    own: tuple[torch.Tensor, ...] = ()
    references: tuple[torch.Tensor, ...] = ()
    memory: Any = None
    controls: tuple[RowControl, ...] = ()
    true_guidance: float = 1.0

    @property
    def loras(self) -> tuple[ActiveLora, ...]:
        """What acts in the next step of its scheduler, which may make more steps than were asked for."""
        several = self.conditioning.loras
        return several[self.step * len(several) // self.steps]

    @property
    def adapted(self) -> tuple[ActiveReference, ...]:
        """What acts in the next step by IP-Adapters."""
        return acting_references(self.conditioning.references, self.step, self.steps)

    @property
    def seen(self) -> tuple[torch.Tensor, ...]:
        """The latents of all images that the model sees beside its own."""
        return *self.own, *self.references


def key_of(seen: TransformerRow) -> Hashable:
    """Rows share a forward if what goes through the transformer at once has the same shape; see LatentFamily."""
    words = seen.conditioning
    several = [words.prompt] + ([] if words.negative is None else [words.negative])
    return (
        seen.latents.shape,
        tuple(_shape(part) for words in several for part in words.values()),
        _shape(seen.channels),
        tuple(image.shape for image in seen.seen),
        tuple(each.file for each in seen.controls),
        seen.loras,
        tuple(each.key for each in seen.adapted),
    )


@dataclass(frozen=True, kw_only=True)
class TransformerStart(Start):
    """See Start; the order in which the generator is used is diffusers'.

    Attributes:
        most_probable: Whether images are encoded without randomness.
        takes_mask: Whether the transformer was trained to take what a mask keeps as further channels.
        takes_controls: Whether ControlNets act.
    """

    most_probable: bool = False
    takes_mask: bool = False
    takes_controls: bool = False

    def begin(self, scheduler: Any, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, Kept | None]:
        """See Start; the maps of controls come first."""
        operation = self.operation
        _ = self.controls
        if not isinstance(operation, (ImageToImage, Inpaint)):
            return self.noise() * getattr(scheduler, "init_noise_sigma", 1.0), None, None
        image = self.image
        noise = self.noise()
        latents = noised(scheduler, image, noise, timesteps[:1])
        if not isinstance(operation, Inpaint):
            return latents, None, None
        if self.takes_mask:
            return latents, self._shown(operation), None
        return latents, None, Kept(latents=image, noise=noise, levels=self.levels(operation))

    @cached_property
    def controls(self) -> tuple[RowControl, ...]:
        """What ControlNets follow."""
        return row_controls(self) if self.takes_controls else ()

    @cached_property
    def image(self) -> torch.Tensor:
        """The latents of the operation's image."""
        assert isinstance(self.operation, FromImage)  # noqa: S101 - only those have one
        return self.encode(self.operation.image.pixels, most_probable=self.most_probable)

    def encode_whole(self, image: Image.Image) -> torch.Tensor:
        """The most probable latents of an image of a size of its own, a multiple of the model's."""
        return encode_pixels(self.parts.autoencoder.module, self.pixels(image), encode=self.encoded) * self.scale

    def _shown(self, operation: Inpaint) -> torch.Tensor:
        """(1, channels + cell * cell, height, width): the masked image's latents and the mask's pixels."""
        # Black and white, as such a model was trained; grey acts when the picture is finished.
        black_and_white = self.mask(operation).point(lambda level: 255 if level else 0)
        mask = (self.pixels(black_and_white.convert("RGB"))[:, :1] > 0).to(self.dtype)
        masked = self.encode(operation.image.pixels, without=mask)
        return torch.cat([masked, torch.nn.functional.pixel_unshuffle(mask, self.cell)], 1)


def seen_by(samples: torch.Tensor, rows: Sequence[TransformerRow]) -> list[torch.Tensor]:
    """(n, channels, height, width) each: the samples, and every image that the model sees beside them."""
    return [samples, *(torch.cat(several) for several in zip(*(row.seen for row in rows), strict=True))]


@dataclass(frozen=True, eq=False)
class Call:
    """What goes through a transformer at once.

    Attributes:
        rows: One for each sample.
        samples: (n, channels, height, width).
        timesteps: (n,) in fp32, as the schedulers count them.
        words: Of the rows, see ``joined``.
        tokens: (n, images, tokens, width) of each reference that acts by an IP-Adapter.
        network: What runs in place of the transformer.
    """

    rows: Sequence[TransformerRow]
    samples: torch.Tensor
    timesteps: torch.Tensor
    words: Words
    tokens: Sequence[torch.Tensor] = ()
    network: Any = None


def guidance_of(network: Component, call: Call, device: torch.device) -> torch.Tensor | None:
    """The guidance that a network takes as an input, (n,) in fp32; None where it takes none."""
    if not network.config.guidance_embeds:
        return None
    return torch.tensor([row.guidance for row in call.rows], device=device, dtype=torch.float32)


def joined(several: Sequence[Words]) -> Words:
    """The words of rows that share a forward, one after the other."""
    return {name: _joined([words[name] for words in several]) for name in several[0]}


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], list):
        return [tensor for part in parts for tensor in part]
    return None if parts[0] is None else torch.cat(list(parts))


def _shape(part: Any) -> tuple[int, ...] | None:
    """The shape of what has to have the same one in every row of a forward."""
    return tuple(part.shape) if isinstance(part, torch.Tensor) else None
