"""How a row of a UNet begins: noise alone, an image with noise, or what a mask keeps of one."""

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
from sd_api.generation.operations import Edit, ImageToImage, Inpaint
from sd_api.generation.plan import Box
from sd_api.generation.spec import PictureSeeds
from sd_api.imaging.sizing import highest_levels, pad, resize_mask
from sd_api.models.autoencoder import Encoding, encode_pixels, encode_unscaled, encoding, is_random
from sd_api.models.components import Parts
from sd_api.models.families.base import BROKEN
from sd_api.models.families.noise import draw, slerp
from sd_api.models.families.unet_rows import Kept
from sd_api.models.tiling import in_pixels, merged


@dataclass(frozen=True)
class Start:
    """What a row begins with; the order in which the generator is used is diffusers'."""

    make_encoder: Callable[[Parts], Any]
    parts: Parts
    operation: Operation
    seeds: PictureSeeds
    size: tuple[int, int]
    generator: torch.Generator
    tiles: Sequence[Box] = ()

    def begin(self, scheduler: Any, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, Kept | None]:
        """The first latents, additional channels, and the latents that a mask keeps."""
        operation = self.operation
        if isinstance(operation, Inpaint):
            return self._inpaint(operation, scheduler, timesteps)
        if isinstance(operation, ImageToImage):
            image = self._encode(operation.image.pixels)
            return scheduler.add_noise(image, self._noise(), timesteps[:1]), None, None
        channels = None
        if isinstance(operation, Edit):
            pixels = self._pixels(pad(operation.image.pixels, self.size))
            channels = encode_unscaled(self.parts.autoencoder.module, pixels, encode=self._encoded)
        return self._noise() * scheduler.init_noise_sigma, channels, None

    def _inpaint(
        self, operation: Inpaint, scheduler: Any, timesteps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, Kept | None]:
        trained = self.parts.denoiser.config.in_channels == 9
        whole = operation.strength == 1
        # As diffusers has it; another order in memory would change the last bit of the convolutions.
        image = None if trained and whole else self._encode(operation.image.pixels).contiguous()
        noise = self._noise()
        latents = noise * scheduler.init_noise_sigma if whole else scheduler.add_noise(image, noise, timesteps[:1])
        factor = self.parts.pipeline.vae_scale_factor
        assert operation.mask is not None  # noqa: S101 - each pass has one
        stretched = pad(resize_mask(operation.mask.pixels, operation.image.size), self.size)
        # Every cell with any mask in it: its kept pixels are put back when the picture is finished.
        levels = torch.from_numpy(highest_levels(stretched, factor)).to(self.parts.device, torch.float32)[None, None]
        if trained:
            # Such a UNet was trained with black and white; grey acts when the picture is finished.
            mask = (levels > 0).to(latents)
            cells = mask.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
            masked = self._encode(operation.image.pixels, without=cells)
            return latents, torch.cat([mask, masked], 1), None
        if is_random(self.parts.autoencoder.module):
            # diffusers encodes the masked image here also where the UNet does not take it.
            draw(latents.shape, self.generator)
        assert image is not None  # noqa: S101 - it is always encoded for such a UNet
        return latents, None, Kept(latents=image, noise=noise, levels=levels)

    def _noise(self) -> torch.Tensor:
        factor = self.parts.pipeline.vae_scale_factor
        shape = (1, self.parts.autoencoder.config.latent_channels, self.size[1] // factor, self.size[0] // factor)
        noise = draw(shape, self.generator)
        if self.seeds.variation is not None:
            variation = draw(shape, torch.Generator("cpu").manual_seed(self.seeds.variation))
            noise = slerp(noise, variation, self.operation.variation_strength)
        return noise.to(self.parts.device, self.parts.denoiser.dtype)

    def _pixels(self, image: Image.Image) -> torch.Tensor:
        pixels: torch.Tensor = VaeImageProcessor().preprocess(image)
        return pixels.to(self.parts.device, self.parts.denoiser.dtype)

    def _encode(self, image: Image.Image, without: torch.Tensor | None = None) -> torch.Tensor:
        """The latents of an image, padded; with tiles they are 0 where there is none.

        Args:
            image: The image.
            without: (1, 1, height, width): 1 where the image is left out, 0 elsewhere.
        """
        factor, image = self.parts.pipeline.vae_scale_factor, pad(image, self.size)
        cells = (self.size[0] // factor, self.size[1] // factor)
        latents = []
        for tile in self.tiles or [(0, 0, *cells)]:
            left, upper, right, lower = box = in_pixels(tile, factor)
            pixels = self._pixels(image.crop(box))
            if without is not None:
                pixels = pixels * (1 - without[..., upper:lower, left:right])
            vae = self.parts.autoencoder.module
            latents.append((encode_pixels(vae, pixels, self.generator, encode=self._encoded), tile))
        return merged(latents, cells)

    def _encoded(self, vae: Any, pixels: torch.Tensor) -> Encoding:
        """What the autoencoder makes of pixels, cached by their content: the edits of a document begin alike."""
        content = sha256(pixels.float().cpu().numpy().tobytes()).digest(), pixels.shape
        return self.parts.cached("pixels", content, lambda: self._encode_finite(pixels))

    def _encode_finite(self, pixels: torch.Tensor) -> Encoding:
        encoded = encoding(self._encoder, pixels)
        # What is cached would break every later picture of these pixels as well.
        if not all(part is None or part.isfinite().all() for part in encoded):
            raise GenerationFailed(BROKEN)
        return encoded

    @cached_property
    def _encoder(self) -> Any:
        self.parts.place([self.parts.autoencoder])
        return self.make_encoder(self.parts)
