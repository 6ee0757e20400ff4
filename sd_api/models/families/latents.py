"""What all families share whose rows are latents: starting, tiles, steps, what a mask keeps, previews, decoding."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from sd_api.errors import OutOfLimits
from sd_api.generation.fields import derived
from sd_api.generation.operation import Operation
from sd_api.generation.plan import Box, size_of
from sd_api.generation.spec import PictureSeeds
from sd_api.models.autoencoder import cells_joined
from sd_api.models.components import Parts
from sd_api.models.decoding import decode
from sd_api.models.device import HALF_PRECISIONS
from sd_api.models.families.base import Row
from sd_api.models.families.latent_previews import is_fitted, latent_preview, predicted_original
from sd_api.models.families.start import Kept, Start
from sd_api.models.schedulers import make_scheduler, noised, scheduler_name, step_options
from sd_api.models.tiling import cut, in_cells, in_pixels, pasted


@dataclass(eq=False, kw_only=True)
class LatentRow(Row):
    """See Row.

    Attributes:
        latents: (1, channels, height, width).
        scheduler: Its own, in the state after ``step`` steps.
        timesteps: (steps,).
        guidance: The factor of classifier-free guidance, or what the model takes in place of it.
        options: Further arguments of the scheduler's step.
        channels: (1, more, height, width), what the denoiser gets beside the latents; None for most.
        kept: What is blended in after each step; None where everything is drawn anew.
        conditioning: What ``encode`` returned; its ``changes`` says whether something else may act from one step to the
            next.
    """

    latents: torch.Tensor
    scheduler: Any
    timesteps: torch.Tensor
    guidance: float
    options: dict[str, Any]
    channels: torch.Tensor | None
    kept: Kept | None
    conditioning: Any


class LatentFamily:
    """See Family.

    Attributes:
        schedulers: The names of those that work.
    """

    max_rows = 16
    schedulers: tuple[str, ...]

    def timesteps(self, parts: Parts, operation: Operation, scheduler: Any, size: tuple[int, int]) -> torch.Tensor:
        """The timesteps that are made, and the scheduler prepared for them.

        Args:
            parts: The model's components.
            operation: What to do.
            scheduler: Of the row.
            size: Of what goes through the denoiser at once, in pixels.
        """
        raise NotImplementedError

    def beginning(self, **values: Any) -> Start:
        """How a row begins.

        Args:
            values: Those of Start.
        """
        raise NotImplementedError

    def row(self, start: Start, conditioning: Any, size: tuple[int, int], **values: Any) -> Any:
        """A row before its first step.

        Args:
            start: How it begins.
            conditioning: What ``encode`` returned.
            size: See ``timesteps``.
            values: Those of LatentRow.
        """
        raise NotImplementedError

    def key_of(self, seen: Any) -> Hashable:
        """What is the same of rows that share a forward.

        Args:
            seen: A row, or what one of its tiles shows of it.
        """
        raise NotImplementedError

    def largest_side(self, parts: Parts) -> int | None:
        """The pixels of the longest side that a model draws at once; None where there is no such limit."""
        return None

    def image_encoder(self, parts: Parts) -> Any:
        """The autoencoder that encodes images."""
        return parts.autoencoder.module

    def dtype(self, parts: Parts) -> torch.dtype:
        """The precision of the latents."""
        dtype: torch.dtype = parts.denoiser.dtype
        return dtype

    def start(
        self,
        parts: Parts,
        operation: Operation,
        seeds: PictureSeeds,
        size: tuple[int, int],
        conditioning: Any,
        tiles: Sequence[Box] = (),
    ) -> Any:
        """See Family.

        Raises:
            OutOfLimits: The picture is larger than the model can draw.
        """
        at_once = size_of(tiles[0]) if tiles else size
        most = self.largest_side(parts)
        for side, length in zip(("width", "height"), at_once, strict=True):
            if most is not None and length > most:
                raise OutOfLimits(side, f"is {length}; this model draws at most {most} at once")
        scheduler = self.own_scheduler(parts, operation)
        possible = derived(operation, type(operation), steps=self.steps_there(scheduler, operation))
        timesteps = self.timesteps(parts, possible, scheduler, at_once)
        generator = torch.Generator("cpu").manual_seed(seeds.seed)
        cells = tuple(in_cells(tile, self.cell(parts)) for tile in tiles)
        start = self.beginning(
            make_encoder=self.image_encoder,
            parts=parts,
            operation=operation,
            conditioning=conditioning,
            seeds=seeds,
            size=size,
            cell=self.cell(parts),
            scale=self.scale(parts),
            dtype=self.dtype(parts),
            generator=generator,
            tiles=cells,
        )
        latents, channels, kept = start.begin(scheduler, timesteps)
        row = self.row(
            start,
            conditioning,
            at_once,
            key=None,
            scheduler_name=scheduler_name(scheduler),
            steps=len(timesteps),
            latents=latents,
            tiles=cells,
            scheduler=scheduler,
            timesteps=timesteps,
            guidance=operation.guidance,
            options=step_options(scheduler, operation.eta, generator),
            channels=channels,
            kept=kept,
        )
        self._share(row)
        return row

    def steps_there(self, scheduler: Any, operation: Operation) -> int:
        """The steps of an operation as far as a scheduler has them: some choose theirs from those of a distillation."""
        there: int = scheduler.config.get("original_inference_steps", operation.steps)
        return min(operation.steps, there)

    def fewer_steps(self, parts: Parts, operation: Operation) -> Iterator[str]:
        """A sentence where fewer steps are made than were asked for."""
        there = self.steps_there(self.own_scheduler(parts, operation), operation)
        if there < operation.steps:
            yield f"steps: there are {there} steps to choose from, so {there} were made."

    def own_scheduler(self, parts: Parts, operation: Operation) -> Any:
        """A scheduler for one row: the named one where it works with the family, else the model's own."""
        known = operation.scheduler if operation.scheduler in self.schedulers else None
        return make_scheduler(known, parts.pipeline.scheduler)

    def cell(self, parts: Parts) -> int:
        """The pixels of the side of one cell of the latents."""
        return int(parts.pipeline.vae_scale_factor) * cells_joined(parts.autoencoder.module)

    def scale(self, parts: Parts) -> float:
        """What the range of the autoencoder's latents is multiplied with for the denoiser."""
        return 1.0

    def view(self, row: Any, tile: Box) -> Any:
        """See Family."""
        channels = None if row.channels is None else cut(row.channels, tile)
        return replace(row, latents=cut(row.latents, tile), channels=channels, kept=None, tiles=())

    def advance(self, row: LatentRow, prediction: torch.Tensor) -> None:
        """See Family; what acts in the next step may be something else."""
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
                kept = noised(row.scheduler, kept, row.kept.noise, row.timesteps[row.step][None])
            latents = torch.where(row.kept.replaced(row.step, row.steps), latents, kept)
        row.latents = latents
        if not row.done and row.conditioning.changes:
            self._share(row)

    def _share(self, row: LatentRow) -> None:
        """Say with which rows it can share its next forward."""
        row.key = self.key_of(self.view(row, row.tiles[0]) if row.tiles else row)

    def conclude(self, row: LatentRow, prediction: torch.Tensor) -> None:
        """See Family."""
        original = predicted_original(row.scheduler, prediction, row.timesteps[row.step], row.latents)
        original = original.to(row.latents.dtype)
        row.steps = row.step
        if row.kept is not None:
            original = torch.where(row.kept.levels > 0, original, row.kept.latents)
        row.latents = original

    def preview(self, parts: Parts, row: LatentRow, prediction: torch.Tensor) -> Image.Image:
        """See Family; one pixel for each cell of the latents."""
        # Where memory is short, it would drive the denoiser out of it each time.
        if not is_fitted(parts.autoencoder.module):
            parts.place([parts.autoencoder])
        original = predicted_original(row.scheduler, prediction, row.timesteps[row.step], row.latents)
        return latent_preview(parts.autoencoder.module, self.cell(parts), original[0] / self.scale(parts))

    def decode(self, parts: Parts, rows: Sequence[LatentRow], warnings: list[str]) -> list[Image.Image]:
        """See Family."""
        parts.place([parts.autoencoder])
        tiled = {row: self._decode_tiles(parts, row, warnings) for row in rows if row.tiles}
        plain = [row.latents for row in rows if not row.tiles]
        images = iter(self._pictures(parts, torch.cat(plain), warnings) if plain else [])
        return [tiled[row] if row.tiles else next(images) for row in rows]

    def _decode_tiles(self, parts: Parts, row: LatentRow, warnings: list[str]) -> Image.Image:
        """Decode tile by tile; where there is none, the picture is black, and nothing of it is used."""
        cell = self.cell(parts)
        height, width = row.latents.shape[2:]
        tiles = (
            (self._pictures(parts, cut(row.latents, tile), warnings)[0], in_pixels(tile, cell)) for tile in row.tiles
        )
        return pasted(tiles, (width * cell, height * cell))

    def _pictures(self, parts: Parts, latents: torch.Tensor, warnings: list[str]) -> list[Image.Image]:
        pixels = decode(parts.autoencoder.module, latents / self.scale(parts), warnings, parts.tile)
        images: list[Image.Image] = VaeImageProcessor().postprocess(pixels, output_type="pil")
        return images


def _draws_other_noise(row: LatentRow) -> bool:
    draws = "generator" in row.options and row.options.get("eta") != 0
    return draws and row.latents.dtype in HALF_PRECISIONS and row.latents.numel() % 16 != 0
