"""Overlapping tiles, blended where they overlap (MultiDiffusion, arXiv:2302.08113)."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image

from sd_api.generation.plan import Box


def merged(tiles: Sequence[tuple[torch.Tensor, Box]], size: tuple[int, int]) -> torch.Tensor:
    """The mean of overlapping tiles, each weighted by the distance from its edges.

    Args:
        tiles: Tensors (1, channels, height, width) with their boxes.
        size: Width and height of the result.

    Returns:
        (1, channels, height, width), 0 where there is no tile.
    """
    first, box = tiles[0]
    if len(tiles) == 1 and box == (0, 0, *size):
        return first
    result = first.new_zeros((1, first.shape[1], size[1], size[0]))
    total = first.new_zeros((1, 1, size[1], size[0]))
    for tile, (left, upper, right, lower) in tiles:
        weight = _pyramid(tile)
        result[..., upper:lower, left:right] += tile * weight
        total[..., upper:lower, left:right] += weight
    return result / total.clamp(min=torch.finfo(total.dtype).tiny)


def cut(tensor: torch.Tensor, box: Box) -> torch.Tensor:
    """The part (n, channels, height, width) of a tensor that a box shows."""
    left, upper, right, lower = box
    return tensor[..., upper:lower, left:right]


def in_cells(box: Box, factor: int) -> Box:
    """A box of pixels in cells of ``factor`` pixels, of which its edges are multiples."""
    left, upper, right, lower = box
    return left // factor, upper // factor, right // factor, lower // factor


def in_pixels(box: Box, factor: int) -> Box:
    """A box of cells of ``factor`` pixels in pixels."""
    left, upper, right, lower = box
    return left * factor, upper * factor, right * factor, lower * factor


def _pyramid(tile: torch.Tensor) -> torch.Tensor:
    """(1, 1, height, width): from 1 in the middle down to almost 0 at the edges, linear along each side."""
    height, width = tile.shape[-2:]
    return (_ramp(height, tile)[:, None] * _ramp(width, tile)[None, :])[None, None]


def _ramp(length: int, like: torch.Tensor) -> torch.Tensor:
    places = torch.arange(length, device=like.device)
    return (torch.minimum(places, length - 1 - places) + 1).to(like.dtype) / ((length + 1) // 2)


def pasted(tiles: Iterable[tuple[Image.Image, Box]], size: tuple[int, int]) -> Image.Image:
    """One picture of overlapping tiles; each fades over those before it, so that few are in memory at a time.

    Args:
        tiles: Pictures of mode RGB with their boxes, row by row.
        size: Width and height of the result.
    """
    # Black without painting it, so that what no tile covers takes no memory.
    canvas = Image.new("RGB", size, None)
    before: list[Box] = []
    for image, box in tiles:
        left, upper, right, lower = box
        # What lies over this tile's left and upper edge was pasted before it.
        beside = max((other[2] - left for other in before if other[1] == upper and other[2] > left), default=0)
        above = max((other[3] - upper for other in before if _above(other, box)), default=0)
        across, down = _rise(right - left, beside), _rise(lower - upper, above)
        canvas.paste(image, (left, upper), Image.fromarray(np.minimum(across[None, :], down[:, None])))
        before.append(box)
    return canvas


def _above(other: Box, box: Box) -> bool:
    return other[1] < box[1] < other[3] and other[0] < box[2] and box[0] < other[2]


def _rise(length: int, overlap: int) -> np.ndarray:
    """(length,) levels: rising to 255 within the overlap, and 255 from there on."""
    if overlap <= 0:
        return np.full(length, 255, np.uint8)
    rise: np.ndarray = np.rint(255 * ((np.arange(length) + 0.5) / overlap).clip(0, 1)).astype(np.uint8)
    return rise
