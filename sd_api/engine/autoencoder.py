"""The autoencoder, between pixels and the range of the UNet's latents.

It is shared by every later run, so its weights are never changed, and what else is changed in it is undone.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


def decode_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """(n, 3, height, width) pixels in -1 to 1 of the UNet's (n, 4, height / factor, width / factor) latents."""
    config, latents = vae.config, latents.to(vae.dtype)
    if _has_statistics(config):
        # In diffusers' order, which the last bit depends on.
        scaled = latents * _per_channel(config.latents_std, latents) / config.scaling_factor
        latents = scaled + _per_channel(config.latents_mean, latents)
    else:
        latents = latents / config.scaling_factor
    pixels: torch.Tensor = vae.decode(latents, return_dict=False)[0]
    return pixels


def encode_pixels(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The reverse, without the randomness that an encoder may have."""
    config, encoded = vae.config, vae.encode(pixels.to(vae.device, vae.dtype))
    latents: torch.Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    if _has_statistics(config):
        latents = (latents - _per_channel(config.latents_mean, latents)) / _per_channel(config.latents_std, latents)
    return torch.mul(latents, config.scaling_factor)


def _has_statistics(config: Any) -> bool:
    return getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None


def _per_channel(values: Sequence[float], latents: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, device=latents.device, dtype=latents.dtype).view(1, -1, 1, 1)


def in_full_precision(vae: Any) -> Any:
    """One that computes in fp32: itself, or a copy for this once."""
    # Not there and back in place: where memory ran out on the way, it would stay half converted for good.
    return vae if vae.dtype == torch.float32 else copy.deepcopy(vae).to(torch.float32)


@contextmanager
def tiled(vae: Any) -> Iterator[None]:
    """Have it work in tiles for a while, which takes less memory."""
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.disable_tiling()
