"""What the families with a UNet share: reading prompts, one forward for several rows, one step of each.

The arithmetic and the order of random draws are those of diffusers' pipelines, so the pixels are theirs, too.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers import DiffusionPipeline

from sd_api.errors import ModelUnavailable, OutOfLimits
from sd_api.generation.abilities import ModelAbilities, without_effect
from sd_api.generation.operation import Operation, OperationName
from sd_api.generation.operations import Edit, Redrawing
from sd_api.generation.plan import Box
from sd_api.generation.prompted import PROMPTS
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.models.adapters.active_references import tokens_of
from sd_api.models.adapters.embedding_files import named_in
from sd_api.models.components import Parts
from sd_api.models.families.latents import LatentFamily
from sd_api.models.families.start import Start
from sd_api.models.families.unet_control import is_adapter, residuals, row_controls
from sd_api.models.families.unet_guidance import added, guidance_embedding, guide, negatives, variants
from sd_api.models.families.unet_rows import Conditioning, UNetRow, key_of
from sd_api.models.families.unet_start import UNetStart
from sd_api.models.families.unet_words import PromptReader
from sd_api.models.schedulers import usable_schedulers

# By the channels that a UNet takes: the latents; they, a mask and the masked image's; they and the image's.
MODES: dict[int, tuple[OperationName, ...]] = {4: ("txt2img", "img2img", "masking"), 9: ("masking",), 8: ("edit",)}


class UNetFamily(LatentFamily):
    """See Family; subclasses say which pipelines they are and how prompts are encoded."""

    name: str
    pipelines: frozenset[str]
    schedulers: tuple[str, ...] = tuple(SCHEDULERS)

    def loading_class(self, class_name: str) -> Any:
        """See Family: whatever the index names."""
        return DiffusionPipeline if class_name in self.pipelines else None

    def abilities(self, parts: Parts) -> ModelAbilities:
        """See Family."""
        unet, multiple = parts.denoiser.config, int(parts.pipeline.vae_scale_factor)
        side = unet.sample_size
        if unet.in_channels not in MODES:
            known = ", ".join(map(str, sorted(MODES)))
            raise ModelUnavailable(
                f"The model's UNet takes {unet.in_channels} channels, and this server runs those that take {known}. "
                "Choose another model."
            )
        return ModelAbilities(
            modes=MODES[unet.in_channels],
            size_multiple=multiple,
            native_size=side * multiple if isinstance(side, int) else None,
            capabilities=(
                *("clip_skip", "controls", "ip_adapters", "loras", "references", "tiles", "vae", "variations"),
                *_capabilities(unet),
            ),
            schedulers=self.usable_schedulers(parts),
        )

    def usable_schedulers(self, parts: Parts) -> tuple[str, ...]:
        """The names of the schedulers that draw what a model was trained to draw."""
        usable = usable_schedulers(parts.pipeline.scheduler)
        return tuple(name for name in usable if name in self.schedulers)

    def warnings(self, parts: Parts, operation: Operation) -> Iterator[str]:
        """See Family: what has no effect, and embeddings that do not fit."""
        yield from without_effect(self.abilities(parts), operation)
        yield from self.fewer_steps(parts, operation)
        if any(control.mode != "balanced" and is_adapter(parts, control) for control in operation.controls):
            yield "controls: a T2I adapter has no mode, so its mode had no effect."
        if operation.prompt_syntax == "plain":
            return
        for name in PROMPTS:
            for word, file in named_in(getattr(operation, name), parts.embeddings.files()).items():
                if (reason := parts.embeddings.why_unfit(file)) is not None:
                    yield f"{name}: {word} is read as a word, because its embedding cannot be used: {reason}."

    def encode(self, parts: Parts, operation: Operation, look_alive: Callable[[], None] = lambda: None) -> Conditioning:
        """See Family."""
        layers = parts.pipeline.text_encoder.config.num_hidden_layers
        if operation.clip_skip > layers:
            raise OutOfLimits("clip_skip", f"is {operation.clip_skip}; this model's text encoder has {layers} layers")
        # What does not fit is refused before work is done.
        controls = parts.controls.find(operation.controls)
        conditioning = PromptReader(parts, self.words_layer, operation, look_alive).conditioning()
        guided = conditioning.moments[0].negative is not None
        references = parts.ip_adapters.see(operation.references, guided=guided)
        return replace(conditioning, references=references, controls=controls)

    def words_layer(self, encoder: Any, output: Any, clip_skip: int) -> torch.Tensor:
        """The embeddings that the UNet takes: (1, tokens, width).

        Args:
            encoder: A text encoder.
            output: What it made of a chunk, hidden states included.
            clip_skip: The layer, counted from the end; 1 is the one that the model was trained with.
        """
        raise NotImplementedError

    def size_ids(self, parts: Parts, size: tuple[int, int]) -> torch.Tensor | None:
        """The sizes that a UNet is conditioned with; None for those that are not."""
        return None

    def timesteps(self, parts: Parts, operation: Operation, scheduler: Any, size: tuple[int, int]) -> torch.Tensor:
        """See LatentFamily."""
        scheduler.set_timesteps(operation.steps, device=parts.device)
        begin = 0
        if isinstance(operation, Redrawing):
            begin = (operation.steps - operation.steps_run) * scheduler.order
            if hasattr(scheduler, "set_begin_index"):
                scheduler.set_begin_index(begin)
        timesteps: torch.Tensor = scheduler.timesteps[begin:]
        return timesteps

    def beginning(self, **values: Any) -> UNetStart:
        """See LatentFamily."""
        return UNetStart(**values)

    def row(self, start: Start, conditioning: Conditioning, size: tuple[int, int], **values: Any) -> UNetRow:
        """See LatentFamily."""
        operation = start.operation
        return UNetRow(
            conditioning=conditioning,
            image_guidance=operation.image_guidance if isinstance(operation, Edit) else None,
            size_ids=self.size_ids(start.parts, size),
            controls=row_controls(start),
            **values,
        )

    def key_of(self, seen: UNetRow) -> Hashable:
        """See LatentFamily."""
        return key_of(seen)

    def view(self, row: UNetRow, tile: Box) -> UNetRow:
        """See Family."""
        seen: UNetRow = replace(super().view(row, tile), controls={None: row.controls[tile]})
        return seen

    def predict(self, parts: Parts, rows: Sequence[UNetRow]) -> list[torch.Tensor]:
        """See Family; every variant of every row goes through the UNet together."""
        passes = [variants(row) for row in rows]
        counts = [len(several) for several in passes]
        scaled = [
            sample
            for row, count in zip(rows, counts, strict=True)
            for sample in [row.scheduler.scale_model_input(row.latents, row.timesteps[row.step])] * count
        ]
        further = [channels for several in passes for _, _, channels in several]
        samples = [
            sample if channels is None else torch.cat([sample, channels], 1)
            for sample, channels in zip(scaled, further, strict=True)
        ]
        # Not by repeat_interleave, which makes a GPU's host wait for the device at each step.
        timesteps = [
            row.timesteps[row.step].float() for row, count in zip(rows, counts, strict=True) for _ in range(count)
        ]
        moments, words = torch.stack(timesteps), torch.cat([words for several in passes for words, _, _ in several])
        beside = added(rows, passes)
        controlled = {}
        if rows[0].controls[None]:
            prompted = [not negative for row in rows for negative in negatives(row)]
            controlled = residuals(parts, rows, counts, torch.cat(scaled), moments, words, beside, prompted)
        seen = tokens_of([row.references for row in rows], [negatives(row) for row in rows])
        denoiser = parts.adapted(rows[0].moment.loras, rows[0].references)
        output = denoiser(
            torch.cat(samples),
            moments,
            encoder_hidden_states=(words, seen) if seen else words,
            timestep_cond=guidance_embedding(parts, rows),
            added_cond_kwargs=beside,
            return_dict=False,
            **controlled,
        )[0]
        return [guide(row, part) for row, part in zip(rows, output.split(counts), strict=True)]


def _capabilities(unet: Any) -> Iterator[str]:
    if unet.time_cond_proj_dim is None:
        yield "negative_prompt"
    if MODES[unet.in_channels] == ("edit",):
        yield "image_guidance"
