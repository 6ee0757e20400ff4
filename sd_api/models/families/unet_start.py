"""How a row of a UNet begins: noise alone, an image with noise, or what a mask keeps of one."""

from typing import Any

import torch

from sd_api.generation.operations import Edit, ImageToImage, Inpaint
from sd_api.imaging.sizing import pad
from sd_api.models.autoencoder import encode_unscaled, is_random
from sd_api.models.families.noise import draw
from sd_api.models.families.start import Kept, Start


class UNetStart(Start):
    """What a row begins with; the order in which the generator is used is diffusers'."""

    def begin(self, scheduler: Any, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, Kept | None]:
        """See Start."""
        operation = self.operation
        if isinstance(operation, Inpaint):
            return self._inpaint(operation, scheduler, timesteps)
        if isinstance(operation, ImageToImage):
            image = self.encode(operation.image.pixels)
            return scheduler.add_noise(image, self.noise(), timesteps[:1]), None, None
        channels = None
        if isinstance(operation, Edit):
            pixels = self.pixels(pad(operation.image.pixels, self.size))
            channels = encode_unscaled(self.parts.autoencoder.module, pixels, encode=self.encoded)
        return self.noise() * scheduler.init_noise_sigma, channels, None

    def _inpaint(
        self, operation: Inpaint, scheduler: Any, timesteps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, Kept | None]:
        trained = self.parts.denoiser.config.in_channels == 9
        whole = operation.strength == 1
        # As diffusers has it; another order in memory would change the last bit of the convolutions.
        image = None if trained and whole else self.encode(operation.image.pixels).contiguous()
        noise = self.noise()
        latents = noise * scheduler.init_noise_sigma if whole else scheduler.add_noise(image, noise, timesteps[:1])
        levels = self.levels(operation)
        if trained:
            # Such a UNet was trained with black and white; grey acts when the picture is finished.
            mask = (levels > 0).to(latents)
            cells = mask.repeat_interleave(self.cell, 2).repeat_interleave(self.cell, 3)
            masked = self.encode(operation.image.pixels, without=cells)
            return latents, torch.cat([mask, masked], 1), None
        if is_random(self.parts.autoencoder.module):
            # diffusers encodes the masked image here also where the UNet does not take it.
            draw(latents.shape, self.generator)
        assert image is not None  # noqa: S101 - it is always encoded for such a UNet
        return latents, None, Kept(latents=image, noise=noise, levels=levels)
