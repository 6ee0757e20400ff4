"""From latents to pixels: whole where memory allows, exact where half precision breaks down."""

import logging
from typing import Any

import torch

from sd_api.errors import GenerationFailed, OutOfMemory
from sd_api.models.autoencoder import decode_latents, in_full_precision, in_tiles
from sd_api.models.device import HALF_PRECISIONS
from sd_api.models.memory import free_memory, out_of_memory_as_ours

log = logging.getLogger(__name__)

IN_TILES = "Memory ran out while the picture was decoded; it was decoded in tiles, whose borders may show faintly."
IN_FULL_PRECISION = (
    "The model's autoencoder gave no valid picture in half precision, so it was run again in fp32. "
    '"dtype": "fp32" in the configuration avoids that.'
)
BROKEN = (
    "The model's autoencoder gave no valid picture (not a number), in fp32 neither. Try another seed; if it happens "
    "with every picture, the model's files are damaged."
)


def decode(vae: Any, latents: torch.Tensor, warnings: list[str]) -> torch.Tensor:
    """Turn latents into pixels.

    Args:
        vae: The autoencoder.
        latents: (n, channels, height, width), finite.
        warnings: Takes sentences about what was done in a lesser way.

    Returns:
        (n, 3, height, width) in -1 to 1.

    Raises:
        OutOfMemory: Not even one fits, in tiles.
        GenerationFailed: What comes out are not numbers.
    """
    # As diffusers decodes with autoencoders that overflow in fp16, such as SDXL's.
    if vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False):
        pixels = _decode_with_what_memory_there_is(in_full_precision(vae), latents, warnings)
    else:
        pixels = _decode_with_what_memory_there_is(vae, latents, warnings)
        if vae.dtype in HALF_PRECISIONS and not pixels.isfinite().all():
            warnings.append(IN_FULL_PRECISION)
            pixels = _decode_with_what_memory_there_is(in_full_precision(vae), latents, warnings)
    if not pixels.isfinite().all():
        raise GenerationFailed(BROKEN)
    return pixels


def _decode_with_what_memory_there_is(vae: Any, latents: torch.Tensor, warnings: list[str]) -> torch.Tensor:
    """(n, 3, height, width) in -1 to 1: at once, else one by one, else one by one in tiles."""
    try:
        with out_of_memory_as_ours():
            return decode_latents(vae, latents)
    except OutOfMemory:
        log.warning("Out of memory while decoding %d at once", len(latents))
    free_memory()
    return torch.cat([_decode_one(vae, row, warnings) for row in latents[:, None]])


def _decode_one(vae: Any, latents: torch.Tensor, warnings: list[str]) -> torch.Tensor:
    try:
        with out_of_memory_as_ours():
            return decode_latents(vae, latents)
    except OutOfMemory:
        log.warning("Out of memory while decoding; trying in tiles")
    free_memory()
    with out_of_memory_as_ours():
        pixels = decode_latents(in_tiles(vae), latents)
    if IN_TILES not in warnings:
        warnings.append(IN_TILES)
    return pixels
