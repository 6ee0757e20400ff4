"""What the families with a transformer share: their abilities, one forward for several rows, guidance.

The arithmetic and the order of random draws are those of diffusers' pipelines, so the pixels are theirs, too. A family
says what differs: its pipelines and what they were published for, its words, its schedule, its forward.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import diffusers
import torch

from sd_api.generation.abilities import Guidance, ModelAbilities, SeenImages, without_effect
from sd_api.generation.operation import Operation, OperationName
from sd_api.generation.operations import Redrawing
from sd_api.generation.plan import Box
from sd_api.generation.prompted import PROMPTS
from sd_api.models.adapters.active_references import tokens_of
from sd_api.models.attention import Asked
from sd_api.models.component import Component
from sd_api.models.components import Parts
from sd_api.models.families.flow import set_timesteps
from sd_api.models.families.prompts import beyond_limit, plain_only
from sd_api.models.families.transformer_control import Added, RowControl, summed
from sd_api.models.families.transformer_rows import (
    Call,
    Conditioning,
    TransformerRow,
    TransformerStart,
    joined,
    key_of,
)
from sd_api.models.families.transformer_words import CONTROLS, LORAS, TRUE_GUIDANCE, TransformerWords
from sd_api.models.schedulers import Noise
from sd_api.models.tiling import cut


@dataclass(frozen=True, kw_only=True)
class Published:
    """What the models of a pipeline were published for.

    Attributes:
        modes: The operations that they can do.
        steps: The steps that their authors advise.
        guidance: The guidance that they advise.
    """

    modes: tuple[OperationName, ...] = ("txt2img", "img2img", "masking")
    steps: int
    guidance: float


class TransformerFamily(TransformerWords):
    """See Family; what it has of words is in TransformerWords.

    Attributes:
        pipelines: Those of the family, by the names of their classes.
        guidance: What guidance means, see ModelAbilities.
        one_forward: Whether a prompt and a negative prompt go through the transformer together, as in diffusers.
        most_probable: Whether images are encoded without randomness.
        takes_mask: Whether the transformer was trained to take what a mask keeps as further channels.
        attention: How the transformer has its attention computed.
        in_fp32: Whether latents stay in fp32 where the transformer computes in half precision.
        noise: What the schedulers of its models lead out of.
        sees: Which images go through the transformer beside the picture.
    """

    name: str
    pipelines: Mapping[str, Published]
    guidance: Guidance = "classifier-free"
    schedulers: tuple[str, ...] = ("euler", "dpm++", "unipc")
    one_forward = False
    most_probable = False
    takes_mask = False
    attention: Asked = "own"
    in_fp32 = False
    noise: Noise = "flow"
    sees = SeenImages()

    def loading_class(self, class_name: str) -> Any:
        """See Family."""
        return getattr(diffusers, class_name) if class_name in self.pipelines else None

    def published(self, parts: Parts) -> Published:
        """What a model was published for."""
        return self.pipelines[type(parts.pipeline).__name__]

    def multiple(self, parts: Parts) -> int:
        """The pixels of the side of what is one token."""
        return int(parts.pipeline.vae_scale_factor) * int(getattr(parts.pipeline, "patch_size", 2))

    def native_size(self, parts: Parts) -> int:
        """The side of the squares that a model was trained with."""
        return int(getattr(parts.pipeline, "default_sample_size", 128) * parts.pipeline.vae_scale_factor)

    def meaning(self, parts: Parts) -> Guidance:
        """What guidance means to a model, see ModelAbilities."""
        return self.guidance

    def abilities(self, parts: Parts) -> ModelAbilities:
        """See Family."""
        published = self.published(parts)
        return ModelAbilities(
            modes=published.modes,
            size_multiple=self.multiple(parts),
            native_size=self.native_size(parts),
            capabilities=("tiles", "vae", "variations", *self.capabilities_of(parts)),
            schedulers=self.schedulers,
            guidance=self.meaning(parts),
            defaults={"steps": published.steps, "guidance": published.guidance},
            seen=self.sees,
        )

    def warnings(self, parts: Parts, operation: Operation) -> Iterator[str]:
        """See Family: what has no effect, and what does not fit into the text encoder."""
        yield from without_effect(self.abilities(parts), operation)
        yield from self.fewer_steps(parts, operation)
        yield from plain_only(operation, takes_loras=LORAS in self.capabilities_of(parts))
        if self.sees_by_itself and any(reference.of_adapters for reference in operation.references):
            yield "references: this model sees images by itself, so adapter, weight, start and end had no effect."
        if TRUE_GUIDANCE in self.capabilities and operation.negative_prompt and not self.guided(parts, operation):
            yield "negative_prompt: it acts with a true guidance above 1 only, so it was not used."
        if CONTROLS in self.capabilities and any(control.mode != "balanced" for control in operation.controls):
            yield "controls: ControlNets of this model have no mode, so mode had no effect."
        tokenizer = getattr(parts.pipeline, self.tokenizer)
        for name in PROMPTS:
            if name == "prompt" or name in self.capabilities:
                before = self.instruction(parts, negative=name != "prompt")
                yield from beyond_limit(name, before + operation.read(name).plain, tokenizer, self.longest)

    def sigmas(self, steps: int) -> Any:
        """The noise levels of a full schedule before they are shifted; None leaves them to the scheduler."""
        return None

    def shift(self, parts: Parts, tokens: int, steps: int) -> float | None:
        """The exponent of the shift of the noise levels for so many tokens, where the scheduler takes one."""
        return None

    def own(self, start: TransformerStart) -> Sequence[torch.Tensor]:
        """See TransformerRow."""
        return ()

    def references(self, start: TransformerStart) -> Sequence[torch.Tensor]:
        """See TransformerRow: the latents of the operation's references, for models that take some."""
        return ()

    def memory(self, start: TransformerStart) -> Any:
        """What is kept of images between steps in place of their latents; None for most families."""
        return None

    def forward(self, parts: Parts, call: Call) -> torch.Tensor:
        """One call of the transformer, which is on the device; with ControlNets it takes what these add, too.

        Args:
            parts: The model's components.
            call: What goes through it.

        Returns:
            (n, channels, height, width).
        """
        raise NotImplementedError

    def follow(
        self, parts: Parts, call: Call, net: Component, column: Sequence[RowControl], scale: torch.Tensor | float
    ) -> Added:
        """What one ControlNet adds in this step, where the family has the capability.

        Args:
            parts: The model's components.
            call: What goes through the transformer.
            net: The ControlNet, which is on the device.
            column: What it follows, one for each row.
            scale: The factor: one for all rows, or (n, 1, 1).
        """
        raise NotImplementedError

    def guide(self, row: TransformerRow, with_prompt: torch.Tensor, without: torch.Tensor) -> torch.Tensor:
        """One prediction of two: classifier-free guidance (arXiv:2207.12598)."""
        begin = with_prompt if self.from_zero else without
        factor = row.true_guidance if TRUE_GUIDANCE in self.capabilities else row.guidance
        return begin + factor * (with_prompt - without)

    def beginning(self, **values: Any) -> TransformerStart:
        """See LatentFamily."""
        return TransformerStart(
            most_probable=self.most_probable,
            takes_mask=self.takes_mask,
            takes_controls=CONTROLS in self.capabilities,
            **values,
        )

    def dtype(self, parts: Parts) -> torch.dtype:
        """See LatentFamily."""
        return torch.float32 if self.in_fp32 else super().dtype(parts)

    def row(self, start: Any, conditioning: Conditioning, size: tuple[int, int], **values: Any) -> TransformerRow:
        """See LatentFamily."""
        return TransformerRow(
            conditioning=conditioning,
            own=tuple(self.own(start)),
            references=tuple(self.references(start)),
            memory=self.memory(start),
            controls=start.controls,
            true_guidance=start.operation.true_guidance,
            **values,
        )

    def key_of(self, seen: TransformerRow) -> Hashable:
        """See LatentFamily."""
        return key_of(seen)

    def view(self, row: TransformerRow, tile: Box) -> TransformerRow:
        """See Family."""
        seen: TransformerRow = super().view(row, tile)
        controls = tuple(each.view(tile) for each in row.controls)
        return replace(seen, own=tuple(cut(image, tile) for image in row.own), controls=controls)

    def schedule(self, parts: Parts, scheduler: Any, steps: int, tokens: int) -> torch.Tensor:
        """Prepare a scheduler for a full schedule, and say which timesteps it makes.

        Args:
            parts: The model's components.
            scheduler: Of the run.
            steps: Of the schedule.
            tokens: Of what goes through the transformer at once.
        """
        shift = self.shift(parts, tokens, steps)
        set_timesteps(scheduler, steps, parts.device, sigmas=self.sigmas(steps), shift=shift)
        timesteps: torch.Tensor = scheduler.timesteps
        return timesteps

    def timesteps(self, parts: Parts, operation: Operation, scheduler: Any, size: tuple[int, int]) -> torch.Tensor:
        """See LatentFamily."""
        steps, multiple = operation.steps, self.multiple(parts)
        timesteps = self.schedule(parts, scheduler, steps, (size[0] // multiple) * (size[1] // multiple))
        begin = 0
        if isinstance(operation, Redrawing):
            # Rounded as in the pipelines of these families: up to whole steps.
            begin = min(int(max(steps - steps * operation.strength, 0)), steps - 1) * scheduler.order
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)
        return timesteps[begin:]

    def predict(self, parts: Parts, rows: Sequence[TransformerRow]) -> list[torch.Tensor]:
        """See Family."""
        parts.place([parts.denoiser])
        samples = torch.cat([_scaled(row) for row in rows])
        timesteps = torch.stack([row.timesteps[row.step].float() for row in rows])
        words = joined([row.conditioning.prompt for row in rows])
        call = Call(rows, samples, timesteps, words, _tokens(rows, negative=False))
        # Rows that share a forward have either all of them a negative prompt or none.
        negatives = [row.conditioning.negative for row in rows if row.conditioning.negative is not None]
        if not negatives:
            return list(torch.split(self._through(parts, call, self._added(parts, call)), 1))
        negative, unseen = joined(negatives), _tokens(rows, negative=True)
        if self.one_forward:
            # In diffusers' order: the place in a batch decides the last bit.
            both = ((words, call.tokens), (negative, unseen))
            (words, first), (others, second) = both if self.from_zero else reversed(both)
            words, tokens = joined([words, others]), [torch.cat(pair) for pair in zip(first, second, strict=True)]
            twice = Call([*rows, *rows], samples.repeat(2, 1, 1, 1), timesteps.repeat(2), words, tokens)
            doubled = self._through(parts, twice, self._added(parts, twice)).chunk(2)
            with_prompt, without = doubled if self.from_zero else reversed(doubled)
        else:
            # As in diffusers: what is added with the prompt acts without it, too.
            added = self._added(parts, call)
            with_prompt = self._through(parts, call, added)
            without = self._through(parts, replace(call, words=negative, tokens=unseen), added)
        pairs = zip(rows, torch.split(with_prompt, 1), torch.split(without, 1), strict=True)
        return [self.guide(row, one, other) for row, one, other in pairs]

    def _through(self, parts: Parts, call: Call, added: Added) -> torch.Tensor:
        """One call of the transformer, with the LoRAs and the IP-Adapters that act in this step."""
        network = parts.adapted(call.rows[0].loras, call.rows[0].adapted)
        return self.forward(parts, replace(call, network=network), **added)

    def _added(self, parts: Parts, call: Call) -> Added:
        """What all ControlNets add in this step."""
        return summed(parts, call.rows, partial(self.follow, parts, call))


def _tokens(rows: Sequence[TransformerRow], *, negative: bool) -> list[torch.Tensor]:
    """See Call; what the prompts are read with, or the negative ones."""
    return tokens_of([row.adapted for row in rows], [[negative]] * len(rows))


def _scaled(row: TransformerRow) -> torch.Tensor:
    """A row's latents as the transformer takes them; only the schedulers that are not for flows scale them."""
    if not hasattr(row.scheduler, "scale_model_input"):
        return row.latents
    scaled: torch.Tensor = row.scheduler.scale_model_input(row.latents, row.timesteps[row.step])
    return scaled
