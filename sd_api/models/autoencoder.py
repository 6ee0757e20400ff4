"""The autoencoder, between pixels and the range of the denoiser's latents.

It is shared by all runs, so nothing in it is ever changed: neither its weights nor its flags.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch

from sd_api.models.families.noise import draw


def decode_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """(n, 3, height, width) pixels in -1 to 1 of (n, channels, height / factor, width / factor) latents."""
    config, latents = vae.config, latents.to(vae.dtype)
    if _has_statistics(config):
        # In diffusers' order, which the last bit depends on.
        scaled = latents * _per_channel(config.latents_std, latents) / config.scaling_factor
        latents = scaled + _per_channel(config.latents_mean, latents)
    else:
        latents = latents / config.scaling_factor
    pixels: torch.Tensor = vae.decode(latents, return_dict=False)[0]
    return pixels


Encoding = tuple[torch.Tensor, torch.Tensor | None]
"""What an encoder makes of pixels: latents, or the mean and the standard deviation of random ones."""


def encoding(vae: Any, pixels: torch.Tensor) -> Encoding:
    """Encode (n, 3, height, width) pixels in -1 to 1; the same pixels give the same."""
    encoded = vae.encode(pixels.to(vae.device, vae.dtype))
    if not is_random(vae):
        return encoded.latents, None
    return encoded.latent_dist.mean, encoded.latent_dist.std


def encode_pixels(
    vae: Any,
    pixels: torch.Tensor,
    generator: torch.Generator | None = None,
    *,
    encode: Callable[[Any, torch.Tensor], Encoding] = encoding,
) -> torch.Tensor:
    """The latents of (n, 3, height, width) pixels in -1 to 1, in the denoiser's range.

    Args:
        vae: The autoencoder.
        pixels: In the precision of the latents that come back.
        generator: Of the randomness that an encoder may have; without one, its most probable latents are taken.
        encode: What encodes, such as a cache in front of ``encoding``.
    """
    config, dtype = vae.config, pixels.dtype
    latents = encode_unscaled(vae, pixels, generator, encode=encode).to(dtype)
    if _has_statistics(config):
        mean, std = _per_channel(config.latents_mean, latents), _per_channel(config.latents_std, latents)
        return torch.mul(latents - mean, config.scaling_factor) / std
    return torch.mul(latents, config.scaling_factor)


def encode_unscaled(
    vae: Any,
    pixels: torch.Tensor,
    generator: torch.Generator | None = None,
    *,
    encode: Callable[[Any, torch.Tensor], Encoding] = encoding,
) -> torch.Tensor:
    """The latents of ``encode_pixels`` as the autoencoder gives them."""
    mean, deviation = encode(vae, pixels)
    if deviation is None or generator is None:
        return mean
    return mean + deviation * draw(mean.shape, generator).to(mean)


def is_random(vae: Any) -> bool:
    """Whether encoding draws noise: the encoder gives a distribution rather than latents."""
    return hasattr(vae, "quant_conv")


def in_full_precision(vae: Any) -> Any:
    """An autoencoder that computes in fp32: itself, or a copy for this once."""
    # Not there and back in place: where memory ran out on the way, it would stay half converted for good.
    return vae if vae.dtype == torch.float32 else copy.deepcopy(vae).to(torch.float32)


def scale_factor(vae: Any) -> int:
    """The pixels of a side for each of the latents."""
    channels = getattr(vae.config, "block_out_channels", None) or vae.config.encoder_block_out_channels
    return int(2 ** (len(channels) - 1))


def _has_statistics(config: Any) -> bool:
    return getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None


def _per_channel(values: Sequence[float], latents: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, device=latents.device, dtype=latents.dtype).view(1, -1, 1, 1)
