"""What the families with a UNet share: reading prompts, one forward for several rows, one step of each.

The arithmetic and the order of random draws are those of diffusers' pipelines, so the pixels are theirs, too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from sd_api.errors import ModelUnavailable, OutOfLimits
from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.operation import PROMPTS, Operation, OperationName
from sd_api.generation.operations import Edit, Redrawing
from sd_api.generation.plan import Box, size_of
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.generation.spec import PictureSeeds
from sd_api.models.adapters.embeddings import named_in
from sd_api.models.components import Parts
from sd_api.models.decoding import decode
from sd_api.models.device import HALF_PRECISIONS
from sd_api.models.families.latent_previews import is_fitted, latent_preview, predicted_original
from sd_api.models.families.unet_guidance import added, guidance_embedding, guide, variants
from sd_api.models.families.unet_rows import Conditioning, UNetRow, key_of
from sd_api.models.families.unet_start import Start
from sd_api.models.families.unet_words import PromptReader
from sd_api.models.schedulers import make_scheduler, scheduler_name
from sd_api.models.tiling import cut, in_cells, in_pixels, pasted

# By the channels that a UNet takes: the latents; they, a mask and the masked image's; they and the image's.
MODES: dict[int, tuple[OperationName, ...]] = {4: ("txt2img", "img2img", "masking"), 9: ("masking",), 8: ("edit",)}


class UNetFamily:
    """See Family; subclasses say which pipelines they are and how prompts are encoded."""

    name: str
    max_rows = 16
    pipelines: frozenset[str]

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
            capabilities=("clip_skip", "loras", "tiles", "variations"),
            schedulers=tuple(SCHEDULERS),
        )

    def warnings(self, parts: Parts, operation: Operation) -> Iterator[str]:
        """See Family: embeddings that do not fit."""
        if operation.prompt_syntax == "plain":
            return
        for name in PROMPTS:
            for word, file in named_in(getattr(operation, name), parts.embeddings.files()).items():
                if (reason := parts.embeddings.why_unfit(file)) is not None:
                    yield f"{name}: {word} is read as a word, because its embedding cannot be used: {reason}."

    def encode(self, parts: Parts, operation: Operation) -> Conditioning:
        """See Family."""
        layers = parts.pipeline.text_encoder.config.num_hidden_layers
        if operation.clip_skip > layers:
            raise OutOfLimits("clip_skip", f"is {operation.clip_skip}; this model's text encoder has {layers} layers")
        return PromptReader(parts, self.words_layer, operation).conditioning()

    def words_layer(self, encoder: Any, output: Any, clip_skip: int) -> torch.Tensor:
        """The embeddings that the UNet takes: (1, tokens, width).

        Args:
            encoder: A text encoder.
            output: What it made of a chunk, hidden states included.
            clip_skip: The layer, counted from the end; 1 is the one that the model was trained with.
        """
        raise NotImplementedError

    def image_encoder(self, parts: Parts) -> Any:
        """The autoencoder that encodes images."""
        return parts.autoencoder.module

    def size_ids(self, parts: Parts, size: tuple[int, int]) -> torch.Tensor | None:
        """The sizes that a UNet is conditioned with; None for those that are not."""
        return None

    def start(
        self,
        parts: Parts,
        operation: Operation,
        seeds: PictureSeeds,
        size: tuple[int, int],
        conditioning: Conditioning,
        tiles: Sequence[Box] = (),
    ) -> UNetRow:
        """See Family."""
        scheduler = make_scheduler(operation.scheduler, parts.pipeline.scheduler)
        scheduler.set_timesteps(operation.steps, device=parts.device)
        timesteps = scheduler.timesteps
        if isinstance(operation, Redrawing):
            begin = (operation.steps - operation.steps_run) * scheduler.order
            timesteps = timesteps[begin:]
            if hasattr(scheduler, "set_begin_index"):
                scheduler.set_begin_index(begin)
        generator = torch.Generator("cpu").manual_seed(seeds.seed)
        cells = tuple(in_cells(tile, parts.pipeline.vae_scale_factor) for tile in tiles)
        latents, channels, kept = Start(self.image_encoder, parts, operation, seeds, size, generator, cells).begin(
            scheduler, timesteps
        )
        return UNetRow(
            key=key_of(latents, conditioning, channels, cells),
            scheduler_name=scheduler_name(scheduler),
            steps=len(timesteps),
            latents=latents,
            tiles=cells,
            scheduler=scheduler,
            timesteps=timesteps,
            conditioning=conditioning,
            guidance=operation.guidance,
            image_guidance=operation.image_guidance if isinstance(operation, Edit) else None,
            options=_step_options(scheduler, operation.eta, generator),
            channels=channels,
            kept=kept,
            size_ids=self.size_ids(parts, size_of(tiles[0]) if tiles else size),
        )

    @staticmethod
    def view(row: UNetRow, tile: Box) -> UNetRow:
        """See Family."""
        channels = None if row.channels is None else cut(row.channels, tile)
        return replace(row, latents=cut(row.latents, tile), channels=channels, kept=None, tiles=())

    @staticmethod
    def predict(parts: Parts, rows: Sequence[UNetRow]) -> list[torch.Tensor]:
        """See Family; every variant of every row goes through the UNet together."""
        denoiser = parts.loras.applied(parts.denoiser, rows[0].conditioning.loras)
        passes = [variants(row) for row in rows]
        counts = [len(several) for several in passes]
        samples = [
            sample if channels is None else torch.cat([sample, channels], 1)
            for row, several in zip(rows, passes, strict=True)
            for sample in [row.scheduler.scale_model_input(row.latents, row.timesteps[row.step])]
            for _, _, channels in several
        ]
        # Not by repeat_interleave, which makes a GPU's host wait for the device at each step.
        timesteps = [
            row.timesteps[row.step].float() for row, count in zip(rows, counts, strict=True) for _ in range(count)
        ]
        output = denoiser(
            torch.cat(samples),
            torch.stack(timesteps),
            encoder_hidden_states=torch.cat([words for several in passes for words, _, _ in several]),
            timestep_cond=guidance_embedding(parts, rows),
            added_cond_kwargs=added(rows, passes),
            return_dict=False,
        )[0]
        return [guide(row, part) for row, part in zip(rows, output.split(counts), strict=True)]

    @staticmethod
    def advance(row: UNetRow, prediction: torch.Tensor) -> None:
        """See Family."""
        if _draws_other_noise(row):
            # See ``draw``: this scheduler draws by itself, in the precision of what it is given.
            prediction = prediction.float()
        latents = row.scheduler.step(
            prediction, row.timesteps[row.step], row.latents, **row.options, return_dict=False
        )[0].to(row.latents.dtype)
        row.step += 1
        if row.kept is not None:
            kept = row.kept.latents
            if not row.done:
                kept = row.scheduler.add_noise(kept, row.kept.noise, row.timesteps[row.step][None])
            latents = torch.where(row.kept.replaced(row.step, row.steps), latents, kept)
        row.latents = latents

    @staticmethod
    def conclude(row: UNetRow, prediction: torch.Tensor) -> None:
        """See Family."""
        original = predicted_original(row.scheduler, prediction, row.timesteps[row.step], row.latents)
        original = original.to(row.latents.dtype)
        row.steps = row.step
        if row.kept is not None:
            original = torch.where(row.kept.levels > 0, original, row.kept.latents)
        row.latents = original

    @staticmethod
    def preview(parts: Parts, row: UNetRow, prediction: torch.Tensor) -> Image.Image:
        """See Family; one pixel for each cell of the latents."""
        # Where memory is short, it would drive the denoiser out of it each time.
        if not is_fitted(parts.autoencoder.module):
            parts.place([parts.autoencoder])
        original = predicted_original(row.scheduler, prediction, row.timesteps[row.step], row.latents)
        return latent_preview(parts.autoencoder.module, parts.pipeline.vae_scale_factor, original[0])

    @staticmethod
    def decode(parts: Parts, rows: Sequence[UNetRow], warnings: list[str]) -> list[Image.Image]:
        """See Family."""
        parts.place([parts.autoencoder])
        tiled = {row: _decode_tiles(parts, row, warnings) for row in rows if row.tiles}
        plain = [row.latents for row in rows if not row.tiles]
        images = iter(_decode(parts, torch.cat(plain), warnings) if plain else [])
        return [tiled[row] if row.tiles else next(images) for row in rows]


def _decode(parts: Parts, latents: torch.Tensor, warnings: list[str]) -> list[Image.Image]:
    pixels = decode(parts.autoencoder.module, latents, warnings, parts.tile)
    images: list[Image.Image] = VaeImageProcessor().postprocess(pixels, output_type="pil")
    return images


def _decode_tiles(parts: Parts, row: UNetRow, warnings: list[str]) -> Image.Image:
    """Decode tile by tile; where there is none, the picture is black, and nothing of it is used."""
    factor = parts.pipeline.vae_scale_factor
    height, width = row.latents.shape[2:]
    tiles = ((_decode(parts, cut(row.latents, tile), warnings)[0], in_pixels(tile, factor)) for tile in row.tiles)
    return pasted(tiles, (width * factor, height * factor))


def _step_options(scheduler: Any, eta: float, generator: torch.Generator) -> dict[str, Any]:
    """The arguments that a scheduler's step takes, as diffusers' pipelines choose them."""
    options = {"eta": eta, "generator": generator}
    return {name: value for name, value in options.items() if name in signature(scheduler.step).parameters}


def _draws_other_noise(row: UNetRow) -> bool:
    draws = "generator" in row.options and row.options.get("eta") != 0
    return draws and row.latents.dtype in HALF_PRECISIONS and row.latents.numel() % 16 != 0
