"""From latents to pixels: whole where memory allows, exact where half precision breaks down."""

import logging
from typing import Any

import torch

from sd_api.errors import GenerationFailed, OutOfMemory
from sd_api.generation.working_sizes import tiles_of
from sd_api.models.autoencoder import decode_latents, in_full_precision, scale_factor
from sd_api.models.device import HALF_PRECISIONS
from sd_api.models.memory import free_memory, out_of_memory_as_ours
from sd_api.models.tiling import cut, in_pixels, merged
from sd_api.models.working_memory import AUTOENCODER_TILES

log = logging.getLogger(__name__)

IN_TILES = (
    "There is not enough memory to decode the picture at once, so it was decoded in tiles, whose borders may show "
    "faintly."
)
IN_FULL_PRECISION = (
    "The model's autoencoder gave no valid picture in half precision, so it was run again in fp32. "
    '"dtype": "fp32" in the configuration avoids that.'
)
BROKEN = (
    "The model's autoencoder gave no valid picture (not a number), in fp32 neither. Try another seed; if it happens "
    "with every picture, the model's files are damaged."
)


def decode(vae: Any, latents: torch.Tensor, warnings: list[str], tile: int = 0) -> torch.Tensor:
    """Turn latents into pixels.

    Args:
        vae: The autoencoder.
        latents: (n, channels, height, width), finite.
        warnings: Takes sentences about what was done in a lesser way.
        tile: The side of the tiles in pixels that larger pictures are decoded in; 0 if they are tried at once first.

    Returns:
        (n, 3, height, width) in -1 to 1.

    Raises:
        OutOfMemory: Not even one fits, in tiles.
        GenerationFailed: What comes out are not numbers.
    """
    # As diffusers decodes with autoencoders that overflow in fp16, such as SDXL's.
    if vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False):
        pixels = _decode_with_what_memory_there_is(in_full_precision(vae), latents, warnings, tile)
    else:
        pixels = _decode_with_what_memory_there_is(vae, latents, warnings, tile)
        if vae.dtype in HALF_PRECISIONS and not pixels.isfinite().all():
            warnings.append(IN_FULL_PRECISION)
            pixels = _decode_with_what_memory_there_is(in_full_precision(vae), latents, warnings, tile)
    if not pixels.isfinite().all():
        raise GenerationFailed(BROKEN)
    return pixels


def _decode_with_what_memory_there_is(vae: Any, latents: torch.Tensor, warnings: list[str], tile: int) -> torch.Tensor:
    """(n, 3, height, width) in -1 to 1: at once, else one by one, else one by one in smaller and smaller tiles."""
    if not 0 < tile < scale_factor(vae) * max(latents.shape[2:]):
        try:
            with out_of_memory_as_ours():
                return decode_latents(vae, latents)
        except OutOfMemory:
            log.warning("Out of memory while decoding %d at once", len(latents))
        free_memory()
        tile = 0
    return torch.cat([_decode_one(vae, row, warnings, tile) for row in latents[:, None]])


def _decode_one(vae: Any, latents: torch.Tensor, warnings: list[str], tile: int) -> torch.Tensor:
    sides = [side for side in AUTOENCODER_TILES if tile in (0, side) or 0 < side < tile]
    for side in sides:
        try:
            with out_of_memory_as_ours():
                pixels = _decode_in_tiles(vae, latents, side) if side else decode_latents(vae, latents)
        except OutOfMemory:
            if side == sides[-1]:
                raise
            log.warning("Out of memory while decoding; trying in smaller tiles")
            free_memory()
        else:
            break
    if side and IN_TILES not in warnings:
        warnings.append(IN_TILES)
    return pixels


def _decode_in_tiles(vae: Any, latents: torch.Tensor, side: int) -> torch.Tensor:
    """(1, 3, height, width) of overlapping tiles of ``side`` pixels, each decoded by itself."""
    factor = scale_factor(vae)
    height, width = latents.shape[2:]
    cells = max(1, side // factor)
    boxes = tiles_of((width, height), (cells, cells), 1)
    tiles = [(decode_latents(vae, cut(latents, box)), in_pixels(box, factor)) for box in boxes]
    return merged(tiles, (width * factor, height * factor))
