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
from diffusers.models.embeddings import get_timestep_embedding
from PIL import Image

from sd_api.errors import GenerationFailed, ModelUnavailable, OutOfLimits
from sd_api.generation.abilities import ModelAbilities
from sd_api.generation.operation import Operation, OperationName
from sd_api.generation.operations import Edit, Redrawing
from sd_api.generation.plan import Box, size_of
from sd_api.generation.schedulers import SCHEDULERS
from sd_api.generation.spec import PictureSeeds
from sd_api.models.components import Parts
from sd_api.models.decoding import decode
from sd_api.models.device import HALF_PRECISIONS
from sd_api.models.families.latent_previews import is_fitted, latent_preview, predicted_original
from sd_api.models.families.unet_rows import Conditioning, UNetRow, key_of
from sd_api.models.families.unet_start import Start
from sd_api.models.schedulers import make_scheduler, scheduler_name
from sd_api.models.tiling import cut, in_cells, in_pixels, pasted

# By the channels that a UNet takes: the latents; they, a mask and the masked image's; they and the image's.
MODES: dict[int, tuple[OperationName, ...]] = {4: ("txt2img", "img2img", "masking"), 9: ("masking",), 8: ("edit",)}

BROKEN_WORDS = (
    "The model's text encoder broke down (what it makes of the prompt are not numbers). Try other words; if it happens "
    'with every prompt, set "dtype": "fp32" in the configuration, or download the model again.'
)

# Characters of a prompt in a warning.
QUOTED = 200

Variant = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
"""One pass of a row through the UNet: embeddings of the words, pooled embeddings, additional channels."""


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
            capabilities=("clip_skip", "tiles", "variations"),
            schedulers=tuple(SCHEDULERS),
        )

    def warnings(self, parts: Parts, operation: Operation) -> Iterator[str]:
        """See Family: what does not fit into the text encoder."""
        tokenizer = parts.pipeline.tokenizer
        for name, prompt in (("prompt", operation.prompt), ("negative_prompt", operation.negative_prompt)):
            # The last token that is read is the one that ends the prompt.
            if rest := tokenizer(prompt).input_ids[tokenizer.model_max_length - 1 : -1]:
                quoted = _shortened(tokenizer.decode(rest).strip())
                yield (
                    f"{name}: this model reads {tokenizer.model_max_length - 2} tokens, about as many short words, "
                    f"and has not seen the end: “{quoted}”"
                )

    def encode(self, parts: Parts, operation: Operation) -> Conditioning:
        """See Family."""
        layers = parts.pipeline.text_encoder.config.num_hidden_layers
        if operation.clip_skip > layers:
            raise OutOfLimits("clip_skip", f"is {operation.clip_skip}; this model's text encoder has {layers} layers")
        # Guidance does nothing at 1 and below, and costs as much as the picture itself. A UNet that was distilled
        # with guidance takes it as an input instead (arXiv:2310.04378).
        guided = operation.guidance > 1 and parts.denoiser.config.time_cond_proj_dim is None
        if isinstance(operation, Edit):
            guided = guided and operation.image_guidance >= 1
        words = operation.prompt, operation.negative_prompt if guided else None, operation.clip_skip
        return parts.cached("words", words, lambda: self._encode(parts, *words))

    def _encode(self, parts: Parts, prompt: str, negative_prompt: str | None, clip_skip: int) -> Conditioning:
        parts.place(parts.text_encoders)
        embeddings = self.encoder(parts).encode_prompt(
            **self.prompt_arguments(parts, prompt, clip_skip),
            # An empty one and none are the same to Stable Diffusion 1; for SDXL, none gives the zeroed embedding
            # that its pipeline uses by default.
            negative_prompt=negative_prompt or None,
            device=parts.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=negative_prompt is not None,
        )
        # What is cached would break every later picture of these words as well.
        if not all(part is None or part.isfinite().all() for part in embeddings):
            raise GenerationFailed(BROKEN_WORDS)
        names = ("prompt", "negative", "pooled", "negative_pooled")
        return Conditioning(**dict(zip(names, embeddings, strict=False)))

    def prompt_arguments(self, parts: Parts, prompt: str, clip_skip: int) -> dict[str, Any]:
        """The arguments of ``encode_prompt`` for a prompt that is read at a layer of the text encoder."""
        # diffusers counts the layers that are left out.
        return {"prompt": prompt, "clip_skip": clip_skip - 1 or None}

    def encoder(self, parts: Parts) -> Any:
        """The pipeline whose ``encode_prompt`` knows this family's text encoders."""
        return parts.pipeline

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
        parts.place([parts.denoiser])
        variants = [_variants(row) for row in rows]
        counts = [len(several) for several in variants]
        samples = [
            sample if channels is None else torch.cat([sample, channels], 1)
            for row, several in zip(rows, variants, strict=True)
            for sample in [row.scheduler.scale_model_input(row.latents, row.timesteps[row.step])]
            for _, _, channels in several
        ]
        # Not by repeat_interleave, which makes a GPU's host wait for the device at each step.
        timesteps = [
            row.timesteps[row.step].float() for row, count in zip(rows, counts, strict=True) for _ in range(count)
        ]
        output = parts.denoiser(
            torch.cat(samples),
            torch.stack(timesteps),
            encoder_hidden_states=torch.cat([words for several in variants for words, _, _ in several]),
            timestep_cond=_guidance_embedding(parts, rows),
            added_cond_kwargs=_added(rows, variants),
            return_dict=False,
        )[0]
        return [_guide(row, part) for row, part in zip(rows, output.split(counts), strict=True)]

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


