"""What every row with latents begins with: its noise, the latents of its image, the levels of its mask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from sd_api.errors import GenerationFailed
from sd_api.generation.operation import Operation
from sd_api.generation.operations import Inpaint
from sd_api.generation.plan import Box
from sd_api.generation.spec import PictureSeeds
from sd_api.imaging.sizing import extended_part, highest_levels, pad, resize_mask
from sd_api.models.autoencoder import Encoding, encode_pixels, encoding, latent_channels
from sd_api.models.components import Parts
from sd_api.models.families.base import BROKEN
from sd_api.models.families.noise import draw, slerp
from sd_api.models.tiling import in_pixels, merged


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What stays of an image while the rest is replaced.

    Attributes:
        latents: (1, channels, height, width) of the image.
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


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a row begins with; subclasses use the generator in diffusers' order.

    Attributes:
        make_encoder: Returns the autoencoder that encodes images.
        parts: The model's components.
        operation: What to do.
        conditioning: What ``encode`` returned.
        seeds: Of the picture.
        size: Width and height to work at.
        cell: The pixels of the side of one cell of the latents.
        dtype: Of the latents.
        scale: What the range of the autoencoder's latents is multiplied with.
        generator: Of the row, on the CPU.
        tiles: Boxes in cells that go through the model one by one; empty where all goes at once.
    """

    make_encoder: Callable[[Parts], Any]
    parts: Parts
    operation: Operation
    conditioning: Any
    seeds: PictureSeeds
    size: tuple[int, int]
    cell: int
    dtype: torch.dtype
    generator: torch.Generator
    tiles: Sequence[Box] = ()
    scale: float = 1.0

    def begin(self, scheduler: Any, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, Kept | None]:
        """The first latents, additional channels, and the latents that a mask keeps."""
        raise NotImplementedError

    def noise(self) -> torch.Tensor:
        """(1, channels, height, width) of the picture's seeds."""
        channels = latent_channels(self.parts.autoencoder.module)
        shape = (1, channels, self.size[1] // self.cell, self.size[0] // self.cell)
        noise = draw(shape, self.generator)
        if self.seeds.variation is not None:
            variation = draw(shape, torch.Generator("cpu").manual_seed(self.seeds.variation))
            noise = slerp(noise, variation, self.operation.variation_strength)
        return noise.to(self.parts.device, self.dtype) * self.scale

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """(1, 3, height, width) in -1 to 1."""
        pixels: torch.Tensor = VaeImageProcessor().preprocess(image)
        return pixels.to(self.parts.device, self.dtype)

    def mask(self, operation: Inpaint) -> Image.Image:
        """The mask of an operation, of the size to work at."""
        assert operation.mask is not None  # noqa: S101 - each pass has one
        return pad(resize_mask(operation.mask.pixels, operation.image.size), self.size)

    def levels(self, operation: Inpaint) -> torch.Tensor:
        """(1, 1, height, width) in fp32, 0 to 255: the mask in cells, each of which has its highest level."""
        # Every cell with any mask in it: its kept pixels are put back when the picture is finished.
        levels = highest_levels(self.mask(operation), self.cell)
        return torch.from_numpy(levels).to(self.parts.device, torch.float32)[None, None]

    def encode(
        self,
        image: Image.Image,
        without: torch.Tensor | None = None,
        *,
        most_probable: bool = False,
        latents_of: Callable[..., torch.Tensor] = encode_pixels,
    ) -> torch.Tensor:
        """The latents of an image, padded; with tiles they are 0 where there is none.

        Args:
            image: The image.
            without: (1, 1, height, width): 1 where the image is left out, 0 elsewhere.
            most_probable: Whether an encoder with randomness draws none.
            latents_of: Makes them of pixels; takes what ``encode_pixels`` takes.
        """
        # Each tile is padded by itself, so that there is no padded copy of a large image.
        margins = (0, 0, self.size[0] - image.width, self.size[1] - image.height)
        cells = (self.size[0] // self.cell, self.size[1] // self.cell)
        latents = []
        for tile in self.tiles or [(0, 0, *cells)]:
            left, upper, right, lower = box = in_pixels(tile, self.cell)
            pixels = self.pixels(extended_part(image, margins, box))
            if without is not None:
                pixels = pixels * (1 - without[..., upper:lower, left:right])
            generator = None if most_probable else self.generator
            vae = self.parts.autoencoder.module
            latents.append((latents_of(vae, pixels, generator, encode=self.encoded), tile))
        return merged(latents, cells) * self.scale

    def encoded(self, vae: Any, pixels: torch.Tensor) -> Encoding:
        """What the autoencoder makes of pixels, cached by their content: the edits of a document begin alike."""
        content = sha256(pixels.float().cpu().numpy().tobytes()).digest(), pixels.shape, self.parts.vae_file
        return self.parts.cached("pixels", content, lambda: self._encode_finite(pixels))

    def _encode_finite(self, pixels: torch.Tensor) -> Encoding:
        encoded = encoding(self._encoder, pixels)
        # What is cached would break every later picture of these pixels as well.
        if not encoded.is_finite:
            raise GenerationFailed(BROKEN)
        return encoded

    @cached_property
    def _encoder(self) -> Any:
        """The autoencoder, on the device."""
        self.parts.place([self.parts.autoencoder])
        return self.make_encoder(self.parts)
