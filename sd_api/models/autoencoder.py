"""The autoencoder, between pixels and the range of the denoiser's latents.

It is shared by all runs, so nothing in it is ever changed: neither its weights nor its flags. What its latents look
like is read from the autoencoder itself, whichever family it belongs to.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sd_api.models.families.noise import draw

# The side of the square of cells that an autoencoder with a normalization of its own makes one cell of.
PATCH = 2


def decode_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """(n, 3, height, width) pixels in -1 to 1 of (n, channels, height / cell, width / cell) latents."""
    latents = unscaled(vae, latents.to(vae.dtype))
    pixels: torch.Tensor = vae.decode(latents[:, :, None] if _makes_videos(vae) else latents, return_dict=False)[0]
    return pixels[:, :, 0] if _makes_videos(vae) else pixels


@dataclass(frozen=True)
class Encoding:
    """What an encoder makes of pixels: (n, channels, height / cell, width / cell).

    Attributes:
        mean: The latents, or the mean of random ones.
        deviation: The standard deviation of random ones, else None.
    """

    mean: torch.Tensor
    deviation: torch.Tensor | None

    @property
    def nbytes(self) -> int:
        """The memory that they take."""
        return self.mean.nbytes + (0 if self.deviation is None else self.deviation.nbytes)

    @property
    def is_finite(self) -> bool:
        """Whether all of it are numbers."""
        return all(bool(part.isfinite().all()) for part in (self.mean, self.deviation) if part is not None)


def encoding(vae: Any, pixels: torch.Tensor) -> Encoding:
    """Encode (n, 3, height, width) pixels in -1 to 1; the same pixels give the same."""
    pixels = pixels.to(vae.device, vae.dtype)
    encoded = vae.encode(pixels[:, :, None] if _makes_videos(vae) else pixels)
    if not is_random(vae):
        return Encoding(encoded.latent if hasattr(encoded, "latent") else encoded.latents, None)
    mean, deviation = encoded.latent_dist.mean, encoded.latent_dist.std
    return Encoding(mean[:, :, 0], deviation[:, :, 0]) if _makes_videos(vae) else Encoding(mean, deviation)


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
    latents = encode_unscaled(vae, pixels, generator, encode=encode).to(pixels.dtype)
    return scaled(vae, latents, random=generator is not None)


def encode_unscaled(
    vae: Any,
    pixels: torch.Tensor,
    generator: torch.Generator | None = None,
    *,
    encode: Callable[[Any, torch.Tensor], Encoding] = encoding,
) -> torch.Tensor:
    """The latents of ``encode_pixels`` as the autoencoder gives them."""
    encoded = encode(vae, pixels)
    if encoded.deviation is None or generator is None:
        return encoded.mean
    return encoded.mean + encoded.deviation * draw(encoded.mean.shape, generator).to(encoded.mean)


def is_random(vae: Any) -> bool:
    """Whether encoding draws noise: the encoder gives a distribution rather than latents."""
    return hasattr(vae, "quant_conv")


def latent_channels(vae: Any) -> int:
    """The channels of ``encode_pixels``."""
    channels: int = vae.config.z_dim if _makes_videos(vae) else vae.config.latent_channels
    return channels * PATCH**2 if _is_normalized(vae) else channels


def cells_joined(vae: Any) -> int:
    """The side, in cells of the autoencoder, of what is one cell of ``encode_pixels``."""
    return PATCH if _is_normalized(vae) else 1


def in_full_precision(vae: Any) -> Any:
    """An autoencoder that computes in fp32: itself, or a copy for this once."""
    # Not there and back in place: where memory ran out on the way, it would stay half converted for good.
    return vae if vae.dtype == torch.float32 else copy.deepcopy(vae).to(torch.float32)


def scale_factor(vae: Any) -> int:
    """The pixels of the side of one cell of ``encode_pixels``."""
    if _makes_videos(vae):
        return int(2 ** len(vae.config.temperal_downsample))
    channels = getattr(vae.config, "block_out_channels", None) or vae.config.encoder_block_out_channels
    return int(2 ** (len(channels) - 1)) * cells_joined(vae)


def unscaled(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Out of the denoiser's range, in diffusers' order, which the last bit depends on."""
    config = vae.config
    if _is_normalized(vae):
        mean, std = _normalization(vae, latents)
        return torch.nn.functional.pixel_shuffle(latents * std + mean, PATCH)
    if not _has_statistics(config):
        shift = getattr(config, "shift_factor", None)
        unshifted = torch.div(latents, config.scaling_factor)
        return unshifted if shift is None else unshifted + shift
    mean, std = _per_channel(config.latents_mean, latents), _per_channel(config.latents_std, latents)
    if _makes_videos(vae):
        return torch.div(latents, 1.0 / std) + mean
    return torch.div(latents * std, config.scaling_factor) + mean


def scaled(vae: Any, latents: torch.Tensor, *, random: bool) -> torch.Tensor:
    """Into the denoiser's range, in diffusers' order, which is another one where no noise is drawn."""
    config = vae.config
    if _is_normalized(vae):
        latents = torch.nn.functional.pixel_unshuffle(latents, PATCH)
        mean, std = _normalization(vae, latents)
        return (latents - mean) / std
    if not _has_statistics(config):
        shift = getattr(config, "shift_factor", None)
        return torch.mul(latents if shift is None else latents - shift, config.scaling_factor)
    mean, std = _per_channel(config.latents_mean, latents), _per_channel(config.latents_std, latents)
    if _makes_videos(vae):
        return torch.mul(latents - mean, 1.0 / std) if random else torch.div(latents - mean, std)
    return torch.mul(latents - mean, config.scaling_factor) / std


def has_scale(part: Any) -> bool:
    """Whether a network is an autoencoder whose configuration says the range of its latents."""
    config: Any = getattr(part, "config", None)
    if not hasattr(part, "decode") or _is_normalized(part) or not ("latent_channels" in config or "z_dim" in config):
        return False
    return config.get("scaling_factor") is not None or _has_statistics(config)


def _makes_videos(vae: Any) -> bool:
    """Whether it is one for videos, of which a picture is the first frame."""
    return hasattr(vae.config, "z_dim")


def _is_normalized(vae: Any) -> bool:
    """Whether a batch normalization over patches of cells takes the place of a scale."""
    return hasattr(vae, "bn")


def _normalization(vae: Any, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = vae.bn.running_mean.view(1, -1, 1, 1).to(latents)
    std = torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps).to(latents)
    return mean, std


def _has_statistics(config: Any) -> bool:
    return getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None


def _per_channel(values: Sequence[float], latents: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, device=latents.device, dtype=latents.dtype).view(1, -1, 1, 1)