def _variants(row: UNetRow) -> list[Variant]:
    words = row.conditioning
    with_prompt = words.prompt, words.pooled, row.channels
    if words.negative is None:
        return [with_prompt]
    if row.image_guidance is None or row.channels is None:
        return [(words.negative, words.negative_pooled, row.channels), with_prompt]
    # Equation 3 of arXiv:2211.09800: the image alone, and neither.
    return [
        with_prompt,
        (words.negative, None, row.channels),
        (words.negative, None, torch.zeros_like(row.channels)),
    ]


def _guide(row: UNetRow, output: torch.Tensor) -> torch.Tensor:
    """One prediction of the outputs for a row's variants: classifier-free guidance (arXiv:2207.12598)."""
    if len(output) == 1:
        return output
    if len(output) == 2:
        without, with_prompt = output.chunk(2)
        return without + row.guidance * (with_prompt - without)
    assert row.image_guidance is not None  # noqa: S101 - only instruct-pix2pix has three variants
    with_prompt, with_image, without = output.chunk(3)
    return without + row.guidance * (with_prompt - with_image) + row.image_guidance * (with_image - without)


def _guidance_embedding(parts: Parts, rows: Sequence[UNetRow]) -> torch.Tensor | None:
    """(n, width): the guidance as an input, for a UNet that was distilled with it (arXiv:2310.04378).

    Rows of such a UNet have one variant each.
    """
    width = parts.denoiser.config.time_cond_proj_dim
    if width is None:
        return None
    embedding: torch.Tensor = get_timestep_embedding(torch.tensor([1000 * (row.guidance - 1) for row in rows]), width)
    return embedding.to(parts.device, parts.denoiser.dtype)


def _added(rows: Sequence[UNetRow], variants: Sequence[Sequence[Variant]]) -> dict[str, torch.Tensor] | None:
    """What SDXL's UNet is conditioned with beside the words."""
    pooled = [vector for several in variants for _, vector, _ in several if vector is not None]
    if not pooled:
        return None
    sizes = [row.size_ids for row, several in zip(rows, variants, strict=True) for _ in several]
    return {"text_embeds": torch.cat(pooled), "time_ids": torch.cat([ids for ids in sizes if ids is not None])}


def _step_options(scheduler: Any, eta: float, generator: torch.Generator) -> dict[str, Any]:
    """The arguments that a scheduler's step takes, as diffusers' pipelines choose them."""
    options = {"eta": eta, "generator": generator}
    return {name: value for name, value in options.items() if name in signature(scheduler.step).parameters}


def _draws_other_noise(row: UNetRow) -> bool:
    draws = "generator" in row.options and row.options.get("eta") != 0
    return draws and row.latents.dtype in HALF_PRECISIONS and row.latents.numel() % 16 != 0


def _shortened(text: str) -> str:
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"
